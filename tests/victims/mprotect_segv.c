// Shared pages made inaccessible, readable and writable in turn; the program's SIGSEGV handler sees
// address and code, repairs the protection and the instruction is executed again.
#include <ucontext.h>

#include "victim.h"

static volatile struct {
  int count, code, is_write;
  void* address;
  int grant;
} seen;

static void on_fault(int signal, siginfo_t* info, void* context) {
  CHECK_EQ(signal, SIGSEGV);
  seen.count++;
  seen.code = info->si_code;
  seen.address = info->si_addr;
  seen.is_write = ((ucontext_t*)context)->uc_mcontext.gregs[REG_ERR] >> 1 & 1;
  CHECK(mprotect((void*)((uint64_t)info->si_addr & -kPage), kPage, seen.grant) == 0);
}

static void expect(const void* address, int is_write) {
  CHECK_EQ(seen.count, 1);
  CHECK_EQ(seen.code, SEGV_ACCERR);
  CHECK(seen.address == address);
  CHECK_EQ(seen.is_write, is_write);
  seen.count = 0;
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  volatile uint32_t* words = map_shared(4 * kPage);
  const int kPerPage = kPage / 4;
  for (int page = 0; page < 4; ++page) words[page * kPerPage + 5] = page * 10;
  for (int page = 0; page < 4; ++page) {
    volatile uint32_t* word = &words[page * kPerPage + 5];
    CHECK(mprotect((void*)((uint64_t)word & -kPage), kPage, PROT_NONE) == 0);
    seen.grant = PROT_READ;
    CHECK_EQ(*word, page * 10);
    expect((void*)word, 0);
    seen.grant = PROT_READ | PROT_WRITE;
    *word += 1;  // reads without a fault, then faults in the store
    expect((void*)word, 1);
    CHECK_EQ(*word, page * 10 + 1);
    CHECK_EQ(seen.count, 0);
  }
  // One protection over many pages, several mappings' worth of changes.
  CHECK(mprotect((void*)words, 4 * kPage, PROT_READ) == 0);
  for (int i = 0; i < 4; ++i) CHECK_EQ(words[i * kPerPage + 5], i * 10 + 1);
  CHECK_EQ(seen.count, 0);
  seen.grant = PROT_READ | PROT_WRITE;
  __atomic_fetch_add(&words[2 * kPerPage], 3, __ATOMIC_SEQ_CST);
  expect((void*)&words[2 * kPerPage], 1);
  CHECK_EQ(words[2 * kPerPage], 3);
  // An access over two pages of which the second refuses it; then the first as well.
  CHECK(mprotect((void*)words, kPage, PROT_READ | PROT_WRITE) == 0);
  volatile uint64_t* across = (volatile uint64_t*)((uint64_t)words + kPage - 4);
  *across = 0x1122334455667788;
  expect((char*)words + kPage, 1);
  CHECK_EQ(*across, 0x1122334455667788);
  // A failed system call names the same memory.
  CHECK(mprotect((void*)words, kPage, PROT_NONE) == 0);
  CHECK_ERRNO(write(1, (void*)words, 4), EFAULT);
  CHECK(mprotect((void*)words, kPage, PROT_READ) == 0);
  CHECK_ERRNO(read(open("/dev/zero", O_RDONLY), (void*)words, 4), EFAULT);
  CHECK_ERRNO(mprotect((void*)words, kPage, 0x1000), EINVAL);
  CHECK_ERRNO(mprotect((char*)words + 8, kPage, PROT_READ), EINVAL);
  CHECK(munmap((char*)words + kPage, kPage) == 0);
  CHECK_ERRNO(mprotect((void*)words, 4 * kPage, PROT_READ | PROT_WRITE), ENOMEM);
  words[0] = 9;  // the pages before the hole have been changed
  CHECK_EQ(seen.count, 0);
  say("mprotect_segv %u\n", words[0]);
}
