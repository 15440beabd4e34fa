// Three processes that hang: two take two process-shared mutexes in opposite order, the third waits
// for one of them, and says so to whoever asks for its health.
//
// The mutexes are robust: when one of the two is killed, the others go on, and the program ends
// with a line and status 0.
//
// usage: deadlock [PORT]   (a port of 127.0.0.1 at which GET is answered 200 or 503)
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct Bank {
  pthread_mutex_t accounts, journal;
  pthread_barrier_t both_hold_one;
  int moved, audited;
};
static struct Bank* bank;

static void make_mutex(pthread_mutex_t* mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &attributes);
}

static void lock(pthread_mutex_t* mutex) {
  if (pthread_mutex_lock(mutex) == EOWNERDEAD) pthread_mutex_consistent(mutex);
}

static void transfer(void) {
  lock(&bank->accounts);
  pthread_barrier_wait(&bank->both_hold_one);
  lock(&bank->journal);
  ++bank->moved;
  pthread_mutex_unlock(&bank->journal);
  pthread_mutex_unlock(&bank->accounts);
}

static void audit(void) {
  lock(&bank->journal);
  pthread_barrier_wait(&bank->both_hold_one);
  lock(&bank->accounts);
  ++bank->audited;
  pthread_mutex_unlock(&bank->accounts);
  pthread_mutex_unlock(&bank->journal);
}

static pid_t start(const char* name, void (*work)(void)) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_NAME, name);
  work();
  _exit(0);
}

static int is_healthy(void) {
  struct timespec soon;
  clock_gettime(CLOCK_REALTIME, &soon);
  soon.tv_nsec += 50000000;
  if (soon.tv_nsec >= 1000000000) soon.tv_nsec -= 1000000000, ++soon.tv_sec;
  const int locked = pthread_mutex_timedlock(&bank->accounts, &soon);
  if (locked == EOWNERDEAD) pthread_mutex_consistent(&bank->accounts);
  if (locked == 0 || locked == EOWNERDEAD) pthread_mutex_unlock(&bank->accounts);
  return locked != ETIMEDOUT;
}

static void* serve_health(void* listener) {
  for (int client; (client = accept(*(int*)listener, NULL, NULL)) >= 0; close(client)) {
    char request[4096], reply[128];
    if (read(client, request, sizeof request) <= 0) continue;
    snprintf(reply, sizeof reply, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
             is_healthy() ? "200 OK" : "503 Service Unavailable");
    if (write(client, reply, strlen(reply)) < 0) continue;
  }
  return NULL;
}

static void listen_at(int port) {
  static int listener;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int yes = 1;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 8) != 0)
    exit(2);
  pthread_t thread;
  pthread_create(&thread, NULL, serve_health, &listener);
}

int main(int argc, char** argv) {
  bank = mmap(NULL, sizeof *bank, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  make_mutex(&bank->accounts);
  make_mutex(&bank->journal);
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&bank->both_hold_one, &attributes, 3);
  const pid_t first = start("transfer", transfer), second = start("audit", audit);
  printf("transfer %d audit %d\n", first, second);
  fflush(stdout);
  pthread_barrier_wait(&bank->both_hold_one);
  if (argc > 1) listen_at(atoi(argv[1]));
  lock(&bank->accounts);
  const int moved = bank->moved, audited = bank->audited;
  pthread_mutex_unlock(&bank->accounts);
  waitpid(first, NULL, 0);
  waitpid(second, NULL, 0);
  printf("moved %d audited %d\n", moved, audited);
  return 0;
}
