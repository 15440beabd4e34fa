// Every call is made once, however many signals of the kind that the kernel forgets while one of
// them is pending are sent to the thread that makes it.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

enum { kRounds = 1500 };

static _Atomic int seen, over;

static void handler(int signal) {
  CHECK_EQ(signal, SIGSYS);
  ++seen;
}

static void* make_calls(void* argument) {
  const pid_t parent = getppid();
  char byte = 1;
  int* ends = argument;
  while (!over) {
    CHECK_EQ(getppid(), parent);
    CHECK_EQ(write(ends[1], &byte, 1), 1);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
  }
  return NULL;
}

int main(void) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGSYS, &action, NULL) == 0);
  int ends[2];
  CHECK(pipe2(ends, O_NONBLOCK) == 0);  // a call that is left out would make the read fail
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, make_calls, ends) == 0);
  for (int i = 0; i < kRounds; ++i) {
    const int before = seen;
    const union sigval value = {.sival_int = i};
    CHECK(pthread_sigqueue(thread, SIGSYS, value) == 0);
    for (int tries = 0; tries < 5000 && seen == before; ++tries) __builtin_ia32_pause();
  }
  over = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(seen > 0);
  say("all calls were made\n");
}
