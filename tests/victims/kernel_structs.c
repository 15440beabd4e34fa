// System calls whose structures lie in shared memory: files, times, limits, events, children,
// signals.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/utsname.h>

#include "victim.h"

struct Shared {
  char path[4096], target[4096];
  struct stat stat;
  struct statx statx;
  struct statfs statfs;
  struct timespec time, rest, times[2];
  struct timeval timeval;
  struct itimerval timer, old_timer;
  struct itimerspec spec;
  struct rlimit limit;
  struct rusage usage;
  struct sysinfo info;
  struct utsname name;
  struct tms tms;
  struct pollfd polls[3];
  struct epoll_event event, events[4];
  fd_set reads, writes;
  sigset_t mask, old_mask;
  struct sigaction action, old_action;
  siginfo_t siginfo;
  stack_t stack;
  struct flock lock;
  int status, count;
  gid_t groups[64];
  uid_t ids[3];
  struct winsize size;
  char entries[4096];
  cpu_set_t cpus;
  uint64_t word;
};

static struct Shared* s;

static void files(void) {
  int fd = make_file("data", 12345);
  CHECK(fstat(fd, &s->stat) == 0);
  CHECK_EQ(s->stat.st_size, 12345);
  strcpy(s->path, "data");
  memset(&s->stat, 0, sizeof(s->stat));
  CHECK(stat(s->path, &s->stat) == 0);
  CHECK_EQ(s->stat.st_size, 12345);
  CHECK(statx(AT_FDCWD, s->path, 0, STATX_ALL, &s->statx) == 0);
  CHECK_EQ(s->statx.stx_size, 12345);
  CHECK_EQ(s->statx.stx_ino, s->stat.st_ino);
  CHECK(statfs(s->path, &s->statfs) == 0);
  CHECK(s->statfs.f_bsize > 0);
  CHECK(symlink("data", "link") == 0);
  strcpy(s->path, "link");
  CHECK_EQ(readlink(s->path, s->target, sizeof(s->target)), 4);
  CHECK(memcmp(s->target, "data", 4) == 0);
  CHECK(getcwd(s->target, sizeof(s->target)) == s->target);
  CHECK(s->target[0] == '/');
  s->times[0] = (struct timespec){1000, 500};
  s->times[1] = (struct timespec){2000, 600};
  CHECK(futimens(fd, s->times) == 0);
  CHECK(fstat(fd, &s->stat) == 0);
  CHECK_EQ(s->stat.st_mtim.tv_sec, 2000);
  CHECK_EQ(s->stat.st_atim.tv_nsec, 500);
  s->lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
  CHECK(fcntl(fd, F_SETLK, &s->lock) == 0);
  CHECK(fcntl(fd, F_GETLK, &s->lock) == 0);
  CHECK_EQ(s->lock.l_type, F_UNLCK);
  mkdir("directory", 0700);
  close(open("directory/one", O_CREAT | O_WRONLY, 0600));
  int directory = open("directory", O_RDONLY);
  long bytes = syscall(SYS_getdents64, directory, s->entries, sizeof(s->entries));
  CHECK(bytes > 0);
  int found = 0;
  for (long at = 0; at < bytes; at += *(unsigned short*)(s->entries + at + 16))
    found += strcmp(s->entries + at + 19, "one") == 0;
  CHECK_EQ(found, 1);
}

static void times_and_limits(void) {
  CHECK(clock_gettime(CLOCK_REALTIME, &s->time) == 0);
  CHECK(s->time.tv_sec > 1600000000);
  CHECK(gettimeofday(&s->timeval, NULL) == 0);
  CHECK(llabs(s->timeval.tv_sec - s->time.tv_sec) < 10);
  CHECK(clock_getres(CLOCK_MONOTONIC, &s->time) == 0);
  CHECK_EQ(s->time.tv_sec, 0);
  CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &s->time) == 0);
  CHECK(time((time_t*)&s->word) > 1600000000 && s->word > 1600000000);
  s->time = (struct timespec){0, 1000000};
  CHECK(nanosleep(&s->time, &s->rest) == 0);
  CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &s->time, &s->rest) == 0);
  CHECK(times(&s->tms) != -1);
  s->limit = (struct rlimit){50, 100};
  CHECK(setrlimit(RLIMIT_NICE, &s->limit) == 0 || errno == EPERM);
  CHECK(getrlimit(RLIMIT_NOFILE, &s->limit) == 0);
  CHECK(s->limit.rlim_cur > 2);
  CHECK(getrusage(RUSAGE_SELF, &s->usage) == 0);
  CHECK(s->usage.ru_maxrss > 0);
  CHECK(sysinfo(&s->info) == 0 && s->info.totalram > 0);
  CHECK(uname(&s->name) == 0 && strcmp(s->name.sysname, "Linux") == 0);
  CHECK(getgroups(64, s->groups) >= 0);
  CHECK(getresuid(&s->ids[0], &s->ids[1], &s->ids[2]) == 0);
  CHECK_EQ(s->ids[0], getuid());
  CHECK(sched_getaffinity(0, sizeof(s->cpus), &s->cpus) == 0);
  CHECK(CPU_COUNT(&s->cpus) > 0);
}

static void events(void) {
  int fd = eventfd(3, 0);
  s->polls[0] = (struct pollfd){fd, POLLIN, 0};
  s->polls[1] = (struct pollfd){-1, POLLIN, 9};
  CHECK_EQ(poll(s->polls, 2, 1000), 1);
  CHECK_EQ(s->polls[0].revents, POLLIN);
  CHECK_EQ(s->polls[1].revents, 0);
  s->time = (struct timespec){1, 0};
  CHECK_EQ(ppoll(s->polls, 2, &s->time, &s->mask), 1);
  FD_ZERO(&s->reads);
  FD_SET(fd, &s->reads);
  FD_ZERO(&s->writes);
  s->timeval = (struct timeval){1, 0};
  CHECK_EQ(select(fd + 1, &s->reads, &s->writes, NULL, &s->timeval), 1);
  CHECK(FD_ISSET(fd, &s->reads));
  s->time = (struct timespec){0, 1000};
  CHECK_EQ(pselect(fd + 1, &s->reads, NULL, NULL, &s->time, &s->mask), 1);
  int poller = epoll_create1(0);
  s->event.events = EPOLLIN;
  s->event.data.u64 = 0x1234567890;
  CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &s->event) == 0);
  CHECK_EQ(epoll_wait(poller, s->events, 4, 1000), 1);
  CHECK_EQ(s->events[0].data.u64, 0x1234567890);
  memset(s->events, 0, sizeof(s->events));
  CHECK_EQ(epoll_pwait(poller, s->events, 4, 1000, &s->mask), 1);
  CHECK_EQ(s->events[0].events, EPOLLIN);
  CHECK_EQ(read(fd, &s->word, 8), 8);
  CHECK_EQ(s->word, 3);
  s->word = 7;
  CHECK_EQ(write(fd, &s->word, 8), 8);
  CHECK_EQ(poll(s->polls, 1, 0), 1);
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  s->spec = (struct itimerspec){{0, 0}, {0, 1000000}};
  CHECK(timerfd_settime(timer, 0, &s->spec, NULL) == 0);
  CHECK_EQ(read(timer, &s->word, 8), 8);
  CHECK_EQ(s->word, 1);
  CHECK(timerfd_gettime(timer, &s->spec) == 0);
  CHECK_EQ(s->spec.it_value.tv_nsec, 0);
  s->timer = (struct itimerval){{0, 0}, {100, 0}};
  CHECK(setitimer(ITIMER_REAL, &s->timer, &s->old_timer) == 0);
  CHECK(getitimer(ITIMER_REAL, &s->old_timer) == 0);
  CHECK(s->old_timer.it_value.tv_sec >= 99);
  s->timer.it_value.tv_sec = 0;
  CHECK(setitimer(ITIMER_REAL, &s->timer, &s->old_timer) == 0);
  CHECK_ERRNO(ioctl(fd, TIOCGWINSZ, &s->size), ENOTTY);
}

static void exit_with(void* status) { _exit((int)(long)status); }

static volatile sig_atomic_t handled;
static void on_signal(int signal) { handled = signal; }

static void children_and_signals(void) {
  pid_t pid = child(exit_with, (void*)5l);
  CHECK_EQ(wait4(pid, &s->status, 0, &s->usage), pid);
  CHECK_EQ(WEXITSTATUS(s->status), 5);
  pid = child(exit_with, (void*)6l);
  CHECK(waitid(P_PID, pid, &s->siginfo, WEXITED) == 0);
  CHECK_EQ(s->siginfo.si_status, 6);
  CHECK_EQ(s->siginfo.si_pid, pid);
  s->action.sa_handler = on_signal;
  CHECK(sigaction(SIGUSR1, &s->action, &s->old_action) == 0);
  CHECK(s->old_action.sa_handler == SIG_DFL);
  CHECK(sigaction(SIGUSR1, NULL, &s->old_action) == 0);
  CHECK(s->old_action.sa_handler == on_signal);
  sigemptyset(&s->mask);
  sigaddset(&s->mask, SIGUSR1);
  CHECK(sigprocmask(SIG_BLOCK, &s->mask, &s->old_mask) == 0);
  CHECK(!sigismember(&s->old_mask, SIGUSR1));
  CHECK(kill(getpid(), SIGUSR1) == 0);
  CHECK(sigpending(&s->old_mask) == 0);
  CHECK(sigismember(&s->old_mask, SIGUSR1));
  s->time = (struct timespec){1, 0};
  CHECK_EQ(sigtimedwait(&s->mask, &s->siginfo, &s->time), SIGUSR1);
  CHECK_EQ(s->siginfo.si_pid, getpid());
  CHECK(kill(getpid(), SIGUSR1) == 0);
  CHECK_EQ(sigwait(&s->mask, &s->status), 0);
  CHECK_EQ(s->status, SIGUSR1);
  CHECK(kill(getpid(), SIGUSR1) == 0);
  sigemptyset(&s->mask);
  CHECK_ERRNO(sigsuspend(&s->mask), EINTR);
  CHECK_EQ(handled, SIGUSR1);
  CHECK(sigaltstack(NULL, &s->stack) == 0);
  s->stack = (stack_t){.ss_sp = malloc(65536), .ss_size = 65536};
  CHECK(sigaltstack(&s->stack, NULL) == 0);
  CHECK(sigaltstack(NULL, &s->stack) == 0);
  CHECK_EQ(s->stack.ss_size, 65536);
}

int main(void) {
  s = map_shared(sizeof(*s));
  files();
  times_and_limits();
  events();
  children_and_signals();
  say("kernel_structs\n");
}
