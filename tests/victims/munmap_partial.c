// Parts of a shared mapping unmapped: at its start, end and middle; the holes used again for
// others.
#include <setjmp.h>

#include "victim.h"

static sigjmp_buf out;
static void* volatile fault_address;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fault_address = info->si_addr;
  CHECK_EQ(info->si_code, SEGV_MAPERR);
  siglongjmp(out, 1);
}

static void check_unmapped(volatile char* address) {
  fault_address = NULL;
  if (sigsetjmp(out, 1) == 0) {
    (void)*address;
    fail(__FILE__, __LINE__, "%p is still mapped", address);
  }
  CHECK(fault_address == address);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  char* memory = mmap((void*)0x350000000000, 8 * kPage, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  for (int page = 0; page < 8; ++page)
    memory[page * kPage] = memory[page * kPage + kPage - 1] = page + 1;
  CHECK(munmap(memory, kPage) == 0);
  CHECK(munmap(memory + 7 * kPage, kPage) == 0);
  CHECK(munmap(memory + 3 * kPage, kPage) == 0);
  check_unmapped(memory);
  check_unmapped(memory + 7 * kPage + 123);
  check_unmapped(memory + 3 * kPage + 5);
  for (int page = 1; page < 7; ++page)
    if (page != 3) CHECK_EQ(memory[page * kPage + kPage - 1], page + 1);
  // An access that runs into the hole changes nothing.
  uint64_t* across = (uint64_t*)(memory + 3 * kPage - 4);
  if (sigsetjmp(out, 1) == 0) {
    *(volatile uint64_t*)across = ~0ull;
    fail(__FILE__, __LINE__, "stored across the hole");
  }
  CHECK(fault_address == memory + 3 * kPage);
  CHECK_EQ(memory[3 * kPage - 1], 3);
  CHECK_EQ(memory[3 * kPage - 4], 0);
  // The hole holds private memory, then other shared memory.
  char* hole = mmap(memory + 3 * kPage, kPage, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(hole == memory + 3 * kPage);
  *(volatile uint64_t*)across = 0x0102030405060708;
  CHECK_EQ(hole[0], 4);
  hole = mmap(memory + 3 * kPage, kPage, PROT_READ | PROT_WRITE,
              MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK_EQ(hole[0], 0);
  *(volatile uint64_t*)across = 0x1112131415161718;
  CHECK_EQ(hole[0], 0x14);
  CHECK_EQ(memory[3 * kPage - 1], 0x15);
  CHECK(munmap(memory, 16 * kPage) == 0);
  check_unmapped(memory + 4 * kPage);
  CHECK(munmap(memory, 16 * kPage) == 0);
  CHECK_ERRNO(munmap(memory + 1, kPage), EINVAL);
  CHECK_ERRNO(munmap(memory, 0), EINVAL);
  say("munmap_partial\n");
}
