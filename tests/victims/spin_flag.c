// Processes that hand work to each other by spinning on flags, with plain and with atomic accesses.
#include "victim.h"

enum { kTurns = 300 };

struct Shared {
  volatile int turn;
  volatile uint64_t value;
  char apart[128];
  int flag;
  uint64_t payload[8];
};

static struct Shared* shared;

static void pause_or_yield(int* spins) {
  if (++*spins % 64 == 0)
    sched_yield();
  else
    __builtin_ia32_pause();
}

static void play(int me) {
  for (int i = me; i < kTurns; i += 2) {
    int spins = 0;
    while (shared->turn != i) pause_or_yield(&spins);
    shared->value = shared->value * 31 + i;
    shared->turn = i + 1;
  }
}

static void consume(void* unused) {
  (void)unused;
  play(1);
  uint64_t sum = 0;
  for (int i = 1; i <= 100; ++i) {
    int spins = 0;
    while (__atomic_load_n(&shared->flag, __ATOMIC_ACQUIRE) != i) pause_or_yield(&spins);
    for (int j = 0; j < 8; ++j) CHECK_EQ(shared->payload[j], i * 8 + j);
    sum += shared->payload[0];
    __atomic_store_n(&shared->flag, -i, __ATOMIC_RELEASE);
  }
  CHECK_EQ(sum, 8 * 5050);
}

int main(void) {
  shared = map_shared(sizeof(*shared));
  pid_t pid = child(consume, NULL);
  play(0);
  for (int i = 1; i <= 100; ++i) {
    int spins = 0;
    for (int j = 0; j < 8; ++j) shared->payload[j] = i * 8 + j;
    __atomic_store_n(&shared->flag, i, __ATOMIC_RELEASE);
    while (__atomic_load_n(&shared->flag, __ATOMIC_ACQUIRE) != -i) pause_or_yield(&spins);
  }
  wait_ok(pid);
  uint64_t expected = 0;
  for (int i = 0; i < kTurns; ++i) expected = expected * 31 + i;
  CHECK_EQ(shared->value, expected);
  say("spin_flag %016llx\n", (unsigned long long)expected);
}
