// Processes and threads that copy ranges of several lines and pages into the same shared memory and
// out of it, by libc, by string instructions, by the kernel and by single stores.
// tests/e2e/ranges.py holds the log against itself: every value read is to be the one that the
// writes before it left.
//
// usage: ranges FILE SEED PROCESSES THREADS OPERATIONS
//   FILE gets the memory's content at the end; OPERATIONS per thread, 0: until killed
#include <pthread.h>

#include "victim.h"

enum { kPages = 6, kBytes = kPages * kPage, kLongest = 2 * kPage + 100 };

static void* (*volatile copy)(void*, const void*, size_t) = memcpy;
static void* (*volatile move)(void*, const void*, size_t) = memmove;
static void* (*volatile set)(void*, int, size_t) = memset;
static int (*volatile compare)(const void*, const void*, size_t) = memcmp;
static void* (*volatile find)(const void*, int, size_t) = memchr;

static unsigned char* shared;
static long operations;

struct Worker {
  uint64_t random;
  int pipe[2];
  unsigned char own[kLongest];
};

static size_t below(struct Worker* worker, size_t limit) {
  return next_random(&worker->random) % limit;
}

static void string_copy(void* to, const void* from, size_t n) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

// Through a pipe, which holds as much as is written at once.
static void by_kernel(struct Worker* worker, unsigned char* at, size_t n, int in) {
  CHECK_EQ(write(worker->pipe[1], in ? worker->own : at, n), n);
  CHECK_EQ(read(worker->pipe[0], in ? at : worker->own, n), n);
}

static void step(struct Worker* worker) {
  // Short ones are as many as long ones.
  const size_t n = below(worker, 2) ? 1 + below(worker, 300) : below(worker, kLongest);
  unsigned char *at = shared + below(worker, kBytes - n),
                *other = shared + below(worker, kBytes - n);
  for (size_t i = 0; i < n; i += 64 + below(worker, 64)) worker->own[i]++;
  switch (below(worker, 11)) {
    case 0:
    case 1:
      copy(at, worker->own, n);
      break;
    case 2:
    case 3:
      copy(worker->own, at, n);
      break;
    case 4:
      move(at, other, n);
      break;
    case 5:
      set(at, (int)below(worker, 256), n);
      break;
    case 6:
      string_copy(at, worker->own, n);
      string_copy(worker->own, other, n);
      break;
    case 7:
      by_kernel(worker, at, n, (int)below(worker, 2));
      break;
    case 8:
      copy(worker->own, at, n);  // so that it goes far
      compare(worker->own, at, n);
      break;
    case 9:
      find(at, (int)below(worker, 256), n);
      break;
    default:
      for (size_t i = 0; i + 8 <= n; i += 500)
        __atomic_store_n((uint64_t*)(shared + (at + i - shared) / 8 * 8), worker->random,
                         __ATOMIC_RELAXED);
  }
}

static void* work(void* seed) {
  struct Worker* worker = map_private(sizeof *worker);
  worker->random = (uint64_t)seed;
  CHECK(pipe(worker->pipe) == 0);
  memset(worker->own, (int)worker->random, sizeof worker->own);
  for (long i = 0; !operations || i < operations; ++i) step(worker);
  close(worker->pipe[0]);
  close(worker->pipe[1]);
  return NULL;
}

static void run_threads(uint64_t seed, int threads) {
  pthread_t made[64];
  CHECK(threads <= 64);
  for (int i = 0; i < threads; ++i)
    CHECK(pthread_create(&made[i], NULL, work, (void*)(seed + i)) == 0);
  for (int i = 0; i < threads; ++i) CHECK(pthread_join(made[i], NULL) == 0);
}

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const uint64_t seed = strtoull(argv[2], NULL, 10) * 1000003 + 1;
  const int processes = atoi(argv[3]), threads = atoi(argv[4]);
  operations = atol(argv[5]);
  shared = map_shared(kBytes);
  pid_t children[64];
  CHECK(processes <= 64);
  for (int i = 0; i < processes; ++i) {
    children[i] = fork();
    CHECK(children[i] >= 0);
    if (children[i]) continue;
    run_threads(seed + (uint64_t)i * 64, threads);
    _exit(0);
  }
  for (int i = 0; i < processes; ++i) wait_ok(children[i]);
  const int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  unsigned char* content = map_private(kBytes);
  string_copy(content, shared, kBytes);
  CHECK_EQ(write(fd, content, kBytes), kBytes);
}
