// Process-shared mutex, condition variable, barrier, read-write lock and spin lock.
#include <pthread.h>

#include "victim.h"

enum { kProcesses = 3, kItems = 60, kSlots = 4 };

struct Shared {
  pthread_mutex_t mutex;
  pthread_cond_t not_empty, not_full;
  pthread_barrier_t barrier;
  pthread_rwlock_t rwlock;
  pthread_spinlock_t spin;
  int queue[kSlots], head, count, consumed, sum, serial, total;
  volatile int pair[2], spun;
};

static struct Shared* shared;

static void init(void) {
  pthread_mutexattr_t mutex;
  pthread_condattr_t condition;
  pthread_barrierattr_t barrier;
  pthread_rwlockattr_t rwlock;
  CHECK(pthread_mutexattr_init(&mutex) == 0 && pthread_condattr_init(&condition) == 0 &&
        pthread_barrierattr_init(&barrier) == 0 && pthread_rwlockattr_init(&rwlock) == 0);
  CHECK(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_condattr_setclock(&condition, CLOCK_MONOTONIC) == 0);
  CHECK(pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_mutex_init(&shared->mutex, &mutex) == 0);
  CHECK(pthread_cond_init(&shared->not_empty, &condition) == 0);
  CHECK(pthread_cond_init(&shared->not_full, &condition) == 0);
  CHECK(pthread_barrier_init(&shared->barrier, &barrier, kProcesses) == 0);
  CHECK(pthread_rwlock_init(&shared->rwlock, &rwlock) == 0);
  CHECK(pthread_spin_init(&shared->spin, PTHREAD_PROCESS_SHARED) == 0);
}

static void consume(void) {
  for (;;) {
    CHECK(pthread_mutex_lock(&shared->mutex) == 0);
    while (shared->count == 0) CHECK(pthread_cond_wait(&shared->not_empty, &shared->mutex) == 0);
    int item = shared->queue[shared->head];
    if (item >= 0) {
      shared->head = (shared->head + 1) % kSlots;
      shared->count--;
      shared->consumed++;
      shared->sum += item;
      CHECK(pthread_cond_signal(&shared->not_full) == 0);
    }
    CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
    if (item < 0) return;  // left for the others
  }
}

static void produce(void) {
  for (int item = 1; item <= kItems + 1; ++item) {
    CHECK(pthread_mutex_lock(&shared->mutex) == 0);
    while (shared->count == kSlots)
      CHECK(pthread_cond_wait(&shared->not_full, &shared->mutex) == 0);
    shared->queue[(shared->head + shared->count) % kSlots] = item <= kItems ? item : -1;
    shared->count++;
    CHECK(pthread_cond_broadcast(&shared->not_empty) == 0);
    CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
  }
}

static void work(void* unused) {
  (void)unused;
  for (int round = 0; round < 10; ++round) {
    int result = pthread_barrier_wait(&shared->barrier);
    if (result == PTHREAD_BARRIER_SERIAL_THREAD)
      __atomic_fetch_add(&shared->serial, 1, __ATOMIC_SEQ_CST);
    else
      CHECK_EQ(result, 0);
    __atomic_fetch_add(&shared->total, round, __ATOMIC_SEQ_CST);
    pthread_barrier_wait(&shared->barrier);
    CHECK_EQ(__atomic_load_n(&shared->total, __ATOMIC_SEQ_CST) % kProcesses, 0);
    pthread_barrier_wait(&shared->barrier);
  }
  for (int i = 0; i < 40; ++i) {
    CHECK(pthread_rwlock_wrlock(&shared->rwlock) == 0);
    shared->pair[0]++;
    if (i % 10 == 0) sched_yield();
    shared->pair[1]++;
    CHECK(pthread_rwlock_unlock(&shared->rwlock) == 0);
    CHECK(pthread_rwlock_rdlock(&shared->rwlock) == 0);
    CHECK_EQ(shared->pair[0], shared->pair[1]);
    CHECK(pthread_rwlock_unlock(&shared->rwlock) == 0);
    CHECK(pthread_spin_lock(&shared->spin) == 0);
    shared->spun = shared->spun + 1;
    CHECK(pthread_spin_unlock(&shared->spin) == 0);
  }
  consume();
}

int main(void) {
  shared = map_shared(kPage);
  init();
  pid_t pids[kProcesses];
  for (int i = 0; i < kProcesses; ++i) pids[i] = child(work, NULL);
  produce();
  for (int i = 0; i < kProcesses; ++i) wait_ok(pids[i]);
  CHECK_EQ(shared->consumed, kItems);
  CHECK_EQ(shared->sum, kItems * (kItems + 1) / 2);
  CHECK_EQ(shared->serial, 10 + 0);
  CHECK_EQ(shared->total, kProcesses * 45);
  CHECK_EQ(shared->pair[0], 40 * kProcesses);
  CHECK_EQ(shared->spun, 40 * kProcesses);
  struct timespec soon;
  clock_gettime(CLOCK_MONOTONIC, &soon);
  soon.tv_sec -= 1;
  CHECK(pthread_mutex_lock(&shared->mutex) == 0);
  CHECK_EQ(pthread_cond_timedwait(&shared->not_full, &shared->mutex, &soon), ETIMEDOUT);
  CHECK_EQ(pthread_mutex_trylock(&shared->mutex), EBUSY);
  CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
  say("pthread_shared %d %d %d\n", shared->consumed, shared->sum, shared->pair[0]);
}
