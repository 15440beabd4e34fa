// Raw futexes between processes: wait, wake, bitset, requeue, wake_op, timeouts, private operations
// on shared memory, waitv, errors.
#include <linux/futex.h>
#include <pthread.h>

#include "victim.h"

struct Shared {
  int word, other, started, woken, value;
};

static struct Shared* shared;

static long futex(int* word, int operation, int value, const void* timeout, int* second,
                  int value3) {
  return syscall(SYS_futex, word, operation, value, timeout, second, value3);
}

static void sleep_on_word(void* operation) {
  __atomic_fetch_add(&shared->started, 1, __ATOMIC_SEQ_CST);
  long result = futex(&shared->word, (int)(long)operation, 0, NULL, NULL, (int)0xFFFFFFFF);
  CHECK(result == 0 || errno == EAGAIN);
  __atomic_fetch_add(&shared->woken, 1, __ATOMIC_SEQ_CST);
}

// Wakes until `count` waiters have gone: one that has not slept yet is not woken.
static long wake_all(int* word, int count, int operation) {
  long woken = 0;
  while (woken < count) {
    long result = futex(word, operation, count, NULL, NULL, (int)0xFFFFFFFF);
    CHECK(result >= 0);
    woken += result;
    sched_yield();
  }
  return woken;
}

static void* sleep_in_thread(void* unused) {
  (void)unused;
  sleep_on_word((void*)(long)(FUTEX_WAIT | FUTEX_PRIVATE_FLAG));
  return NULL;
}

static void wait_and_wake(void) {
  memset(shared, 0, sizeof(*shared));
  pid_t pids[3];
  for (int i = 0; i < 3; ++i) pids[i] = child(sleep_on_word, (void*)(long)FUTEX_WAIT);
  CHECK_EQ(wake_all(&shared->word, 3, FUTEX_WAKE), 3);
  for (int i = 0; i < 3; ++i) wait_ok(pids[i]);
  CHECK_EQ(shared->woken, 3);
  CHECK_EQ(futex(&shared->word, FUTEX_WAKE, 100, NULL, NULL, 0), 0);
}

static void bitsets(void) {
  pid_t pid = child(sleep_on_word, (void*)(long)FUTEX_WAIT_BITSET);
  CHECK_EQ(wake_all(&shared->word, 1, FUTEX_WAKE_BITSET), 1);
  wait_ok(pid);
}

static void requeue(void) {
  memset(shared, 0, sizeof(*shared));
  pid_t pids[2];
  for (int i = 0; i < 2; ++i) pids[i] = child(sleep_on_word, (void*)(long)FUTEX_WAIT);
  long moved = 0;
  while (moved < 2) {
    long result = futex(&shared->word, FUTEX_CMP_REQUEUE, 0, (void*)2l, &shared->other, 0);
    CHECK(result >= 0);
    moved += result;
    sched_yield();
  }
  CHECK_EQ(futex(&shared->word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
  CHECK_EQ(wake_all(&shared->other, 2, FUTEX_WAKE), 2);
  for (int i = 0; i < 2; ++i) wait_ok(pids[i]);
  CHECK_ERRNO(futex(&shared->word, FUTEX_CMP_REQUEUE, 1, (void*)1l, &shared->other, 77), EAGAIN);
}

static void wake_op(void) {
  memset(shared, 0, sizeof(*shared));
  shared->value = 10;
  pid_t pid = child(sleep_on_word, (void*)(long)FUTEX_WAIT);
  int operation = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_GE, 1000000);
  long woken = 0;
  int times = 0;
  while (woken == 0) {
    woken = futex(&shared->word, FUTEX_WAKE_OP, 1, (void*)1l, &shared->value, operation);
    CHECK(woken >= 0);
    ++times;
    sched_yield();
  }
  wait_ok(pid);
  CHECK_EQ(shared->value, 10 + 5 * times);
}

static void timeouts(void) {
  struct timespec* limit = (struct timespec*)(shared + 1);  // in shared memory as well
  *limit = (struct timespec){0, 2000000};
  shared->word = 7;
  CHECK_ERRNO(futex(&shared->word, FUTEX_WAIT, 7, limit, NULL, 0), ETIMEDOUT);
  CHECK_ERRNO(futex(&shared->word, FUTEX_WAIT, 8, limit, NULL, 0), EAGAIN);
  CHECK_ERRNO(futex(&shared->word, FUTEX_WAIT_PRIVATE, 7, limit, NULL, 0), ETIMEDOUT);
  CHECK_ERRNO(futex(&shared->word, FUTEX_WAIT_PRIVATE, 8, limit, NULL, 0), EAGAIN);
  clock_gettime(CLOCK_MONOTONIC, limit);
  CHECK_ERRNO(futex(&shared->word, FUTEX_WAIT_BITSET, 7, limit, NULL, 1), ETIMEDOUT);
  *limit = (struct timespec){0, 2000000000};
  CHECK_ERRNO(futex(&shared->word, FUTEX_WAIT, 7, limit, NULL, 0), EINVAL);
  CHECK_ERRNO(futex((int*)((char*)&shared->word + 1), FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
  CHECK_ERRNO(futex(&shared->word, 99, 1, NULL, NULL, 0), ENOSYS);
  int* nowhere = mmap(NULL, kPage, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK_ERRNO(futex(nowhere, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
}

static void waitv(void) {
  struct {
    uint64_t value, address;
    uint32_t flags, reserved;
  } waiters[2] = {{7, (uint64_t)&shared->word, 2, 0}, {1, (uint64_t)&shared->other, 2, 0}};
  shared->other = 0;
  long result = syscall(449, waiters, 2, 0, NULL, 0);
  CHECK(result == -1 && (errno == EAGAIN || errno == ENOSYS));
}

static void private_in_threads(void) {
  memset(shared, 0, sizeof(*shared));
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, sleep_in_thread, NULL) == 0);
  CHECK_EQ(wake_all(&shared->word, 2, FUTEX_WAKE | FUTEX_PRIVATE_FLAG), 2);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
  shared = map_shared(kPage);
  wait_and_wake();
  bitsets();
  requeue();
  wake_op();
  timeouts();
  waitv();
  private_in_threads();
  say("futex_raw %d\n", shared->woken);
}
