// Stores, loads and what is both, by the program and by the kernel, in memory of which a policy may
// have only the writes recorded; e2e/writes_only.py knows what it writes. The reader reads a
// million times.
#include <setjmp.h>
#include <sys/uio.h>

#include "victim.h"

enum { kWords = 64, kReads = 1000000, kCounter = 256, kKernel = 1536, kCopied = 2048 };

static volatile uint32_t* words;  // anonymous: the policy records its writes
static volatile uint32_t* both;   // the memfd `both`: all is recorded
static sigjmp_buf back;

static void jump(int number) { siglongjmp(back, number); }

// 0, or the signal that the access raised.
static int signal_of(int stores) {
  const int number = sigsetjmp(back, 1);
  if (number) return number;
  if (stores)
    words[0] = 1;
  else
    (void)words[0];
  return 0;
}

static void store_words(void) {
  for (uint32_t i = 0; i < kWords; ++i) words[i] = 1000 + i;
}

static void read_and_write(void) {
  volatile uint32_t* counter = words + kCounter;
  for (int i = 0; i < 5; ++i) __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 5; ++i) __asm__ volatile("addl $10, %0" : "+m"(*counter));
  uint32_t expected = 1;  // it is not
  CHECK_EQ(
      __atomic_compare_exchange_n(counter, &expected, 2, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST), 0);
  CHECK_EQ(expected, 55);
}

static void let_the_kernel(void) {
  int ends[2];
  char text[16] = "fifteen letters", got[16];
  char* const at = (char*)words + kKernel;
  CHECK(pipe(ends) == 0);
  CHECK_EQ(write(ends[1], text, sizeof(text)), sizeof(text));
  CHECK_EQ(read(ends[0], at, sizeof(text)), sizeof(text));
  struct iovec parts[2] = {{at, 8}, {at + 8, 8}};
  CHECK_EQ(writev(ends[1], parts, 2), sizeof(text));
  CHECK_EQ(read(ends[0], got, sizeof(got)), sizeof(got));
  CHECK(memcmp(got, text, sizeof(text)) == 0);
  void* to = (char*)words + kCopied;
  const void* from = at;
  size_t count = 2;
  __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
  CHECK(memcmp((char*)words + kCopied, text, sizeof(text)) == 0);
  close(ends[0]), close(ends[1]);
}

static void protect(void) {
  void* const memory = (void*)words;
  signal(SIGSEGV, jump);
  CHECK(mprotect(memory, kPage, PROT_READ) == 0);
  CHECK_EQ(signal_of(1), SIGSEGV);
  CHECK_EQ(signal_of(0), 0);
  CHECK_EQ(words[3], 1003);
  CHECK_ERRNO(syscall(SYS_getrandom, memory, 64, 0), EFAULT);
  CHECK(mprotect(memory, kPage, PROT_NONE) == 0);
  CHECK_EQ(signal_of(0), SIGSEGV);
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK_ERRNO(write(ends[1], memory, 1), EFAULT);
  close(ends[0]), close(ends[1]);
  CHECK(mprotect(memory, kPage, PROT_WRITE) == 0);  // what may be written may be read
  CHECK_EQ(words[4], 1004);
  words[kWords] = 5000;
  CHECK(mprotect(memory, kPage, PROT_READ | PROT_WRITE) == 0);
  words[kWords + 1] = words[kWords] + 1;
}

// One instruction for both kinds of memory.
__attribute__((noinline)) static uint32_t load_of(volatile uint32_t* from) { return *from; }

static void map_for_writing(void) {
  const int fd = memfd_create("both", 0);
  CHECK(ftruncate(fd, kPage) == 0);
  both = mmap(NULL, kPage, PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(both != MAP_FAILED);
  both[1] = 77;
  for (int i = 0; i < 10; ++i) CHECK_EQ(load_of(both + 1), 77);
  for (int i = 0; i < kReads; ++i) CHECK_EQ(load_of(words + 5), 1005);
  close(fd);
}

static void read_much(void* unused) {
  (void)unused;
  uint64_t sum = 0;
  for (int i = 0; i < kReads; ++i) sum += words[i % kWords];
  CHECK_EQ(sum, (uint64_t)kReads / kWords * (kWords * 1000 + kWords * (kWords - 1) / 2));
  words[kWords + 2] = 6000;
}

int main(void) {
  words = map_shared(2 * kPage);
  store_words();
  read_and_write();
  let_the_kernel();
  protect();
  map_for_writing();
  wait_ok(child(read_much, NULL));
  words[kWords + 2] += words[kWords + 2];
  CHECK_EQ(words[kWords + 2], 12000);
  say("writes_only\n");
}
