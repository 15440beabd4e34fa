// Timers that interrupt everything while shared memory is used: plain accesses, instructions that
// make a step, calls that wait with another mask, nested handlers on an alternate stack that the
// handler changes, SA_NODEFER, SA_RESETHAND, returns with a changed mask.
#include <poll.h>
#include <sys/time.h>
#include <ucontext.h>

#include "victim.h"

static volatile uint64_t* words;
static volatile int alarms, rounds;

static void on_alarm(int signal, siginfo_t* info, void* context) {
  (void)info;
  ucontext_t* c = context;
  words[1] = words[1] + 1;
  ++alarms;
  if (signal == SIGALRM && alarms % 3 == 0)
    sigaddset(&c->uc_sigmask, SIGWINCH);  // for who is interrupted
  if (alarms % 5 == 0) __asm__ volatile("fxsave64 (%0)" : : "r"((char*)words + 2048) : "memory");
  stack_t stack;
  CHECK(sigaltstack(NULL, &stack) == 0);
  CHECK_EQ(stack.ss_flags & SS_ONSTACK, SS_ONSTACK);
  CHECK_ERRNO(sigaltstack(&stack, NULL), EPERM);
}

static void once(int signal) {
  (void)signal;
  words[2] = words[2] + 1;
}

static void with_alarms(void (*body)(void)) {
  struct itimerval timer = {{0, 400}, {0, 400}}, none = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  for (rounds = 0; rounds < 300; ++rounds) body();
  CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
}

static void plain(void) {
  words[3] = words[3] + 1;
  memset((char*)words + 1024, rounds, 600);
  for (int i = 0; i < 600; ++i) CHECK_EQ(((volatile unsigned char*)words)[1024 + i], rounds & 0xFF);
}

static void steps(void) {
  __asm__ volatile("fxsave64 (%0)" : : "r"((char*)words + 2048) : "memory");
  words[4] = words[4] + 1;
}

static void waits(void) {
  sigset_t set, now;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  int before = alarms;
  sigfillset(&set);
  sigdelset(&set, SIGALRM);
  struct timespec time = {1, 0};
  CHECK_ERRNO(rounds & 1 ? ppoll(NULL, 0, &time, &set) : sigsuspend(&set), EINTR);
  CHECK(alarms > before);
  CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
  CHECK_EQ(sigismember(&now, SIGALRM), 1);
  CHECK_EQ(sigismember(&now, SIGUSR1), 0);
  sigemptyset(&set);
  CHECK(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
  words[5] = words[5] + 1;
}

static void resets(void) {
  struct sigaction action = {.sa_handler = once, .sa_flags = SA_RESETHAND | SA_NODEFER}, now;
  const int signals[] = {SIGUSR1, SIGSEGV, SIGTRAP};
  for (int i = 0; i < 3; ++i) {
    CHECK(sigaction(signals[i], &action, NULL) == 0);
    CHECK(raise(signals[i]) == 0);
    CHECK(sigaction(signals[i], NULL, &now) == 0);
    CHECK(now.sa_handler == SIG_DFL);
  }
}

int main(void) {
  words = map_shared(2 * kPage);
  stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
  CHECK(sigaltstack(&stack, NULL) == 0);
  struct sigaction action = {.sa_sigaction = on_alarm,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  with_alarms(plain);
  with_alarms(steps);
  with_alarms(waits);
  with_alarms(resets);
  CHECK_EQ(words[1], alarms);
  CHECK(sigaltstack(NULL, &stack) == 0);
  CHECK_EQ(stack.ss_size, 65536);
  say("%d %d %d %d\n", (int)words[2], (int)words[3], (int)words[4], (int)words[5]);
}
