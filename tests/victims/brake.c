// Accesses memory that it shares with its children, without pause for a while and then seldom, by
// all ways that have to hold while a recorder changes how much of it is recorded: stores and loads,
// what is atomic, what crosses pages, a robust mutex whose owner dies, the kernel's accesses,
// ranges, mappings that move, forks. e2e/brake.py has the recorder brake it.
//
// usage: brake [BUSY-MS CALM-MS]
#include <pthread.h>

#include "victim.h"

enum { kOwnPages = 8, kThreads = 2, kChildren = 2, kWriters = kThreads * (kChildren + 1) };
enum { kPages = 4 + kWriters * kOwnPages };

struct shared {
  pthread_mutex_t mutex;
  uint64_t guarded, taken_over, locked;
  _Alignas(64) uint64_t added, expected;
};

static struct shared* shared;
static uint8_t* memory;  // the segment, in this process
static int fd;
static uint64_t busy_ms = 300, calm_ms = 100;

static uint64_t now_ms(void) {
  struct timespec time;
  CHECK(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
  return time.tv_sec * 1000ull + time.tv_nsec / 1000000;
}

static void take(void) {
  const int result = pthread_mutex_lock(&shared->mutex);
  if (result == EOWNERDEAD) {
    CHECK(pthread_mutex_consistent(&shared->mutex) == 0);
    shared->guarded = shared->locked;  // the dead one may have been between the two
    ++shared->taken_over;
  } else {
    CHECK_EQ(result, 0);
  }
}

static void lock_and_count(void) {
  take();
  CHECK_EQ(shared->guarded, shared->locked);
  ++shared->guarded;
  ++shared->locked;
  CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
}

// Stores to its own pages, and loads what it stored.
static void store_and_load(volatile uint64_t* own, uint64_t round) {
  const int words = kOwnPages * kPage / 8;
  for (int i = 0; i < 2000; ++i) own[(i * 67 + round) % words] = round * 10000 + i;
  for (int i = 1933; i < 2000; ++i) CHECK_EQ(own[(i * 67 + round) % words], round * 10000 + i);
  for (int i = 0; i < 100; ++i) own[5] += 3;
}

// Across the border of its pages: plainly, and atomically as processors do it for unaligned words.
static void cross_pages(uint8_t* own, uint64_t round) {
  volatile uint64_t* const word = (volatile uint64_t*)(own + kPage * (1 + round % 6) - 3);
  *word = round;
  CHECK_EQ(*word, round);
  memset(own + kPage, (int)round, 5000);
  memcpy(own + 4 * kPage - 100, own + kPage, 5000);
  CHECK(memcmp(own + 4 * kPage - 100, own + kPage, 2000) == 0);
}

static void let_the_kernel(uint8_t* own, uint64_t round) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  memset(own + 7 * kPage, (int)round, 600);
  CHECK_EQ(write(ends[1], own + 7 * kPage, 600), 600);
  CHECK_EQ(read(ends[0], own + 6 * kPage - 300, 600), 600);
  CHECK(memcmp(own + 6 * kPage - 300, own + 7 * kPage, 600) == 0);
  close(ends[0]), close(ends[1]);
}

// A second mapping that moves, shrinks and is protected.
static void move(uint64_t round) {
  uint8_t* at = map_fd(fd, 4 * kPage, PROT_READ | PROT_WRITE);
  at = mremap(at, 4 * kPage, kPages * kPage, MREMAP_MAYMOVE);
  CHECK(at != MAP_FAILED);
  CHECK_EQ(*(volatile uint64_t*)(at + 3 * kPage), 77);
  CHECK(mprotect(at, 3 * kPage, PROT_READ) == 0);
  CHECK(mprotect(at, 3 * kPage, PROT_READ | PROT_WRITE) == 0);
  at = mremap(at, kPages * kPage, 4 * kPage, 0);
  CHECK(at != MAP_FAILED);
  *(volatile uint64_t*)(at + 2 * kPage + 8 * (round % 8)) = round;
  CHECK(munmap(at, 4 * kPage) == 0);
}

// A child dies with the mutex.
static void die_with_it(void* unused) {
  (void)unused;
  take();
  ++shared->guarded;
  raise(SIGKILL);
}

static uint64_t work_little(uint8_t* own, uint64_t round) {
  volatile uint64_t* const words = (volatile uint64_t*)own;
  for (int i = 0; i < 10; ++i) words[i * 100] = round;
  for (int i = 0; i < 10; ++i) CHECK_EQ(words[i * 100], round);
  __atomic_fetch_add(&shared->added, 1, __ATOMIC_SEQ_CST);
  lock_and_count();
  return 1;
}

static uint64_t work(uint8_t* own, uint64_t round) {
  store_and_load((volatile uint64_t*)own, round);
  for (int i = 0; i < 100; ++i) __atomic_fetch_add(&shared->added, 1, __ATOMIC_SEQ_CST);
  cross_pages(own, round);
  lock_and_count();
  if (round % 8 == 0) let_the_kernel(own, round);
  if (round % 16 == 0) move(round);
  return 100;
}

static void* run(void* argument) {
  uint8_t* const own = memory + (4 + (uintptr_t)argument * kOwnPages) * kPage;
  uint64_t added = 0, round = 1;
  const uint64_t start = now_ms();
  for (; now_ms() - start < busy_ms; ++round) added += work(own, round);
  while (now_ms() - start < busy_ms + calm_ms) {
    usleep(20000);
    added += work_little(own, ++round);
  }
  __atomic_fetch_add(&shared->expected, added, __ATOMIC_SEQ_CST);
  return NULL;
}

static void run_threads(void* argument) {
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&threads[i], NULL, run, (void*)((uintptr_t)argument * kThreads + i)) == 0);
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
}

int main(int argc, char** argv) {
  if (argc == 3) busy_ms = strtoull(argv[1], NULL, 10), calm_ms = strtoull(argv[2], NULL, 10);
  fd = memfd_create("busy", 0);
  CHECK(fd >= 0 && ftruncate(fd, kPages * kPage) == 0);
  memory = map_fd(fd, kPages * kPage, PROT_READ | PROT_WRITE);
  shared = (struct shared*)memory;
  *(volatile uint64_t*)(memory + 3 * kPage) = 77;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  CHECK(pthread_mutex_init(&shared->mutex, &attributes) == 0);
  pid_t children[kChildren];
  for (uintptr_t i = 0; i < kChildren; ++i) children[i] = child(run_threads, (void*)(i + 1));
  pthread_t own;
  CHECK(pthread_create(&own, NULL, run, (void*)0) == 0);
  int deaths = 0;
  for (const uint64_t start = now_ms(); now_ms() - start < busy_ms + calm_ms; ++deaths) {
    int status = wait_status(child(die_with_it, NULL));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    usleep(100000);
  }
  pthread_join(own, NULL);
  for (int i = 0; i < kChildren; ++i) wait_ok(children[i]);
  lock_and_count();
  CHECK_EQ(shared->taken_over, deaths);
  CHECK_EQ(shared->added, shared->expected);
  say("brake\n");
}
