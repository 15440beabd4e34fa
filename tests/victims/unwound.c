// Threads that spend their time in each of the ways in which a recorder may hold them, for a
// debugger that looks at them from outside (e2e/unwind.py): each runs `thread_outer`, which calls
// `thread_middle`, which calls what the thread does. Ends with its standard input.
#include <pthread.h>

#include "victim.h"

enum { kWords = 4096 };
static volatile uint64_t* words;
static volatile int stop;

__attribute__((noinline)) static uint64_t load_and_store(uint64_t n) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < n && !stop; ++i) {
    words[i % 64] = sum;
    sum += words[i * 7 % 64];
  }
  return sum;
}

// Everywhere, so that what is known of one access is of no use for the next.
__attribute__((noinline)) static uint64_t wander(uint64_t n) {
  uint64_t random = n;
  for (uint64_t i = 0; i < n && !stop; ++i) {
    random = random * 6364136223846793005u + 1;
    words[random >> 52] += random;
  }
  return random;
}

__attribute__((noinline)) static uint64_t exchange(uint64_t n) {
  for (uint64_t i = 0; i < n && !stop; ++i) __atomic_fetch_xor(&words[i % 64], i, __ATOMIC_SEQ_CST);
  return n;
}

__attribute__((noinline)) static uint64_t copy(uint64_t n) {
  char private_copy[4000];
  for (uint64_t i = 0; i < n && !stop; ++i) memcpy(private_copy, (void*)words, sizeof private_copy);
  return (uint64_t)private_copy[n % 4000];
}

// Through the fault path: such an instruction is never patched.
__attribute__((noinline)) static uint64_t fault(uint64_t n) {
  for (uint64_t i = 0; i < n && !stop; ++i) {
    uint64_t count = 2, *to = (uint64_t*)words;
    __asm__ volatile("rep stosq" : "+c"(count), "+D"(to) : "a"(i) : "memory");
  }
  return n;
}

__attribute__((noinline)) static uint64_t call(uint64_t n) {
  for (uint64_t i = 0; i < n && !stop; ++i) syscall(SYS_getppid);
  return n;
}

__attribute__((noinline)) static uint64_t wait_for_it(uint64_t n) {
  while (!stop) sleep_ms(50);
  return n;
}

typedef uint64_t Work(uint64_t n);
static Work* const kWorks[] = {load_and_store, wander, exchange, copy, fault, call, wait_for_it};
enum { kThreads = sizeof kWorks / sizeof *kWorks };

// A frame of its own size each, that only unwind information tells.
__attribute__((noinline)) uint64_t thread_middle(Work* work) {
  volatile char used[72];
  used[0] = 1;
  uint64_t sum = 0;
  while (!stop) sum += work(100000) + (uint64_t)used[0];
  return sum;
}

__attribute__((noinline)) uint64_t thread_outer(Work* work) {
  volatile char used[200];
  used[0] = 1;
  return thread_middle(work) * 3 + (uint64_t)used[0];
}

static void* run(void* which) { return (void*)thread_outer(kWorks[(intptr_t)which]); }

int main(void) {
  pthread_t threads[kThreads];
  char byte;
  words = map_shared(kWords * sizeof *words);
  for (intptr_t i = 0; i < kThreads; ++i)
    CHECK_EQ(pthread_create(&threads[i], NULL, run, (void*)i), 0);
  CHECK(close(creat("ready", 0600)) == 0);
  while (read(0, &byte, 1) > 0) {
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) CHECK_EQ(pthread_join(threads[i], NULL), 0);
  say("unwound\n");
  return 0;
}
