// Threads that are sent a signal from their first moment on, of the kind that a recorder may need
// for itself.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

enum { kThreads = 400, kSignals = 20 };

static _Atomic int seen;

static void handler(int signal) {
  CHECK_EQ(signal, SIGSYS);
  ++seen;
}

static void* begin(void* argument) {
  _Atomic int* over = argument;
  while (!*over) __builtin_ia32_pause();
  return argument;
}

int main(void) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGSYS, &action, NULL) == 0);
  for (int i = 0; i < kThreads; ++i) {
    static _Atomic int over;
    void* result;
    pthread_t thread;
    over = 0;
    CHECK(pthread_create(&thread, NULL, begin, (void*)&over) == 0);
    for (int sent = 0; sent < kSignals; ++sent) {
      const union sigval value = {.sival_int = i};
      CHECK(pthread_sigqueue(thread, SIGSYS, value) == 0);
      for (int pause = 0; pause < 50 * sent; ++pause) __builtin_ia32_pause();
    }
    over = 1;
    CHECK(pthread_join(thread, &result) == 0 && result == &over);
  }
  CHECK(seen >= kThreads);
  say("all threads ended\n");
}
