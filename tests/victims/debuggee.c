// What debuggers.sh attaches to: writes to shared memory until its standard input ends, with a
// thread that waits, and then says what it has.
#include <pthread.h>

#include "victim.h"

int answer = 42;
struct {
  volatile int ready, steps, stop;
} * shared;

__attribute__((noinline)) void work(void) { shared->steps = 1 + shared->steps % 7; }

static void* await_end(void* unused) {
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  shared->stop = 1;
  return unused;
}

int main(void) {
  pthread_t reader;
  shared = map_shared(kPage);
  CHECK(pthread_create(&reader, NULL, await_end, NULL) == 0);
  shared->ready = 7;
  CHECK(close(creat("ready", 0600)) == 0);
  do {
    work();
    sleep_ms(1);
  } while (!shared->stop);
  CHECK(pthread_join(reader, NULL) == 0);
  CHECK(shared->steps >= 1 && shared->steps <= 7);
  say("answer %d, ready %d\n", answer, shared->ready);
  return 7;
}
