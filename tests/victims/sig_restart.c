// Blocking calls interrupted by a handler: which start again with SA_RESTART, which give EINTR;
// their arguments lie in shared memory.
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>

#include "victim.h"

struct Shared {
  char buffer[64];
  struct timespec time, rest;
  struct pollfd poll;
  int word;
  sem_t semaphore;
  sigset_t mask;
};

static struct Shared* s;
static volatile int handled;
static int pipes[2];

// Ends what SA_RESTART starts again: the second signal makes it complete.
static void on_alarm(int signal) {
  (void)signal;
  if (++handled < 3) return;
  s->word = 1;
  syscall(SYS_futex, &s->word, FUTEX_WAKE, 10, NULL, NULL, 0);
  CHECK_EQ(write(pipes[1], "x", 1), 1);
}

static void arm(int restart) {
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = restart ? SA_RESTART : 0};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  handled = 0;
  s->word = 0;
  struct itimerval timer = {{0, 4000}, {0, 4000}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static void disarm(void) {
  struct itimerval none = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
}

static long do_read(void) { return read(pipes[0], s->buffer, 1); }
static long do_sleep(void) {
  s->time = (struct timespec){10, 0};
  s->rest.tv_sec = 99;
  long result = nanosleep(&s->time, &s->rest);
  CHECK_EQ(s->rest.tv_sec, 9);
  return result;
}
static long do_futex(void) { return syscall(SYS_futex, &s->word, FUTEX_WAIT, 0, NULL, NULL, 0); }
static long do_futex_timeout(void) {
  s->time = (struct timespec){10, 0};
  return syscall(SYS_futex, &s->word, FUTEX_WAIT, 0, &s->time, NULL, 0);
}
static long do_poll(void) {
  s->poll = (struct pollfd){pipes[0], POLLIN, 0};
  return poll(&s->poll, 1, 10000);
}
static long do_ppoll(void) {
  s->poll = (struct pollfd){pipes[0], POLLIN, 0};
  s->time = (struct timespec){10, 0};
  sigemptyset(&s->mask);
  return ppoll(&s->poll, 1, &s->time, &s->mask);
}
static long do_sigsuspend(void) {
  sigemptyset(&s->mask);
  return sigsuspend(&s->mask);
}
static long do_pause(void) { return pause(); }
static long do_wait(void) { return waitpid(-1, &s->word, 0); }
static long do_sem(void) { return sem_wait(&s->semaphore); }
static long do_epoll(void) {
  static int poller = -1;
  if (poller < 0) {
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, pipes[0], &event) == 0);
  }
  return epoll_wait(poller, (struct epoll_event*)s->buffer, 1, 10000);
}

static void run(const char* name, long (*call)(void), int restart) {
  arm(restart);
  errno = 0;
  long result = call();
  int error = errno;
  disarm();
  say("%s%s: %ld %s\n", name, restart ? " with SA_RESTART" : "", result,
      result < 0 ? strerrorname_np(error) : "");
  char byte;
  while (handled >= 3 && read(pipes[0], &byte, 1) == 1) {
  }
}

int main(void) {
  s = map_shared(sizeof(*s));
  CHECK(sem_init(&s->semaphore, 1, 0) == 0);
  CHECK(pipe(pipes) == 0);
  struct {
    const char* name;
    long (*call)(void);
    int can_restart;
  } calls[] = {{"read", do_read, 1},
               {"nanosleep", do_sleep, 0},
               {"futex", do_futex, 1},
               {"futex with timeout", do_futex_timeout, 0},
               {"poll", do_poll, 0},
               {"ppoll", do_ppoll, 0},
               {"sigsuspend", do_sigsuspend, 0},
               {"pause", do_pause, 0},
               {"sem_wait", do_sem, 1},
               {"epoll_wait", do_epoll, 0}};
  for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); ++i) {
    run(calls[i].name, calls[i].call, 0);
    if (!calls[i].can_restart) run(calls[i].name, calls[i].call, 1);
  }
  // Those that start again complete when the third signal ends what they wait for.
  fcntl(pipes[0], F_SETFL, 0);
  arm(1);
  CHECK_EQ(do_read(), 1);
  CHECK(handled >= 3);
  CHECK_EQ(s->buffer[0], 'x');
  arm(1);
  CHECK_ERRNO(do_futex(), EAGAIN);  // starts again after the handler has changed the word
  CHECK_EQ(handled >= 3, 1);
  disarm();
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  arm(0);
  CHECK_ERRNO(do_wait(), EINTR);
  disarm();
  CHECK(kill(pid, SIGKILL) == 0);
  wait_status(pid);
}
