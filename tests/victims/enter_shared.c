// The instruction ENTER on a stack in shared memory, which reads and writes at several places:
// beside another process that counts in the same page, in two threads at once, and with a fault
// inside that the handler leaves by siglongjmp.
#include <pthread.h>
#include <setjmp.h>

#include "victim.h"

// enter $16, $level with the given stack and frame pointers.
#define ENTER(level)                                                                            \
  static void enter##level(char* stack, char* frame) {                                          \
    __asm__ volatile(                                                                           \
        "mov %%rsp, %%r12; mov %%rbp, %%r13; mov %1, %%rbp; mov %0, %%rsp; enter $16, $" #level \
        "; mov %%r12, %%rsp; mov %%r13, %%rbp" ::"r"(stack),                                    \
        "r"(frame)                                                                              \
        : "r12", "r13", "memory");                                                              \
  }
ENTER(0)
ENTER(2)
ENTER(31)

enum { kCounts = 20000, kRounds = 3000 };

static void enter_until(void* data) {
  char* page = data;
  volatile int* stop = (int*)(page + 3584);
  for (volatile int* ready = stop + 1; !*stop; *ready = 1) {
    enter0(page + 1024, page + 512);
    enter31(page + 2048, page + 512);
  }
}

static void beside_counter(void) {
  char* page = map_shared(kPage);
  volatile long* counter = (long*)(page + 3072);
  volatile int* stop = (int*)(page + 3584);
  pid_t other = child(enter_until, page);
  while (!stop[1]) sched_yield();
  for (int i = 0; i < kCounts; ++i) __sync_fetch_and_add(counter, 1);
  *stop = 1;
  CHECK_EQ(wait_status(other), 0);
  CHECK_EQ(*counter, kCounts);
}

static void* many(void* stack) {
  for (int i = 0; i < kRounds; ++i) enter2(stack, (char*)stack + 256);
  return NULL;
}

static void in_threads(void) {
  char* memory = map_shared(16 * kPage);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, many, memory + kPage + 64) == 0);
  many(memory + 9 * kPage);
  CHECK(pthread_join(thread, NULL) == 0);
}

static sigjmp_buf back;
static void on_fault(int signal) { siglongjmp(back, signal); }

static void with_fault(void) {
  char* area = map_private(3 * kPage);
  CHECK(mprotect(area, 3 * kPage, PROT_NONE) == 0);
  char* page = area + kPage;
  CHECK(mmap(page, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        page);
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
  CHECK(sigaltstack(&alternate, NULL) == 0);
  struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  for (int i = 0; i < 3; ++i) {
    if (sigsetjmp(back, 1) == 0) {
      enter2(page + 8, page + 2048);  // the second push lies below the page
      CHECK(!"no fault");
    }
    enter0(page + 1024, page + 8);
    CHECK_EQ(*(uint64_t*)(page + 1016), (uint64_t)(page + 8));
  }
}

int main(void) {
  beside_counter();
  in_threads();
  with_fault();
  say("all entered\n");
  return 0;
}
