// Process-shared POSIX semaphores, unnamed and named, and SysV semaphores around shared memory.
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "victim.h"

enum { kRounds = 60 };

struct Shared {
  sem_t ping, pong;
  volatile int counter, turns;
};

static struct Shared* shared;
static char name[64];
static int sysv;

static void change_sysv(int delta) {
  struct sembuf operation = {0, delta, 0};
  while (semop(sysv, &operation, 1) != 0) CHECK_EQ(errno, EINTR);
}

static void other(void* unused) {
  (void)unused;
  sem_t* named = sem_open(name, 0);
  CHECK(named != SEM_FAILED);
  for (int i = 0; i < kRounds; ++i) {
    CHECK(sem_wait(&shared->ping) == 0);
    CHECK_EQ(shared->turns, 2 * i + 1);
    shared->turns = shared->turns + 1;
    CHECK(sem_post(&shared->pong) == 0);
    CHECK(sem_wait(named) == 0);
    shared->counter = shared->counter + 1;
    CHECK(sem_post(named) == 0);
    change_sysv(-1);
    shared->counter = shared->counter + 1;
    change_sysv(1);
  }
  CHECK(sem_close(named) == 0);
}

int main(void) {
  shared = map_shared(sizeof(*shared));
  CHECK(sem_init(&shared->ping, 1, 0) == 0 && sem_init(&shared->pong, 1, 0) == 0);
  snprintf(name, sizeof(name), "/shmrec-victim-sem-%d", getpid());
  sem_t* named = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
  CHECK(named != SEM_FAILED);
  sysv = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
  CHECK(sysv >= 0);
  change_sysv(1);
  pid_t pid = child(other, NULL);
  for (int i = 0; i < kRounds; ++i) {
    shared->turns = shared->turns + 1;
    CHECK(sem_post(&shared->ping) == 0);
    CHECK(sem_wait(&shared->pong) == 0);
  }
  wait_ok(pid);
  CHECK_EQ(shared->turns, 2 * kRounds);
  CHECK_EQ(shared->counter, 2 * kRounds);
  CHECK_ERRNO(sem_trywait(&shared->ping), EAGAIN);
  struct timespec past;
  clock_gettime(CLOCK_REALTIME, &past);
  past.tv_nsec = (past.tv_nsec + 3000000) % 1000000000;
  if (past.tv_nsec < 3000000) past.tv_sec++;
  CHECK_ERRNO(sem_timedwait(&shared->pong, &past), ETIMEDOUT);
  int value;
  CHECK(sem_getvalue(named, &value) == 0);
  CHECK_EQ(value, 1);
  CHECK(sem_unlink(name) == 0);
  CHECK(sem_open(name, 0) == SEM_FAILED);
  CHECK_EQ(errno, ENOENT);
  CHECK(semctl(sysv, 0, IPC_RMID) == 0);
  CHECK(sem_close(named) == 0);
  say("semaphores %d\n", shared->counter);
}
