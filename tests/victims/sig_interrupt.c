// A timer's handler interrupts accesses to shared memory thousands of times and makes some itself.
#include <sys/time.h>

#include "victim.h"

struct Shared {
  volatile uint64_t counter, twin, from_handler;
  volatile uint64_t words[32];
  char text[256];
};

static struct Shared* s;
static volatile int ticks;

static void on_tick(int signal) {
  (void)signal;
  ticks++;
  s->from_handler = s->from_handler + 1;
  __atomic_fetch_add(&s->words[ticks % 32], 1, __ATOMIC_SEQ_CST);
  errno = 99;
}

int main(void) {
  s = map_shared(sizeof(*s));
  struct sigaction action = {.sa_handler = on_tick};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval timer = {{0, 150}, {0, 150}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  char model[256];
  uint64_t rounds = 0;
  while (ticks < 1000) {
    ++rounds;
    s->counter = s->counter + 1;
    s->twin += 1;
    __asm__ volatile("lock incq %0" : "+m"(s->twin));
    for (int i = 0; i < 256; ++i) model[i] = rounds * 7 + i;
    memcpy(s->text, model, sizeof(model));
    CHECK(memcmp(s->text, model, sizeof(model)) == 0);
  }
  memset(&timer, 0, sizeof(timer));
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  CHECK_EQ(s->counter, rounds);
  CHECK_EQ(s->twin, 2 * rounds);
  CHECK_EQ(s->from_handler, ticks);
  uint64_t sum = 0;
  for (int i = 0; i < 32; ++i) sum += s->words[i];
  CHECK_EQ(sum, ticks);
  say("sig_interrupt\n");
}
