// Nested handlers, SA_NODEFER, SA_RESETHAND, masks, alternate stacks, siglongjmp out of a handler
// in the middle of work on shared memory.
#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

#include "victim.h"

static volatile uint32_t* words;
static char log_text[256];
static void note(char c) {
  size_t length = strlen(log_text);
  log_text[length] = c;
}

static void install(int signal, void (*handler)(int), int flags, int masked) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  if (masked) sigaddset(&action.sa_mask, masked);
  CHECK(sigaction(signal, &action, NULL) == 0);
}

static void inner(int signal) {
  words[1]++;
  note(signal == SIGUSR2 ? 'i' : 'j');
}

static void outer(int signal) {
  (void)signal;
  note('(');
  words[0]++;
  raise(SIGUSR2);
  words[0]++;
  note(')');
}

static void recursive(int signal) {
  note('r');
  if (++words[2] < 5) raise(signal);
  note('R');
}

static void deferred(int signal) {
  note('d');
  if (words[3]++ == 0) raise(signal);  // comes after this one returns
  note('D');
}

static sigjmp_buf out;
static void jump_out(int signal) {
  words[4]++;
  siglongjmp(out, signal);
}

static char* stack_of_handler;
static void on_stack(int signal) {
  char here;
  stack_of_handler = &here;
  words[5] += signal;
}

static void on_fault_in_shared(int signal, siginfo_t* info, void* context) {
  (void)signal;
  stack_of_handler = (char*)&info;
  CHECK(mprotect((void*)((uint64_t)info->si_addr & -kPage), kPage, PROT_READ | PROT_WRITE) == 0);
  words[6]++;
  CHECK(sigismember(&((ucontext_t*)context)->uc_sigmask, SIGTERM) == 1);
}

static void* thread_body(void* unused) {
  (void)unused;
  char* stack = malloc(65536);
  stack_t alternate = {.ss_sp = stack, .ss_size = 65536};
  CHECK(sigaltstack(&alternate, NULL) == 0);
  CHECK(pthread_kill(pthread_self(), SIGHUP) == 0);
  CHECK(stack_of_handler > stack && stack_of_handler < stack + 65536);
  return NULL;
}

int main(void) {
  words = map_shared(2 * kPage);
  install(SIGUSR1, outer, 0, 0);
  install(SIGUSR2, inner, 0, 0);
  raise(SIGUSR1);
  install(SIGUSR1, outer, 0, SIGUSR2);  // now the inner one waits
  raise(SIGUSR1);
  CHECK(strcmp(log_text, "(i)()i") == 0);
  log_text[0] = 0;
  memset(log_text, 0, sizeof(log_text));
  install(SIGUSR1, recursive, SA_NODEFER, 0);
  raise(SIGUSR1);
  install(SIGUSR1, deferred, 0, 0);
  raise(SIGUSR1);
  CHECK(strcmp(log_text, "rrrrrRRRRRdDdD") == 0);
  install(SIGUSR1, inner, SA_RESETHAND, 0);
  raise(SIGUSR1);
  struct sigaction now;
  CHECK(sigaction(SIGUSR1, NULL, &now) == 0);
  CHECK(now.sa_handler == SIG_DFL);
  // Of flags that there are not the kernel says so by not keeping them.
  now.sa_flags = SA_RESTART | 0x400 | 0x100;
  CHECK(sigaction(SIGUSR1, &now, NULL) == 0);
  CHECK(sigaction(SIGUSR1, NULL, &now) == 0);
  CHECK_EQ(now.sa_flags & ~0x04000000, SA_RESTART);
  // Out of handlers by a jump, with the mask restored.
  install(SIGALRM, jump_out, 0, 0);
  for (volatile int i = 0; i < 20; ++i) {
    if (sigsetjmp(out, 1) == 0) {
      struct timespec soon = {0, 100000 + i * 3000};
      timer_t timer;
      struct itimerspec spec = {{0, 0}, soon};
      CHECK(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0);
      CHECK(timer_settime(timer, 0, &spec, NULL) == 0);
      for (;;) words[10] = words[10] + 1;
    }
  }
  CHECK_EQ(words[4], 20);
  sigset_t mask;
  CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
  CHECK(!sigismember(&mask, SIGALRM));
  // Alternate stacks: here, in a thread, for a fault on shared memory.
  char* stack = malloc(65536);
  stack_t alternate = {.ss_sp = stack, .ss_size = 65536}, previous;
  CHECK(sigaltstack(&alternate, NULL) == 0);
  install(SIGHUP, on_stack, SA_ONSTACK, 0);
  raise(SIGHUP);
  CHECK(stack_of_handler > stack && stack_of_handler < stack + 65536);
  CHECK_EQ(words[5], SIGHUP);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, thread_body, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  struct sigaction fault = {.sa_sigaction = on_fault_in_shared,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK};
  CHECK(sigaction(SIGSEGV, &fault, NULL) == 0);
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  CHECK(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
  CHECK(mprotect((char*)words + kPage, kPage, PROT_NONE) == 0);
  words[kPage / 4 + 3] = 5;
  CHECK_EQ(words[6], 1);
  CHECK(stack_of_handler > stack && stack_of_handler < stack + 65536);
  CHECK(sigaltstack(NULL, &previous) == 0);
  CHECK(previous.ss_sp == stack && previous.ss_size == 65536);
  say("sig_forms %s %u %u\n", log_text, words[0], words[1]);
}
