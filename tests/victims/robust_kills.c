// A robust mutex outlives its owners: workers that take it in a loop are killed at random moments,
// also between taking it and knowing that they have it. The mutex never stays locked and never has
// two owners.
#include <pthread.h>

#include "victim.h"

enum { kWorkers = 3, kKills = 150, kPatienceMs = 10000 };

struct Shared {
  pthread_mutex_t mutex;
  volatile long rounds;
  volatile pid_t owner;
};

static struct Shared* s;

static void work(void* unused) {
  (void)unused;
  for (;;) {
    int result = pthread_mutex_lock(&s->mutex);
    if (result == EOWNERDEAD) {
      s->owner = 0;
      CHECK(pthread_mutex_consistent(&s->mutex) == 0);
    } else {
      CHECK_EQ(result, 0);
    }
    CHECK_EQ(s->owner, 0);
    s->owner = getpid();
    s->rounds++;
    CHECK_EQ(s->owner, getpid());
    s->owner = 0;
    CHECK(pthread_mutex_unlock(&s->mutex) == 0);
  }
}

// The others, or a newcomer, must get on.
static void await_progress(int kill_number) {
  long before = s->rounds;
  for (int ms = 0; s->rounds == before; ++ms) {
    if (ms == kPatienceMs)
      fail(__FILE__, __LINE__, "stuck after kill %d: %#x", kill_number, *(int*)&s->mutex);
    usleep(1000);
  }
}

int main(void) {
  s = map_shared(sizeof(*s));
  pthread_mutexattr_t attributes;
  CHECK(pthread_mutexattr_init(&attributes) == 0);
  CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
  CHECK(pthread_mutex_init(&s->mutex, &attributes) == 0);
  pid_t workers[kWorkers];
  for (int i = 0; i < kWorkers; ++i) workers[i] = child(work, NULL);
  unsigned random = 12345;
  for (int i = 0; i < kKills; ++i) {
    random = random * 1103515245 + 12345;
    usleep(1000 + random / 65536 % 4000);
    pid_t* victim = &workers[random / 1024 % kWorkers];
    int status;
    CHECK(kill(*victim, SIGKILL) == 0 && waitpid(*victim, &status, 0) == *victim);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    *victim = child(work, NULL);
    await_progress(i);
  }
  for (int i = 0; i < kWorkers; ++i)
    CHECK(kill(workers[i], SIGKILL) == 0 && waitpid(workers[i], NULL, 0) > 0);
  say("robust_kills %d\n", kKills);
}
