// After mprotect(PROT_READ) or munmap has returned no other thread writes there any more: what a
// checkpoint copies stays as it is until the page is opened again.
#include <pthread.h>

#include "victim.h"

enum { kThreads = 2, kRounds = 60 };

static volatile uint64_t* words;
static volatile int stop;

static void on_fault(int signal) {
  (void)signal;
  sched_yield();  // until the page is opened again
}

static void* write_on(void* number) {
  for (uint64_t i = 1; !stop; ++i) {
    words[(intptr_t)number] = i;
    __atomic_fetch_add(&words[8 + (intptr_t)number], 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  CHECK(signal(SIGSEGV, on_fault) != SIG_ERR);
  words = map_shared(kPage);
  for (intptr_t i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&threads[i], NULL, write_on, (void*)i) == 0);
  for (int i = 0; i < kRounds; ++i) {
    CHECK(mprotect((void*)words, kPage, PROT_READ) == 0);
    uint64_t copy[16];
    for (int k = 0; k < 16; ++k) copy[k] = words[k];
    for (int turn = 0; turn < 3; ++turn) {
      for (int k = 0; k < 16; ++k) CHECK_EQ(words[k], copy[k]);
      sched_yield();
    }
    CHECK(mprotect((void*)words, kPage, PROT_READ | PROT_WRITE) == 0);
    sched_yield();
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  say("protected pages stayed as they were\n");
}
