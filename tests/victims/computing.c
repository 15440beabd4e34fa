// Threads that compute for long without asking the kernel for anything: each for itself, waiting
// for one another by spinning, and racing for a variable.
//
// usage: computing KIND
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { kThreads = 4 };

static volatile uint64_t shared;
static uint64_t results[kThreads];
static atomic_long whose;

static void* alone(void* number) {
  const uint64_t k = (uintptr_t)number;
  uint64_t x = k + 1;
  for (int i = 0; i < 60000000; i++) x = x * 6364136223846793005u + 1442695040888963407u;
  results[k] = x;
  return NULL;
}

static void* in_order(void* number) {
  const long k = (long)(intptr_t)number;
  while (atomic_load(&whose) != k) {
  }
  for (int i = 0; i < 5000000; i++) shared = shared * 3 + (uint64_t)k;
  atomic_store(&whose, k + 1);
  return NULL;
}

// How much is lost, no two runs agree on.
static void* race(void* number) {
  for (int i = 0; i < 40000000; i++) shared += 1;
  results[(uintptr_t)number] = shared;
  return NULL;
}

int main(int argc, char** argv) {
  const struct {
    const char* name;
    void* (*run)(void*);
  } kinds[] = {{"alone", alone}, {"in_order", in_order}, {"race", race}};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (argc != 2 || strcmp(argv[1], kinds[i].name) != 0) continue;
    pthread_t threads[kThreads];
    for (uintptr_t k = 0; k < kThreads; k++)
      pthread_create(&threads[k], NULL, kinds[i].run, (void*)(kThreads - 1 - k));
    for (int k = 0; k < kThreads; k++) pthread_join(threads[k], NULL);
    if (kinds[i].run == race)
      puts("raced");
    else
      printf("%llx %llx\n", (unsigned long long)shared, (unsigned long long)results[0]);
    return 0;
  }
  return 2;
}
