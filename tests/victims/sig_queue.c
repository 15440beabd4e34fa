// Queued signals with values, signalfd, realtime order, between processes with shared memory.
#include <poll.h>
#include <sys/signalfd.h>

#include "victim.h"

struct Shared {
  volatile int ready, sum, count;
  struct signalfd_siginfo infos[8];
  siginfo_t info;
};

static struct Shared* s;
static int order[16], received;

static void on_value(int signal, siginfo_t* info, void* context) {
  (void)context;
  CHECK_EQ(info->si_code, SI_QUEUE);
  order[received++] = signal * 100 + info->si_value.sival_int;
  s->sum = s->sum + info->si_value.sival_int;
  s->count = s->count + 1;
}

static void send_all(void* parent) {
  pid_t pid = (pid_t)(long)parent;
  for (int i = 1; i <= 4; ++i) {
    CHECK(sigqueue(pid, SIGRTMIN + 2, (union sigval){.sival_int = i}) == 0);
    CHECK(sigqueue(pid, SIGRTMIN + 1, (union sigval){.sival_int = i * 10}) == 0);
  }
}

int main(void) {
  s = map_shared(sizeof(*s));
  struct sigaction action = {.sa_sigaction = on_value, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGRTMIN + 1, &action, NULL) == 0);
  CHECK(sigaction(SIGRTMIN + 2, &action, NULL) == 0);
  sigset_t mask, empty;
  sigemptyset(&empty);
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + 1);
  sigaddset(&mask, SIGRTMIN + 2);
  CHECK(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
  wait_ok(child(send_all, (void*)(long)getpid()));
  CHECK_EQ(s->count, 0);
  CHECK(sigprocmask(SIG_UNBLOCK, &mask, NULL) == 0);
  CHECK_EQ(s->count, 8);
  CHECK_EQ(s->sum, 110);
  for (int i = 0; i < received; ++i) say("%d ", order[i] - (SIGRTMIN + 1) * 100);
  say("\n");
  // signalfd, its records read into shared memory.
  CHECK(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
  int fd = signalfd(-1, &mask, SFD_NONBLOCK);
  CHECK(fd >= 0);
  wait_ok(child(send_all, (void*)(long)getpid()));
  struct pollfd poll_it = {fd, POLLIN, 0};
  CHECK_EQ(poll(&poll_it, 1, 1000), 1);
  CHECK_EQ(read(fd, s->infos, sizeof(s->infos)), sizeof(s->infos));
  for (int i = 0; i < 8; ++i) say("%d ", (int)s->infos[i].ssi_int);
  say("\n");
  CHECK_ERRNO(read(fd, s->infos, sizeof(s->infos)), EAGAIN);
  CHECK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 7}) == 0);
  CHECK_EQ(sigwaitinfo(&mask, &s->info), SIGRTMIN + 1);
  CHECK_EQ(s->info.si_value.sival_int, 7);
  CHECK_EQ(s->info.si_pid, getpid());
}
