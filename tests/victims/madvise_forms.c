// Advice on shared memory, residence, locking.
#include <setjmp.h>

#include "victim.h"

static sigjmp_buf out;
static void on_fault(int signal) {
  (void)signal;
  siglongjmp(out, 1);
}

static void child_lacks(void* memory) {
  signal(SIGSEGV, on_fault);
  if (sigsetjmp(out, 1) == 0) {
    (void)*(volatile char*)memory;
    fail(__FILE__, __LINE__, "MADV_DONTFORK memory is in the child");
  }
  CHECK_EQ(((volatile char*)memory)[-1], 1);
}

static void child_has(void* memory) { ((volatile char*)memory)[2] += 5; }

int main(void) {
  int fd = memfd_create("advised", 0);
  CHECK(ftruncate(fd, 8 * kPage) == 0);
  volatile char* memory = map_fd(fd, 8 * kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 8; ++i) memory[i * kPage] = i + 1;
  CHECK(madvise((void*)memory, 8 * kPage, MADV_DONTNEED) == 0);  // shared: the data stays
  for (int i = 0; i < 8; ++i) CHECK_EQ(memory[i * kPage], i + 1);
  CHECK(madvise((void*)(memory + 2 * kPage), kPage, MADV_REMOVE) == 0);  // a hole: zeros
  CHECK_EQ(memory[2 * kPage], 0);
  CHECK_EQ(memory[3 * kPage], 4);
  CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * kPage, kPage) == 0);
  CHECK_EQ(memory[3 * kPage], 0);
  for (int advice = MADV_NORMAL; advice <= MADV_WILLNEED; ++advice)
    CHECK(madvise((void*)memory, 8 * kPage, advice) == 0);
  CHECK_ERRNO(madvise((void*)memory, kPage, 9999), EINVAL);
  CHECK_ERRNO(madvise((void*)(memory + 1), kPage, MADV_NORMAL), EINVAL);
  CHECK_ERRNO(madvise((void*)memory, kPage, MADV_FREE), EINVAL);
  unsigned char residence[8];
  CHECK(mincore((void*)memory, 8 * kPage, residence) == 0);
  int resident = 0;
  for (int i = 0; i < 8; ++i) resident += residence[i] & 1;
  CHECK(resident >= 6);
  CHECK(mlock((void*)memory, 2 * kPage) == 0);
  memory[1] = 11;
  CHECK(munlock((void*)memory, 2 * kPage) == 0);
  CHECK(msync((void*)memory, 8 * kPage, MS_SYNC) == 0);
  // The residence vector itself in shared memory.
  CHECK(mincore((void*)memory, 4 * kPage, (unsigned char*)memory + 100) == 0);
  CHECK_EQ(memory[100] & 1, 1);
  volatile char* fork_test = map_shared(4 * kPage);
  fork_test[2 * kPage - 1] = 1;
  CHECK(madvise((void*)(fork_test + 2 * kPage), kPage, MADV_DONTFORK) == 0);
  wait_ok(child(child_lacks, (void*)(fork_test + 2 * kPage)));
  CHECK(madvise((void*)(fork_test + 2 * kPage), kPage, MADV_DOFORK) == 0);
  fork_test[2 * kPage + 2] = 7;
  wait_ok(child(child_has, (void*)(fork_test + 2 * kPage)));
  CHECK_EQ(fork_test[2 * kPage + 2], 12);
  say("madvise_forms %d\n", memory[1]);
}
