// setjmp buffers in shared memory, longjmp across frames that use it, makecontext and swapcontext
// with the contexts and the coroutine's stack in shared memory.
#include <setjmp.h>
#include <ucontext.h>

#include "victim.h"

struct Shared {
  jmp_buf buffer;
  sigjmp_buf signal_buffer;
  ucontext_t main_context, coroutine;
  volatile int words[64];
  char stack[32768];
};

static struct Shared* s;

__attribute__((noinline)) static void deep(int depth) {
  s->words[depth] = depth;
  if (depth == 20) longjmp(s->buffer, 5);
  if (depth < 30) deep(depth + 1);
  s->words[depth] = -1;
}

static void coroutine(void) {
  for (int i = 0; i < 5; ++i) {
    s->words[40 + i] = s->words[39 + i] + i;
    CHECK(swapcontext(&s->coroutine, &s->main_context) == 0);
  }
}

static void on_signal(int signal) { siglongjmp(s->signal_buffer, signal); }

int main(void) {
  s = map_shared(sizeof(*s));
  volatile int jumps = 0;
  int value = setjmp(s->buffer);
  if (value == 0) deep(0);
  CHECK_EQ(value, 5);
  for (int i = 0; i <= 20; ++i) CHECK_EQ(s->words[i], i);
  signal(SIGUSR1, on_signal);
  value = sigsetjmp(s->signal_buffer, 1);
  if (++jumps < 5) {
    s->words[30] += jumps;
    raise(SIGUSR1);
  }
  CHECK_EQ(value, SIGUSR1);
  CHECK_EQ(s->words[30], 1 + 2 + 3 + 4);
  CHECK(getcontext(&s->coroutine) == 0);
  s->coroutine.uc_stack.ss_sp = s->stack;
  s->coroutine.uc_stack.ss_size = sizeof(s->stack);
  s->coroutine.uc_link = &s->main_context;
  makecontext(&s->coroutine, coroutine, 0);
  s->words[39] = 100;
  for (int i = 0; i < 5; ++i) CHECK(swapcontext(&s->main_context, &s->coroutine) == 0);
  CHECK_EQ(s->words[44], 110);
  say("setjmp_longjmp %d %d\n", s->words[30], s->words[44]);
}
