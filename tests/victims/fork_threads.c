// fork in a program whose threads use shared memory all the while; children use it too, exec, or
// fork again from a thread of their own.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

struct Shared {
  atomic_long counters[8];
  atomic_int stop;
};

static struct Shared* s;

static void* count(void* argument) {
  long index = (long)argument;
  while (!atomic_load(&s->stop)) {
    atomic_fetch_add(&s->counters[index], 1);
    sched_yield();
  }
  return NULL;
}

static void* fork_in_thread(void* unused) {
  (void)unused;
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    atomic_fetch_add(&s->counters[6], 1);
    _exit(0);
  }
  wait_ok(pid);
  return NULL;
}

static void child_body(void* argument) {
  long index = (long)argument;
  for (int i = 0; i < 20; ++i) atomic_fetch_add(&s->counters[5], 1);
  if (index % 4 == 1) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fork_in_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  if (index % 4 == 2) execl("/bin/true", "true", NULL);
}

int main(void) {
  s = map_shared(sizeof(*s));
  pthread_t threads[3];
  for (long i = 0; i < 3; ++i) CHECK(pthread_create(&threads[i], NULL, count, (void*)i) == 0);
  for (long i = 0; i < 24; ++i) {
    long before = atomic_load(&s->counters[i % 3]);
    wait_ok(child(child_body, (void*)i));
    while (atomic_load(&s->counters[i % 3]) == before) sched_yield();  // the threads go on
  }
  atomic_store(&s->stop, 1);
  for (int i = 0; i < 3; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK_EQ(s->counters[5], 24 * 20);
  CHECK_EQ(s->counters[6], 6);
  say("fork_threads %ld %ld\n", (long)s->counters[5], (long)s->counters[6]);
}
