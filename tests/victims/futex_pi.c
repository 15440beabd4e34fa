// Priority-inheritance futexes in shared memory: contended lock and unlock, trylock, owner's death,
// pthread mutexes with the protocol.
#include <linux/futex.h>
#include <pthread.h>

#include "victim.h"

struct Shared {
  unsigned word;
  int counter, other_counter, held;
  pthread_mutex_t mutex;
};

static struct Shared* shared;

static long futex(int operation, const void* timeout) {
  return syscall(SYS_futex, &shared->word, operation, 0, timeout, NULL, 0);
}

static void lock(void) {
  unsigned expected = 0;
  if (__atomic_compare_exchange_n(&shared->word, &expected, (unsigned)syscall(SYS_gettid), 0,
                                  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return;
  while (futex(FUTEX_LOCK_PI, NULL) != 0) CHECK_EQ(errno, EINTR);
}

static void unlock(void) {
  unsigned expected = syscall(SYS_gettid);
  if (__atomic_compare_exchange_n(&shared->word, &expected, 0, 0, __ATOMIC_RELEASE,
                                  __ATOMIC_RELAXED))
    return;
  CHECK_EQ(futex(FUTEX_UNLOCK_PI, NULL), 0);
}

static void count(void* unused) {
  (void)unused;
  for (int i = 0; i < 50; ++i) {
    lock();
    int before = shared->counter;
    if (i % 10 == 0) sched_yield();
    shared->counter = before + 1;
    unlock();
    CHECK(pthread_mutex_lock(&shared->mutex) == 0);
    shared->other_counter++;
    CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
  }
}

static void hold(void* unused) {
  (void)unused;
  lock();
  __atomic_store_n(&shared->held, 1, __ATOMIC_SEQ_CST);
  for (;;) pause();
}

int main(void) {
  shared = map_shared(kPage);
  pthread_mutexattr_t attributes;
  CHECK(pthread_mutexattr_init(&attributes) == 0);
  CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0);
  CHECK(pthread_mutex_init(&shared->mutex, &attributes) == 0);
  pid_t pids[2];
  for (int i = 0; i < 2; ++i) pids[i] = child(count, NULL);
  for (int i = 0; i < 2; ++i) wait_ok(pids[i]);
  int counted = shared->counter;
  pid_t holder = child(hold, NULL);
  await_value(&shared->held, 1);
  CHECK_EQ(shared->word & FUTEX_TID_MASK, holder);
  CHECK_ERRNO(futex(FUTEX_TRYLOCK_PI, NULL), EAGAIN);
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  CHECK_ERRNO(futex(FUTEX_LOCK_PI, &limit), ETIMEDOUT);
  CHECK_ERRNO(futex(FUTEX_UNLOCK_PI, NULL), EPERM);
  CHECK(kill(holder, SIGKILL) == 0);
  CHECK_EQ(wait_status(holder), SIGKILL);
  // Not robust: nobody cleans up, the kernel only finds no such owner.
  CHECK_ERRNO(futex(FUTEX_LOCK_PI, NULL), ESRCH);
  CHECK_EQ(shared->other_counter, 100);
  CHECK_EQ(counted, 100);
  say("futex_pi %d\n", counted);
}
