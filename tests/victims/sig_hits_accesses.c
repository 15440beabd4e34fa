// Signals that the agent needs for itself, sent to threads and processes that do nothing but access
// shared memory, so that they come at every point of an access: each arrives, and afterwards the
// others still do. And sent to a process at the very moment when it is made: it dies of them.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

enum { kRounds = 60, kChildren = 12 };
static const int kSignals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
enum { kCount = sizeof(kSignals) / sizeof(kSignals[0]) };

struct Shared {
  atomic_int counted, stop, arrived[65];
  volatile int spun;
};
static struct Shared* shared;

static void on_signal(int signal) { shared->arrived[signal]++; }

static void send_and_await(pid_t process, pid_t thread, int signal) {
  const int before = shared->arrived[signal];
  CHECK(syscall(SYS_tgkill, process, thread, signal) == 0);
  while (shared->arrived[signal] == before) sched_yield();
}

static void* count(void* tid) {
  *(atomic_int*)tid = (int)syscall(SYS_gettid);
  while (!shared->stop) shared->counted++;
  return NULL;
}

// A needed signal, and then one that everybody uses, which a mask left behind would keep out. Not
// SIGSEGV: the kernel keeps one of a kind for a thread, and that may be an access's.
static void a_thread_gets_each(void) {
  struct sigaction action = {.sa_handler = on_signal};
  for (int i = 0; i < kCount; ++i) CHECK(sigaction(kSignals[i], &action, NULL) == 0);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  atomic_int tid = 0;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, count, &tid) == 0);
  while (!tid) sched_yield();
  for (int round = 0; round < kRounds; ++round) {
    const int signal = kSignals[round % kCount];
    if (signal != SIGSEGV) send_and_await(getpid(), tid, signal);
    send_and_await(getpid(), tid, SIGUSR1);
  }
  shared->stop = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  say("the thread took %d\n", (int)shared->arrived[SIGUSR1]);
}

static int ends_of(pid_t child) {
  int status;
  for (int tries = 0; tries < 5000; ++tries) {
    if (waitpid(child, &status, WNOHANG) == child) return status;
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
  kill(child, SIGKILL);
  fail(__FILE__, __LINE__, "the child lives");
}

static void a_new_process_dies_of(int signal) {
  for (int i = 0; i < kChildren; ++i) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (!child)
      for (;;) shared->spun++;
    CHECK(kill(child, signal) == 0);
    const int status = ends_of(child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), signal);
  }
  say("%d new processes died of %d\n", kChildren, signal);
}

int main(void) {
  shared = map_shared(kPage);
  for (int i = 0; i < kCount; ++i) a_new_process_dies_of(kSignals[i]);
  a_thread_gets_each();
  return 0;
}
