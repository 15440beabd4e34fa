// Signals that are ignored by default come while a thread touches shared memory, and their handlers
// are taken away before they are delivered: nothing happens, and the process goes on being
// recorded. Prints how many accesses it made; e2e/counted.py finds them in the log.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

enum { kStores = 60000 };

static volatile uint32_t* words;
static _Atomic int over;

static void handler(int signal) { (void)signal; }

static void* store(void* unused) {
  for (uint32_t i = 0; i < kStores; ++i) words[i % 64] = i;
  over = 1;
  return unused;
}

int main(void) {
  static const int kSignals[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
  words = map_shared(kPage);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, store, NULL) == 0);
  for (unsigned i = 0; !over; ++i) {
    const int sent = kSignals[i % 4];
    CHECK(signal(sent, handler) != SIG_ERR);
    pthread_kill(thread, sent);
    CHECK(signal(sent, SIG_DFL) != SIG_ERR);
  }
  CHECK(pthread_join(thread, NULL) == 0);
  say("%d accesses\n", kStores);
}
