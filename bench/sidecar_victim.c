// A crowd for bench/sidecar_load.py: a parent that keeps so many children at work on shared memory,
// at a modest rate, while they end and crash at random; after a time it ends with the status it was
// given.
//
// usage: sidecar_victim PROCESSES SECONDS STATUS ACCESSES_PER_SECOND LIFE_SECONDS CRASH_PERCENT
// SEED A child lives between half and one and a half times LIFE_SECONDS; CRASH_PERCENT of them end
// by SIGSEGV or SIGABRT, the others by exit(0). Each is replaced. The last line says how many there
// were:
//   children N crashed N accesses N highest N
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kWords = 8192, kBurstsPerSecond = 5 };

struct Shared {
  _Atomic uint64_t accesses;
  _Atomic int stop;
  _Atomic uint64_t words[kWords];
};

struct Options {
  int processes, seconds, status, rate;
  double life;
  int crash_percent;
  unsigned seed;
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void burst(struct Shared* shared, unsigned* random, int accesses) {
  for (int i = 0; i < accesses; i++) shared->words[rand_r(random) % kWords] += 1;
  shared->accesses += (uint64_t)accesses;
}

// Crashes by what most programs crash by.
static void crash(unsigned* random) {
  if (rand_r(random) % 2) abort();
  *(volatile int*)16 = 1;
}

_Noreturn static void child(struct Shared* shared, const struct Options* options, unsigned seed) {
  unsigned random = seed;
  const double end = now() + options->life * (0.5 + rand_r(&random) / (double)RAND_MAX);
  const struct timespec pause = {0, 1000000000 / kBurstsPerSecond};
  while (now() < end && !shared->stop) {
    burst(shared, &random, options->rate / kBurstsPerSecond);
    nanosleep(&pause, NULL);
  }
  if (!shared->stop && rand_r(&random) % 100 < options->crash_percent) crash(&random);
  _exit(0);
}

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const struct Options options = {atoi(argv[1]),          atoi(argv[2]), atoi(argv[3]),
                                  atoi(argv[4]),          atof(argv[5]), atoi(argv[6]),
                                  (unsigned)atoi(argv[7])};
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  struct Shared* shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 4;
  const double end = now() + options.seconds;
  int alive = 0, children = 0, crashed = 0, highest = 0, status;
  while (now() < end) {
    while (alive < options.processes) {
      const pid_t pid = fork();
      if (pid < 0) break;  // tried again below
      if (pid == 0) child(shared, &options, options.seed + (unsigned)children);
      children++;
      alive++;
    }
    if (alive > highest) highest = alive;
    while (alive > 0 && waitpid(-1, &status, WNOHANG) > 0) {
      alive--;
      crashed += WIFSIGNALED(status);
    }
    nanosleep(&(struct timespec){0, 20000000}, NULL);
  }
  shared->stop = 1;
  for (; alive > 0 && wait(&status) > 0; alive--) crashed += WIFSIGNALED(status);
  printf("children %d crashed %d accesses %llu highest %d\n", children, crashed,
         (unsigned long long)shared->accesses, highest);
  fflush(stdout);
  return options.status;
}
