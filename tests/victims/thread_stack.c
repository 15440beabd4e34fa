// A thread whose stack lies in shared memory: every call, spilled register and local variable is an
// access to it, and system calls and signals happen on it.
#include <pthread.h>
#include <sys/stat.h>

#include "victim.h"

static volatile int handled;
static void on_signal(int signal) {
  char local[100];
  memset(local, signal, sizeof(local));
  handled += local[50];
}

__attribute__((noinline)) static uint64_t fibonacci(int n) {
  volatile uint64_t keep = n;
  if (keep < 2) return keep;
  return fibonacci(n - 1) + fibonacci(n - 2);
}

struct Result {
  uint64_t value;
  void* local;
};

static void* body(void* argument) {
  struct Result* result = argument;
  uint64_t numbers[16];
  result->local = numbers;
  for (int i = 0; i < 16; ++i) numbers[i] = fibonacci(i % 9);
  struct stat state;
  CHECK(stat(".", &state) == 0);
  CHECK(S_ISDIR(state.st_mode));
  CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
  char text[64];
  snprintf(text, sizeof(text), "%llu", (unsigned long long)numbers[8]);
  struct timespec short_time = {0, 1000};
  CHECK(nanosleep(&short_time, NULL) == 0);
  result->value = strtoull(text, NULL, 10);
  return NULL;
}

int main(void) {
  signal(SIGUSR1, on_signal);
  size_t size = 128 * 1024;
  char* stack = map_shared(size);
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstack(&attributes, stack, size) == 0);
  pthread_t thread;
  struct Result result;
  CHECK(pthread_create(&thread, &attributes, body, &result) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK((char*)result.local > stack && (char*)result.local < stack + size);
  CHECK_EQ(result.value, 21);
  CHECK_EQ(handled, SIGUSR1);
  say("thread_stack %llu\n", (unsigned long long)result.value);
}
