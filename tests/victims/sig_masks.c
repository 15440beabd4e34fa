// Calls that wait with another signal mask: rt_sigsuspend, ppoll, pselect6, epoll_pwait,
// epoll_pwait2. Which handlers run, in which order, with which mask, what they see of the
// interrupted mask, and what holds afterwards; with the masks in private and in shared memory.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <ucontext.h>

#include "victim.h"

struct Shared {
  sigset_t mask;
  struct timespec time;
  struct pollfd poll;
  struct epoll_event events[2];
  volatile int handled;
  int pad[kPage / 4];
};

static struct Shared* s;
static struct Shared own;
static int pipes[2], poller;

static void print_set(const char* name, const sigset_t* set) {
  char text[512];
  int length = snprintf(text, sizeof(text), " %s{", name);
  for (int signal = 1; signal <= 64; ++signal)
    if (sigismember(set, signal) == 1)
      length += snprintf(text + length, sizeof(text) - length, " %d", signal);
  say("%s }", text);
}

static void print_mask(void) {
  sigset_t now;
  CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
  print_set("mask", &now);
}

static void on_signal(int signal, siginfo_t* info, void* context) {
  s->handled = s->handled + 1;  // a fault of the recorder, in the middle of all masks
  say("  handler %d code %d", signal, info->si_code);
  print_mask();
  print_set("saved", &((ucontext_t*)context)->uc_sigmask);
  say("\n");
}

typedef long (*Call)(struct Shared* memory);
static long call_suspend(struct Shared* m) { return sigsuspend(&m->mask); }
static long call_ppoll(struct Shared* m) {
  m->poll = (struct pollfd){pipes[0], POLLIN, 0};
  m->time = (struct timespec){20, 0};
  return ppoll(&m->poll, 1, &m->time, &m->mask);
}
static long call_pselect(struct Shared* m) {
  fd_set reads;
  FD_ZERO(&reads);
  FD_SET(pipes[0], &reads);
  m->time = (struct timespec){20, 0};
  return pselect(pipes[0] + 1, &reads, NULL, NULL, &m->time, &m->mask);
}
static long call_epoll(struct Shared* m) {
  return epoll_pwait(poller, m->events, 2, 20000, &m->mask);
}
static long call_epoll2(struct Shared* m) {
  m->time = (struct timespec){20, 0};
  return syscall(441, poller, m->events, 2, &m->time, &m->mask, 8);
}

static const struct {
  const char* name;
  Call call;
} kCalls[] = {{"sigsuspend", call_suspend},
              {"ppoll", call_ppoll},
              {"pselect6", call_pselect},
              {"epoll_pwait", call_epoll},
              {"epoll_pwait2", call_epoll2}};
enum { kCallCount = sizeof(kCalls) / sizeof(kCalls[0]) };

// Signals that are pending when the call begins, and signals sent while it waits.
static void run(int which, struct Shared* memory, int full, int by_child, int ready) {
  sigset_t block, before;
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigaddset(&block, SIGUSR2);
  sigaddset(&block, SIGHUP);
  sigaddset(&block, SIGRTMIN + 1);
  sigaddset(&block, SIGSEGV);
  CHECK(sigprocmask(SIG_SETMASK, &block, &before) == 0);
  if (full) {
    sigfillset(&memory->mask);
    sigdelset(&memory->mask, SIGUSR1);
    sigdelset(&memory->mask, SIGUSR2);
    sigdelset(&memory->mask, SIGRTMIN + 1);
  } else {
    sigemptyset(&memory->mask);
    sigaddset(&memory->mask, SIGHUP);
    sigaddset(&memory->mask, SIGWINCH);
  }
  say("%s, %s, full %d, by child %d, ready %d\n", kCalls[which].name,
      memory == s ? "shared" : "own", full, by_child, ready);
  pid_t pid = 0;
  s->handled = 0;
  if (by_child) {
    pid = fork();
    if (pid == 0) {
      sleep_ms(30);
      kill(getppid(), SIGUSR2);
      _exit(0);
    }
  } else {
    CHECK(raise(SIGRTMIN + 1) == 0 && raise(SIGUSR2) == 0 && raise(SIGHUP) == 0 &&
          raise(SIGUSR1) == 0);
  }
  char byte = 'x';
  if (ready) CHECK_EQ(write(pipes[1], &byte, 1), 1);
  errno = 0;
  long result = kCalls[which].call(memory);
  int error = errno;
  say("  result %ld errno %s handled %d", result, result < 0 ? strerrorname_np(error) : "-",
      s->handled);
  print_mask();
  say("\n");
  if (ready) CHECK_EQ(read(pipes[0], &byte, 1), 1);
  if (pid) wait_ok(pid);
  CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
  say("  in the end %d", s->handled);
  print_mask();
  say("\n");
}

int main(void) {
  s = map_shared(sizeof(*s));
  CHECK(pipe(pipes) == 0);
  poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, pipes[0], &event) == 0);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGHUP, &action, NULL) == 0);
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  sigaddset(&action.sa_mask, SIGALRM);
  sigaddset(&action.sa_mask, SIGBUS);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  action.sa_flags |= SA_NODEFER;
  CHECK(sigaction(SIGRTMIN + 1, &action, NULL) == 0);
  for (int which = 0; which < kCallCount; ++which)
    for (int how = 0; how < 4; ++how) run(which, how & 1 ? s : &own, how & 2, 0, 0);
  for (int which = 0; which < kCallCount; ++which) run(which, s, which & 1, 1, 0);
  for (int which = 1; which < kCallCount; ++which)
    run(which, &own, 1, 0, 1);  // no signal, the data
  // Wrong sets.
  sigset_t set;
  sigemptyset(&set);
  CHECK_ERRNO(syscall(SYS_rt_sigsuspend, &set, 4), EINVAL);
  CHECK_ERRNO(syscall(SYS_rt_sigsuspend, 8, 8), EFAULT);
  CHECK_ERRNO(syscall(SYS_ppoll, NULL, 0, NULL, &set, 9), EINVAL);
  CHECK_ERRNO(syscall(SYS_ppoll, NULL, 0, NULL, 8, 8), EFAULT);
  CHECK_ERRNO(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 4), EINVAL);
}
