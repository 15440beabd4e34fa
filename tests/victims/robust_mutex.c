// Robust process-shared mutexes whose owner dies by SIGKILL, by exit, by its thread's exit and by
// exec; waiters are woken, trylock and timedlock see it, an inconsistent one becomes unusable.
#include <pthread.h>

#include "victim.h"

struct Shared {
  pthread_mutex_t mutex, second;
  volatile int locked, protected_value;
};

static struct Shared* shared;

static void init_mutex(pthread_mutex_t* mutex, int protocol) {
  pthread_mutexattr_t attributes;
  CHECK(pthread_mutexattr_init(&attributes) == 0);
  CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
  CHECK(pthread_mutexattr_setprotocol(&attributes, protocol) == 0);
  CHECK(pthread_mutex_init(mutex, &attributes) == 0);
}

static void lock_and_say(void) {
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), 0);
  shared->protected_value++;
  shared->locked = 1;
}

static void by_kill(void* unused) {
  (void)unused;
  lock_and_say();
  for (;;) pause();
}

static void by_exit(void* unused) {
  (void)unused;
  lock_and_say();
}

static void* lock_in_thread(void* unused) {
  (void)unused;
  lock_and_say();
  return NULL;
}

static void by_thread_exit(void* unused) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, lock_in_thread, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  (void)unused;
  // The thread is dead, its process lives: this one already sees it.
  CHECK_EQ(pthread_mutex_trylock(&shared->mutex), EOWNERDEAD);
  CHECK_EQ(pthread_mutex_consistent(&shared->mutex), 0);
  shared->locked = 2;
}

static void by_exec(void* unused) {
  (void)unused;
  lock_and_say();
  execl("/bin/true", "true", NULL);
}

static void two_mutexes(void* unused) {
  (void)unused;
  lock_and_say();
  CHECK_EQ(pthread_mutex_lock(&shared->second), 0);
  for (;;) pause();
}

static void wait_for_death(void* unused) {
  (void)unused;
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  CHECK_EQ(pthread_mutex_consistent(&shared->mutex), 0);
  shared->protected_value += 100;
  CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
}

static void recover(void) {
  CHECK_EQ(pthread_mutex_consistent(&shared->mutex), 0);
  CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), 0);
  CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
}

static void kill_when_locked(pid_t pid) {
  await_value(&shared->locked, 1);
  CHECK(kill(pid, SIGKILL) == 0);
  CHECK_EQ(wait_status(pid), SIGKILL);
}

static void all_deaths(int protocol) {
  memset(shared, 0, sizeof(*shared));
  init_mutex(&shared->mutex, protocol);
  init_mutex(&shared->second, protocol);
  // Lock after the owner was killed.
  kill_when_locked(child(by_kill, NULL));
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  recover();
  // Somebody waits while the owner is killed.
  shared->locked = 0;
  pid_t owner = child(by_kill, NULL);
  await_value(&shared->locked, 1);
  CHECK_EQ(pthread_mutex_trylock(&shared->mutex), EBUSY);
  struct timespec soon;
  clock_gettime(CLOCK_REALTIME, &soon);
  soon.tv_nsec += 5000000;
  if (soon.tv_nsec >= 1000000000) soon.tv_sec++, soon.tv_nsec -= 1000000000;
  CHECK_EQ(pthread_mutex_timedlock(&shared->mutex, &soon), ETIMEDOUT);
  pid_t waiter = child(wait_for_death, NULL);
  sleep_ms(20);
  kill_when_locked(owner);
  wait_ok(waiter);
  CHECK_EQ(shared->protected_value, 102);
  // Exit.
  wait_ok(child(by_exit, NULL));
  CHECK_EQ(pthread_mutex_trylock(&shared->mutex), EOWNERDEAD);
  recover();
  // Exit of a thread only, then of its process with the mutex taken over.
  wait_ok(child(by_thread_exit, NULL));
  CHECK_EQ(shared->locked, 2);
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  recover();
  // Exec.
  wait_ok(child(by_exec, NULL));
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  recover();
  // Two at once; the second is not made consistent.
  shared->locked = 0;
  pid_t pid = child(two_mutexes, NULL);
  await_value(&shared->locked, 1);
  while (pthread_mutex_trylock(&shared->second) == 0) {
    pthread_mutex_unlock(&shared->second);
    sched_yield();
  }
  kill_when_locked(pid);
  CHECK_EQ(pthread_mutex_lock(&shared->second), EOWNERDEAD);
  CHECK_EQ(pthread_mutex_unlock(&shared->second), 0);
  CHECK_EQ(pthread_mutex_lock(&shared->second), ENOTRECOVERABLE);
  CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  recover();
  CHECK_EQ(pthread_mutex_destroy(&shared->mutex), 0);
}

int main(void) {
  shared = map_shared(kPage);
  all_deaths(PTHREAD_PRIO_NONE);
  int plain = shared->protected_value;
  all_deaths(PTHREAD_PRIO_INHERIT);
  say("robust_mutex %d %d\n", plain, shared->protected_value);
}
