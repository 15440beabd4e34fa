// Code that jumps over lock prefixes, and of which nothing can be changed any more when it does so
// for the first time: its pages are sealed (where the kernel knows that), and no file can be
// opened.
#include <sys/resource.h>

#include "victim.h"

// Adds 3 to cell[3], by an instruction that follows a short one, and by one that is the first of
// its kind. `skip` jumps over their prefixes; the short one is left out then.
extern uint64_t add(uint64_t* cell, int skip);
__asm__(
    ".text\n"
    "add:\n"
    "test %esi, %esi\n"
    "jne 1f\n"
    "mov (%rdi), %eax\n"
    "lock\n"
    "1: addl $2, 24(%rdi)\n"
    "test %esi, %esi\n"
    "jne 2f\n"
    "lock\n"
    "2: incl 24(%rdi)\n"
    "mov 24(%rdi), %rax\n"
    "ret\n");

static void seal(const void* code) {
  enum { kMseal = 462, kCodeBytes = 64 };
  const uintptr_t begin = (uintptr_t)code & ~(uintptr_t)(kPage - 1);
  if (syscall(kMseal, begin, (uintptr_t)code + kCodeBytes - begin, 0) != 0) CHECK(errno == ENOSYS);
  const struct rlimit none = {0, 0};
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
}

int main(void) {
  uint64_t* cell = map_shared(kPage);
  uint64_t expected = 0;
  for (int i = 0; i < 10; ++i) CHECK_EQ(add(cell, 0), expected += 3);
  seal((const void*)(uintptr_t)add);
  for (int i = 0; i < 100; ++i) CHECK_EQ(add(cell, i % 3), expected += 3);
  say("sealed_code %llu\n", (unsigned long long)expected);
  return 0;
}
