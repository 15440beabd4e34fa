// What a new image inherits: the signal mask, ignored signals, pending signals; handlers are gone.
// Among them the signals of faults, also through fork, posix_spawn with attributes, vfork, and an
// exec that fails. A timer that is set before exec kills the new image.
#include <spawn.h>
#include <sys/time.h>

#include "victim.h"

static void print_state(const char* when) {
  sigset_t mask, pending;
  CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
  CHECK(sigpending(&pending) == 0);
  say("%s:", when);
  for (int signal = 1; signal < 65; ++signal) {
    struct sigaction action;
    if (sigismember(&mask, signal) == 1) say(" blocked %d", signal);
    if (sigismember(&pending, signal) == 1) say(" pending %d", signal);
    if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
      say(" %s %d", action.sa_handler == SIG_IGN ? "ignored" : "handled", signal);
  }
  say("\n");
}

static volatile int* shared;

static void print_state_of_child(void* when) { print_state(when); }

static void handler(int signal) { (void)signal; }

static void exec_plainly(void* role) { execl("/proc/self/exe", "exec_mask", role, NULL); }

static void exec_with_mask(void* role) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  sigaddset(&mask, SIGCHLD);
  CHECK(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
  signal(SIGHUP, SIG_IGN);
  signal(SIGTERM, handler);
  CHECK(kill(getpid(), SIGUSR1) == 0);
  exec_plainly(role);
}

// Signals that come all the time, while an exec is being made: it never fails for that, and each
// handler runs before it or not at all. A new image ignores SIGWINCH by default, and its timer is
// gone.
static void exec_in_storm(void* flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = (int)(long)flags};
  CHECK(sigaction(SIGWINCH, &action, NULL) == 0);
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGWINCH};
  timer_t timer;
  struct itimerspec often = {{0, 150000}, {0, 150000}};
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  CHECK(timer_settime(timer, 0, &often, NULL) == 0);
  for (int i = 0; i < 30; ++i) CHECK_ERRNO(execl("/no/such/program", "none", NULL), ENOENT);
  exec_plainly(flags ? "storm with SA_RESTART" : "storm");
  fail(__FILE__, __LINE__, "exec: errno %d", errno);
}

static void exec_with_timer(void* role) {
  struct itimerval timer = {{0, 0}, {0, 100000}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  exec_plainly(role);
}

static void fault_signals(sigset_t* set) {
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGABRT};
  sigemptyset(set);
  for (int i = 0; i < 7; ++i) sigaddset(set, signals[i]);
}

static void exec_with_faults_blocked(void* role) {
  sigset_t mask;
  fault_signals(&mask);
  CHECK(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
  CHECK(raise(SIGSEGV) == 0 && kill(getpid(), SIGSYS) == 0 &&
        raise(SIGABRT) == 0);  // not SIGTRAP: docs/run.md
  // One that fails changes nothing.
  CHECK_ERRNO(execl("/no/such/program", "none", NULL), ENOENT);
  print_state("after a failed exec");
  wait_ok(child(print_state_of_child, "fork"));
  exec_plainly(role);
}

// Not SIGTRAP: see docs/run.md.
static void exec_with_faults_ignored(void* role) {
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT};
  for (int i = 0; i < 6; ++i) CHECK(signal(signals[i], SIG_IGN) != SIG_ERR);
  signal(SIGTRAP, handler);
  CHECK_ERRNO(execl("/no/such/program", "none", NULL), ENOENT);
  *shared += 1;  // faults still work
  CHECK(raise(SIGSEGV) == 0 && raise(SIGABRT) == 0);
  print_state("after a failed exec");
  wait_ok(child(print_state_of_child, "fork"));
  pid_t pid = vfork();
  if (pid == 0) {
    exec_plainly("vforked");
    _exit(9);
  }
  wait_ok(pid);
  exec_plainly(role);
}

static void spawn(const char* role, int blocked, int defaults) {
  posix_spawnattr_t attributes;
  sigset_t set;
  fault_signals(&set);
  CHECK(posix_spawnattr_init(&attributes) == 0);
  CHECK(posix_spawnattr_setsigmask(&attributes, &set) == 0);
  sigdelset(&set, SIGFPE);
  CHECK(posix_spawnattr_setsigdefault(&attributes, &set) == 0);
  CHECK(posix_spawnattr_setflags(&attributes, (blocked ? POSIX_SPAWN_SETSIGMASK : 0) |
                                                  (defaults ? POSIX_SPAWN_SETSIGDEF : 0)) == 0);
  char* arguments[] = {"exec_mask", (char*)role, NULL};
  extern char** environ;
  pid_t pid;
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, &attributes, arguments, environ) == 0);
  wait_ok(pid);
}

static void spawning(void* unused) {
  (void)unused;
  signal(SIGSEGV, SIG_IGN);
  signal(SIGFPE, SIG_IGN);
  signal(SIGABRT, SIG_IGN);
  signal(SIGBUS, handler);
  spawn("spawned", 0, 0);
  spawn("spawned, blocked", 1, 0);
  spawn("spawned, defaults", 0, 1);
  spawn("spawned, both", 1, 1);
  print_state("spawner");
}

// A blocked fault signal that was sent before the exec comes when the new image unblocks it.
static void unblock(void) {
  sigset_t set;
  fault_signals(&set);
  signal(SIGABRT, SIG_IGN);
  signal(SIGTRAP, SIG_IGN);
  CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
  say("not reached\n");
}

int main(int argc, char** argv) {
  if (argc > 1) {
    print_state(argv[1]);
    if (strcmp(argv[1], "timer") == 0) pause();
    if (strcmp(argv[1], "faults blocked") == 0) unblock();
    return 0;
  }
  shared = map_shared(kPage);  // exec with traced memory mapped
  shared[0] = 1;
  print_state("first image");
  wait_ok(child(exec_plainly, "plain"));
  wait_ok(child(exec_with_mask, "masked"));
  CHECK_EQ(WTERMSIG(wait_status(child(exec_with_timer, "timer"))), SIGALRM);
  CHECK_EQ(WTERMSIG(wait_status(child(exec_with_faults_blocked, "faults blocked"))), SIGSEGV);
  wait_ok(child(exec_with_faults_ignored, "faults ignored"));
  wait_ok(child(spawning, NULL));
  for (int i = 0; i < 10; ++i) {
    wait_ok(child(exec_in_storm, NULL));
    wait_ok(child(exec_in_storm, (void*)(long)SA_RESTART));
  }
}
