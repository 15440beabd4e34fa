// SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS as plain signals that somebody sends:
// blocked, pending, waited for, ignored, queued, passed to a thread, in the middle of calls that
// wait.
#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <ucontext.h>

#include "victim.h"

static const int kSignals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
enum { kCount = 6 };

static volatile int* words;
static char order[256];

static void on_signal(int signal, siginfo_t* info, void* context) {
  words[signal]++;
  char text[48];
  sigset_t now;
  CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
  CHECK_EQ(sigismember(&now, signal), 1);
  int value = info->si_code == SI_QUEUE ? info->si_value.sival_int : 0;
  snprintf(text, sizeof(text), "%d:%d:%d:%d ", signal, info->si_code, value,
           sigismember(&((ucontext_t*)context)->uc_sigmask, signal));
  strcat(order, text);
}

static void show(const char* when) {
  say("%s: %s\n", when, order);
  order[0] = 0;
}

static void say_set(const char* name, const sigset_t* set) {
  say("%s", name);
  for (int signal = 1; signal <= 64; ++signal)
    if (sigismember(set, signal) == 1) say(" %d", signal);
  say("\n");
}

static void handlers(void* handler) {
  for (int i = 0; i < kCount; ++i) {
    struct sigaction action = {.sa_sigaction = (void (*)(int, siginfo_t*, void*))handler,
                               .sa_flags = SA_SIGINFO};
    if (handler == (void*)SIG_IGN || handler == (void*)SIG_DFL) action.sa_flags = 0;
    CHECK(sigaction(kSignals[i], &action, NULL) == 0);
  }
}

static sigset_t all_six(void) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < kCount; ++i) sigaddset(&set, kSignals[i]);
  return set;
}

static void sent_at_once(void) {
  for (int i = 0; i < kCount; ++i) {
    CHECK(kill(getpid(), kSignals[i]) == 0);
    CHECK(raise(kSignals[i]) == 0);
    CHECK(sigqueue(getpid(), kSignals[i], (union sigval){.sival_int = 100 + i}) == 0);
  }
  show("sent");
}

static void blocked(void) {
  sigset_t six = all_six(), pending, old;
  CHECK(sigprocmask(SIG_BLOCK, &six, &old) == 0);
  for (int i = 0; i < kCount; ++i) {
    CHECK(sigqueue(getpid(), kSignals[i], (union sigval){.sival_int = i}) == 0);
    CHECK(sigqueue(getpid(), kSignals[i], (union sigval){.sival_int = 50}) == 0);  // does not queue
  }
  words[0]++;
  CHECK(sigpending(&pending) == 0);
  say_set("pending", &pending);
  show("while blocked");
  CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
  show("unblocked");
  CHECK(sigpending(&pending) == 0);
  say_set("pending", &pending);
}

static void waited_for(void) {
  sigset_t six = all_six(), old, set;
  siginfo_t* info = (siginfo_t*)(words + 512);
  CHECK(sigprocmask(SIG_BLOCK, &six, &old) == 0);
  CHECK(sigqueue(getpid(), SIGSEGV, (union sigval){.sival_int = 7}) == 0);
  CHECK(raise(SIGFPE) == 0);
  CHECK_EQ(sigwaitinfo(&six, info), SIGFPE);
  CHECK_EQ(info->si_pid, getpid());
  CHECK_EQ(sigwaitinfo(&six, info), SIGSEGV);
  CHECK_EQ(info->si_value.sival_int, 7);
  struct timespec none = {0, 0};
  CHECK_ERRNO(sigtimedwait(&six, info, &none), EAGAIN);
  for (int i = 0; i < kCount; ++i) {
    pid_t pid = fork();
    if (pid == 0) {
      sleep_ms(20);
      sigqueue(getppid(), kSignals[i], (union sigval){.sival_int = i});
      _exit(0);
    }
    memset(info, 0, sizeof(*info));
    CHECK_EQ(sigwaitinfo(&six, i & 1 ? info : NULL), kSignals[i]);
    if (i & 1) CHECK_EQ(info->si_value.sival_int, i);
    if (i & 1) CHECK_EQ(info->si_pid, pid);
    wait_ok(pid);
  }
  show("waited for");
  // A mask that lets one in.
  CHECK(raise(SIGBUS) == 0 && raise(SIGTRAP) == 0);
  sigfillset(&set);
  sigdelset(&set, SIGBUS);
  CHECK_ERRNO(sigsuspend(&set), EINTR);
  show("suspended");
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(20);
    kill(getppid(), SIGILL);
    _exit(0);
  }
  sigdelset(&set, SIGILL);
  CHECK_ERRNO(sigsuspend(&set), EINTR);
  wait_ok(pid);
  show("suspended and sent");
  CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
  show("unblocked");
}

// Neither an ignored nor a blocked one is noticed by a call that waits.
static void unnoticed(int ignored) {
  sigset_t six = all_six(), old;
  if (ignored)
    handlers((void*)SIG_IGN);
  else
    CHECK(sigprocmask(SIG_BLOCK, &six, &old) == 0);
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    for (int i = 0; i < kCount; ++i) {
      sleep_ms(10);
      kill(getppid(), kSignals[i]);
    }
    kill(getppid(), SIGURG);
    sleep_ms(10);
    CHECK_EQ(write(pipes[1], "x", 1), 1);
    _exit(0);
  }
  struct pollfd poll_it = {pipes[0], POLLIN, 0};
  CHECK_EQ(poll(&poll_it, 1, 20000), 1);
  wait_ok(pid);
  show("not noticed");
  // Ignoring discards what is pending.
  if (!ignored) {
    signal(SIGTRAP, SIG_IGN);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
  }
  handlers(on_signal);
  show("then");
}

// EINTR, or not, as the handler's flags say.
static void restarts(int flags) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(20);
    kill(getppid(), SIGTRAP);
    sleep_ms(20);
    CHECK_EQ(write(pipes[1], "x", 1), 1);
    _exit(0);
  }
  char byte;
  errno = 0;
  long result = read(pipes[0], &byte, 1);
  say("read: %ld %d\n", result, result < 0 ? errno : 0);
  wait_ok(pid);
  show("read");
}

// A thread that takes all signals by sigwait; the others make accesses that hold all threads.
static void* taker(void* argument) {
  sigset_t all;
  sigfillset(&all);
  int signal;
  do {
    CHECK_EQ(sigwait(&all, &signal), 0);
    say("taken %d\n", signal);
    words[300] = words[300] + 1;
  } while (signal != SIGTERM);
  return argument;
}

static void all_by_one_thread(void) {
  sigset_t all, old;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
  int fd = signalfd(-1, &all, SFD_NONBLOCK);
  pthread_t thread;
  words[300] = 0;
  CHECK(pthread_create(&thread, NULL, taker, NULL) == 0);
  int expected = 0;
  for (int i = 0; i < kCount; ++i) {
    sleep_ms(5);
    __asm__ volatile("fxsave64 (%0)" : : "r"((char*)words + 2048) : "memory");
    CHECK(kill(getpid(), kSignals[i]) == 0);
    await_value(&words[300], ++expected);
  }
  CHECK(pthread_kill(thread, SIGSEGV) == 0);
  await_value(&words[300], ++expected);
  CHECK(pthread_kill(thread, SIGTERM) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  struct signalfd_siginfo info;
  CHECK_ERRNO(read(fd, &info, sizeof(info)), EAGAIN);
  close(fd);
  CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
  show("taken");
}

// Sent to the process while the first thread blocks it: another thread's.
static volatile int stop;
static void* unblocked_thread(void* argument) {
  await_value(&stop, 1);
  return argument;
}
static void by_another_thread(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, unblocked_thread, NULL) == 0);
  sigset_t six = all_six(), old;
  CHECK(pthread_sigmask(SIG_BLOCK, &six, &old) == 0);
  int before = words[SIGSEGV];
  CHECK(kill(getpid(), SIGSEGV) == 0);
  await_value(words + SIGSEGV, before + 1);
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
  show("by another");
}

// Timers that send them while shared memory is used all the time.
static void storm(void) {
  static volatile int count;
  timer_t timers[kCount];
  for (int i = 0; i < kCount; ++i) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = kSignals[i]};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timers[i]) == 0);
    words[kSignals[i]] = 0;
    order[0] = 0;
    struct itimerspec spec = {{0, 0}, {0, 300000 + i * 10000}};
    CHECK(timer_settime(timers[i], 0, &spec, NULL) == 0);
  }
  for (int all = 0; !all; ++count) {
    words[400] = words[400] + 1;
    all = 1;
    for (int i = 0; i < kCount; ++i) all &= words[kSignals[i]] == 1;
    order[0] = 0;
  }
  CHECK_EQ(words[400], count);
  for (int i = 0; i < kCount; ++i) CHECK(timer_delete(timers[i]) == 0);
}

// A child may be made to end with any signal, and a thread queues to itself what it likes: codes
// that otherwise only a fault or a system call has.
static void with_codes_of_faults(void) {
  for (int i = 0; i < kCount; ++i) {
    const int before = words[kSignals[i]];
    const pid_t child = (pid_t)syscall(SYS_clone, kSignals[i], NULL, NULL, NULL, NULL);
    if (!child) {
      if (i % 2) raise(SIGKILL);
      _exit(3);
    }
    CHECK(child > 0);
    await_value(words + kSignals[i], before + 1);
    CHECK_EQ(waitpid(child, NULL, __WALL), child);
    static const int kCodes[] = {1, 2, SI_KERNEL};
    for (int k = 0; k < 3; ++k) {
      siginfo_t info = {.si_code = kCodes[k]};
      info.si_pid = 0x1234;
      CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), kSignals[i], &info) == 0);
      words[402]++;
      CHECK_EQ(words[kSignals[i]], before + 2 + k);
    }
    sigset_t six = all_six(), old;
    CHECK(sigprocmask(SIG_BLOCK, &six, &old) == 0);
    siginfo_t info = {.si_code = 1};
    info.si_pid = 0x1234;
    CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), kSignals[i], &info) == 0);
    CHECK_EQ(words[kSignals[i]], before + 4);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK_EQ(words[kSignals[i]], before + 5);
    show("with codes of faults");
  }
}

static void killed_pending(void* signal) {
  handlers((void*)SIG_DFL);
  sigset_t six = all_six();
  CHECK(sigprocmask(SIG_BLOCK, &six, NULL) == 0);
  CHECK(kill(getpid(), (int)(long)signal) == 0);
  words[200]++;
  CHECK(sigprocmask(SIG_UNBLOCK, &six, NULL) == 0);
  words[201]++;
}

int main(void) {
  words = map_shared(2 * kPage);
  handlers(on_signal);
  sent_at_once();
  blocked();
  waited_for();
  unnoticed(1);
  unnoticed(0);
  restarts(0);
  restarts(SA_RESTART);
  all_by_one_thread();
  by_another_thread();
  with_codes_of_faults();
  for (int i = 0; i < 20; ++i) storm();
  for (int i = 0; i < kCount; ++i) {
    int status = wait_status(child(killed_pending, (void*)(long)kSignals[i]));
    say("signal %d\n", WTERMSIG(status));
  }
  say("%d %d\n", words[200], words[201]);
}
