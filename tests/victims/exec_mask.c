// What a new image inherits: the signal mask, ignored signals, pending signals; handlers are gone. A
// timer that is set before exec kills the new image.
#include "victim.h"

#include <sys/time.h>

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

static void handler(int signal) { (void)signal; }

static void exec_plainly(void* role) {
  execl("/proc/self/exe", "exec_mask", role, NULL);
}

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

static void exec_with_timer(void* role) {
  struct itimerval timer = {{0, 0}, {0, 100000}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  exec_plainly(role);
}

int main(int argc, char** argv) {
  if (argc > 1) {
    print_state(argv[1]);
    if (strcmp(argv[1], "timer") == 0) pause();
    return 0;
  }
  volatile int* shared = map_shared(kPage);  // exec with traced memory mapped
  shared[0] = 1;
  print_state("first image");
  wait_ok(child(exec_plainly, "plain"));
  wait_ok(child(exec_with_mask, "masked"));
  CHECK_EQ(WTERMSIG(wait_status(child(exec_with_timer, "timer"))), SIGALRM);
}
