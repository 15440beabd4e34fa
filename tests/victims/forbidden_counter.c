// A program that makes rdtsc fault (PR_SET_TSC) goes on as it is: shared memory, threads and
// processes. The counter can be read again when it is allowed again.
#include <pthread.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "victim.h"

static volatile int trapped;
static volatile int* shared;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info;
  ++trapped;
  ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void* in_thread(void* unused) {
  __atomic_fetch_add(shared, 1, __ATOMIC_SEQ_CST);
  __asm__ volatile("rdtsc" ::: "eax", "edx");
  return unused;
}

static void in_child(void* unused) { in_thread(unused); }

static int state(void) {
  int value = 0;
  CHECK(prctl(PR_GET_TSC, &value) == 0);
  return value;
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
  shared = map_shared(kPage);
  for (int i = 0; i < 1000; ++i) shared[1] += i;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
  wait_ok(child(in_child, NULL));
  in_thread(NULL);
  say("state %d, trapped %d, counted %d, sum %d\n", state(), trapped, *shared, shared[1]);
  CHECK(prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0);
  in_thread(NULL);
  say("state %d, trapped %d, counted %d\n", state(), trapped, *shared);
}
