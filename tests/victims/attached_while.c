// A process attaches to another, as a debugger does, whatever that one is doing: the tracer sees
// the stops that the kernel makes and no others, and the traced process goes on as if nothing had
// been.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "victim.h"

enum { kThreads = 100, kSteps = 3000 };

// Shared by tracer and traced, so that the traced one touches traced memory before, while and
// after.
static struct {
  _Atomic int ready, go, count, handled;
  volatile long sum;
} * shared;
static int gate[2];

static void wait_at_gate(void) {
  char byte;
  close(gate[1]);
  CHECK_EQ(read(gate[0], &byte, 1), 0);
}

// ---- What the traced process does ---------------------------------------------------------------

static void in_read(void) {
  shared->sum = 40;
  shared->ready = 1;
  wait_at_gate();
  shared->sum += 2;
}

static void in_sigwaitinfo(void) {
  sigset_t set;
  siginfo_t info;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGSYS);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  shared->ready = 1;
  int signal;
  do signal = sigwaitinfo(&set, &info);  // a stop ends it
  while (signal < 0 && errno == EINTR);
  CHECK_EQ(signal, SIGUSR1);
  CHECK_EQ(info.si_value.sival_int, 77);
  shared->sum = 42;
}

static void at_work(void) {
  shared->ready = 1;
  while (!shared->go) ++shared->sum;
  const long before = shared->sum;
  for (int i = 0; i < kSteps; ++i) ++shared->sum;
  CHECK_EQ(shared->sum - before, kSteps);
  shared->sum = 42;
}

static void at_calls(void) {
  shared->ready = 1;
  const pid_t parent = getppid();
  while (!shared->go) CHECK_EQ(getppid(), parent);
  shared->sum = 42;
}

static void on_usr1(int signal) {
  int local[64];
  CHECK_EQ(signal, SIGUSR1);
  for (int i = 0; i < 64; ++i) local[i] = i * i + (int)shared->sum;
  shared->ready = 1;
  while (!shared->go) sched_yield();
  for (int i = 0; i < 64; ++i) CHECK_EQ(local[i], i * i + 5);
  ++shared->handled;
}

static void check_mask(int blocked) {
  sigset_t set;
  CHECK(sigprocmask(SIG_SETMASK, NULL, &set) == 0);
  CHECK_EQ(sigismember(&set, SIGUSR1), blocked);
  CHECK_EQ(sigismember(&set, SIGUSR2), blocked);
  CHECK_EQ(sigismember(&set, SIGSEGV), 1);
  CHECK_EQ(sigismember(&set, SIGSYS), 0);
}

static void use_handler(int flags) {
  static char stack[64 * 1024];
  const stack_t alternate = {stack, 0, sizeof stack};
  struct sigaction action = {.sa_handler = on_usr1, .sa_flags = flags};
  sigset_t set;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGUSR2);
  sigemptyset(&set);
  sigaddset(&set, SIGSEGV);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  CHECK(sigaltstack(&alternate, NULL) == 0);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  shared->sum = 5;
  register double kept = 1.5 * shared->sum;
  raise(SIGUSR1);
  CHECK(kept == 7.5);
  CHECK_EQ(shared->handled, 1);
  check_mask(0);
  stack_t now;
  CHECK(sigaltstack(NULL, &now) == 0);
  CHECK(now.ss_sp == stack && now.ss_flags == 0 && now.ss_size == sizeof stack);
  struct sigaction found;
  CHECK(sigaction(SIGUSR1, NULL, &found) == 0);
  CHECK(found.sa_handler == on_usr1 && (found.sa_flags & SA_ONSTACK) == (flags & SA_ONSTACK));
  CHECK(sigaction(SIGSYS, NULL, &found) == 0 && found.sa_handler == SIG_DFL);
  shared->handled = 0;
  raise(SIGUSR1);
  CHECK_EQ(shared->handled, 1);
  shared->sum = 42;
}

static void in_handler(void) { use_handler(0); }
static void in_handler_on_other_stack(void) { use_handler(SA_ONSTACK); }

// Most wait, in read or for a futex; some work and some make calls.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void* one_of_many(void* argument) {
  const long number = (long)argument;
  char byte;
  ++shared->ready;
  if (number % 50 == 0) {
    while (!shared->go) sched_yield();
  } else if (number % 50 == 1) {
    while (!shared->go) ++shared->sum;
  } else if (number % 2) {
    CHECK_EQ(read(gate[0], &byte, 1), 0);
  } else {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
  }
  ++shared->count;
  return NULL;
}

static void with_threads(void) {
  pthread_t threads[kThreads];
  close(gate[1]);
  pthread_mutex_lock(&mutex);
  for (long i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&threads[i], NULL, one_of_many, (void*)i) == 0);
  wait_at_gate();
  pthread_mutex_unlock(&mutex);
  for (long i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK_EQ(shared->count, kThreads);
  shared->sum = 42;
}

static void and_forks(void) {
  in_read();
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) _exit(shared->sum == 42 ? 6 : 1);
  CHECK_EQ(wait_status(pid), 6 << 8);
  execl("/bin/sh", "sh", "-c", "exit 0", (char*)NULL);
}

// ---- The tracer ---------------------------------------------------------------------------------

static pid_t start(void (*body)(void)) {
  memset((void*)shared, 0, sizeof *shared);
  CHECK(pipe(gate) == 0);
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    body();
    _exit(7);
  }
  close(gate[0]);
  return pid;
}

static void release(void) {
  shared->go = 1;
  close(gate[1]);
}

// Goes on until the process ends; says each stop.
static void follow(pid_t pid) {
  for (;;) {
    const int status = wait_status(pid);
    if (WIFEXITED(status)) {
      say("  exit %d\n", WEXITSTATUS(status));
      return;
    }
    if (!WIFSTOPPED(status)) {
      say("  signal %d\n", WTERMSIG(status));
      return;
    }
    const int signal = WSTOPSIG(status);
    say("  stop %d event %d\n", signal, status >> 16);
    CHECK(ptrace(PTRACE_CONT, pid, NULL, signal == SIGSTOP || signal == SIGTRAP ? 0 : signal) == 0);
  }
}

static void attach(pid_t pid) {
  CHECK(ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0);
  int status;
  CHECK_EQ(waitpid(pid, &status, __WALL), pid);
  CHECK(WIFSTOPPED(status));
  CHECK_EQ(WSTOPSIG(status), SIGSTOP);
}

static void seize(pid_t pid) {
  CHECK(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD) == 0);
  CHECK(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0);
  const int status = wait_status(pid);
  CHECK(WIFSTOPPED(status));
  CHECK_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
}

static void await_ready(int count) {
  while (shared->ready < count) sched_yield();
}

static const struct {
  const char* name;
  void (*body)(void);
  int stays_ready;  // 0: it may be attached to before it is
} kBodies[] = {{"in read", in_read, 1},
               {"in sigwaitinfo", in_sigwaitinfo, 1},
               {"at work", at_work, 1},
               {"at calls", at_calls, 1},
               {"in a handler", in_handler, 1},
               {"in a handler on the other stack", in_handler_on_other_stack, 1},
               {"right after fork", in_read, 0},
               {"before it forks and executes", and_forks, 1}};

static void each_body(const char* how, void (*take)(pid_t), int detaches) {
  for (size_t i = 0; i < sizeof kBodies / sizeof kBodies[0]; ++i) {
    say("%s %s%s\n", how, kBodies[i].name, detaches ? ", then lets go" : "");
    const pid_t pid = start(kBodies[i].body);
    if (kBodies[i].stays_ready) await_ready(1);
    take(pid);
    CHECK(ptrace(detaches ? PTRACE_DETACH : PTRACE_CONT, pid, NULL, NULL) == 0);
    release();
    if (kBodies[i].body == in_sigwaitinfo)
      CHECK(sigqueue(pid, SIGUSR1, (union sigval){.sival_int = 77}) == 0);
    follow(pid);
    CHECK_EQ(shared->sum, 42);
  }
}

// As gdb does it: every thread, while they run.
static void many_threads(void) {
  const pid_t pid = start(with_threads);
  await_ready(kThreads);
  pid_t tids[kThreads + 8];
  int count = 0;
  char path[64];
  snprintf(path, sizeof path, "ls /proc/%d/task", pid);
  FILE* list = popen(path, "r");
  CHECK(list);
  while (count < kThreads + 8 && fscanf(list, "%d", &tids[count]) == 1) ++count;
  pclose(list);
  CHECK_EQ(count, kThreads + 1);
  attach(pid);
  for (int i = 0; i < count; ++i)
    if (tids[i] != pid) attach(tids[i]);
  for (int i = 0; i < count; ++i) CHECK(ptrace(PTRACE_DETACH, tids[i], NULL, NULL) == 0);
  release();
  say("%d threads\n", count);
  follow(pid);
}

// Attached to by a process that ends without a word.
static void tracer_dies(void) {
  const pid_t pid = start(in_read);
  await_ready(1);
  const pid_t tracer = fork();
  CHECK(tracer >= 0);
  if (tracer == 0) {
    CHECK(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0);
    _exit(0);
  }
  wait_ok(tracer);
  release();
  say("the tracer has died\n");
  follow(pid);
  CHECK_EQ(shared->sum, 42);
}

// The program that a child executes is attached to while it starts; it may not be for a moment, as
// long as the kernel loads it.
static void while_it_starts(int rounds) {
  for (volatile int i = 0; i < rounds; ++i) {
    CHECK(pipe(gate) == 0);
    const pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
      dup2(gate[0], 0), close(gate[1]);
      execl("/bin/sh", "sh", "-c", "read x; exit 7", (char*)NULL);
      _exit(1);
    }
    while (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0) CHECK_EQ(errno, EPERM);
    close(gate[0]), close(gate[1]);
    const int status = wait_status(pid);
    CHECK_EQ(status, 7 << 8);
  }
}

int main(void) {
  shared = map_shared(kPage);
  each_body("attaches", attach, 0);
  each_body("attaches", attach, 1);
  each_body("seizes", seize, 0);
  each_body("seizes", seize, 1);
  many_threads();
  tracer_dies();
  say("a program that starts\n");
  while_it_starts(20);
}
