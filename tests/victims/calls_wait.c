// Threads that wait, each in another system call, until a line comes on standard input; then what
// they wait for comes, and each says what its call returned. A stop of the process in between
// changes nothing, not even for calls that signal(7) lists as failing with EINTR after one.
//
// usage: calls_wait   (prints "waiting", reads a line)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kEvent, kPipe, kSockets, kTimed, kListener, kKinds };
static int fds[kKinds][2];
static int semaphores, messages;
static sem_t* posted;
static volatile sig_atomic_t handled;

static void on_signal(int signal) { handled = signal; }

static long by_epoll(void) {
  struct epoll_event event = {.events = EPOLLIN};
  const int epoll = epoll_create1(0);
  epoll_ctl(epoll, EPOLL_CTL_ADD, fds[kEvent][0], &event);
  return epoll_wait(epoll, &event, 1, -1);
}
static long by_epoll_with_limit(void) {
  struct epoll_event event = {.events = EPOLLIN};
  const int epoll = epoll_create1(0);
  epoll_ctl(epoll, EPOLL_CTL_ADD, fds[kEvent][0], &event);
  return epoll_pwait(epoll, &event, 1, 100000, NULL);
}
static long by_poll(void) { return poll(&(struct pollfd){fds[kEvent][0], POLLIN, 0}, 1, 100000); }
static long by_read(void) {
  char byte;
  return read(fds[kPipe][0], &byte, 1);
}
static long by_recv(void) {
  char byte;
  return recv(fds[kSockets][0], &byte, 1, 0);
}
static long by_recv_with_limit(void) {
  char byte;
  const struct timeval limit = {100, 0};
  setsockopt(fds[kTimed][0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return recv(fds[kTimed][0], &byte, 1, 0);
}
static long by_accept_with_limit(void) {
  const struct timeval limit = {100, 0};
  setsockopt(fds[kListener][0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return accept(fds[kListener][0], NULL, NULL) >= 0;
}
static long by_semop(void) { return semop(semaphores, &(struct sembuf){0, -1, 0}, 1); }
static long by_semtimedop(void) {
  return semtimedop(semaphores, &(struct sembuf){0, -1, 0}, 1, &(struct timespec){100, 0});
}
static long by_msgrcv(void) {
  struct {
    long type;
    char text[8];
  } message;
  return msgrcv(messages, &message, sizeof message.text, 0, 0);
}
static long by_sigwait(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  return sigtimedwait(&set, NULL, &(struct timespec){100, 0}) == SIGUSR1;
}
static long by_sem_wait(void) { return sem_wait(posted); }
static long by_nanosleep(void) { return nanosleep(&(struct timespec){1, 0}, NULL); }
// These two end by a signal, as they must.
static long by_pause(void) { return pause() == -1 && errno == EINTR && handled == SIGUSR2; }
static long by_epoll_interrupted(void) {
  struct epoll_event event;
  return epoll_wait(epoll_create1(0), &event, 1, -1) == -1 && errno == EINTR;
}

struct Way {
  const char* name;
  long (*wait)(void);
  long expected;
  pthread_t thread;
};
static struct Way ways[] = {{"epoll_wait", by_epoll, 1, 0},
                            {"epoll_pwait", by_epoll_with_limit, 1, 0},
                            {"poll", by_poll, 1, 0},
                            {"read", by_read, 1, 0},
                            {"recv", by_recv, 1, 0},
                            {"recv with a limit", by_recv_with_limit, 1, 0},
                            {"accept with a limit", by_accept_with_limit, 1, 0},
                            {"semop", by_semop, 0, 0},
                            {"semtimedop", by_semtimedop, 0, 0},
                            {"msgrcv", by_msgrcv, 1, 0},
                            {"sigtimedwait", by_sigwait, 1, 0},
                            {"sem_wait", by_sem_wait, 0, 0},
                            {"nanosleep", by_nanosleep, 0, 0},
                            {"pause", by_pause, 1, 0},
                            {"epoll_wait interrupted", by_epoll_interrupted, 1, 0}};
enum { kWays = sizeof ways / sizeof ways[0] };

static void* wait_in(void* raw) {
  const struct Way* way = raw;
  errno = 0;
  const long result = way->wait();
  return (void*)(result == way->expected ? 0L : errno ? errno : -1L);
}

static struct sockaddr_in listen_anywhere(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  fds[kListener][0] = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fds[kListener][0], (struct sockaddr*)&address, sizeof address) != 0 ||
      listen(fds[kListener][0], 1) != 0 ||
      getsockname(fds[kListener][0], (struct sockaddr*)&address, &length) != 0)
    exit(2);
  return address;
}

int main(void) {
  posted = mmap(NULL, sizeof *posted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  sem_init(posted, 1, 0);
  fds[kEvent][0] = eventfd(0, 0);
  const struct sockaddr_in address = listen_anywhere();
  semaphores = semget(IPC_PRIVATE, 1, 0600);
  messages = msgget(IPC_PRIVATE, 0600);
  if (pipe(fds[kPipe]) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds[kSockets]) != 0 ||
      socketpair(AF_UNIX, SOCK_STREAM, 0, fds[kTimed]) != 0 || semaphores < 0 || messages < 0)
    return 2;
  const struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR2, &action, NULL);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);
  for (int i = 0; i < kWays; ++i) pthread_create(&ways[i].thread, NULL, wait_in, &ways[i]);
  usleep(200000);
  puts("waiting");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 2;
  semctl(semaphores, 0, SETVAL, 2);
  msgsnd(messages, &(struct {
           long type;
           char text[1];
         }){1, "m"},
         1, 0);
  sem_post(posted);
  const uint64_t one = 1;
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  if (write(fds[kEvent][0], &one, sizeof one) < 0 || write(fds[kPipe][1], "p", 1) < 0 ||
      write(fds[kSockets][1], "s", 1) < 0 || write(fds[kTimed][1], "t", 1) < 0 ||
      connect(client, (const struct sockaddr*)&address, sizeof address) != 0)
    return 2;
  int failed = 0;
  for (int i = 0; i < kWays; ++i) {
    void* wrong;
    if (ways[i].wait == by_sigwait) pthread_kill(ways[i].thread, SIGUSR1);
    if (ways[i].wait == by_pause || ways[i].wait == by_epoll_interrupted)
      pthread_kill(ways[i].thread, SIGUSR2);
    pthread_join(ways[i].thread, &wrong);
    printf("%s: %s\n", ways[i].name, wrong ? strerror((int)(long)wrong) : "as it should");
    failed |= wrong != NULL;
  }
  semctl(semaphores, 0, IPC_RMID);
  msgctl(messages, IPC_RMID, NULL);
  return failed;
}
