// A process of many threads confines all of them at one moment (TSYNC), as browsers do, behind a
// filter that traps calls which no thread makes but on purpose. The threads are in all states that
// a thread can be in: waiting, in a handler on an alternate stack, starting threads and processes,
// with shared memory, with a gs base, under a storm of signals. Each goes on where it was, with its
// mask, its stack, its base and its handlers, and nothing is trapped that it did not mean to be.
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>

#include "victim.h"

enum { kRounds = 4, kStackBytes = 64 * 1024 };

static struct {
  volatile int ready, confined, futex, ended, accesses, unrelated, made, storms;
} * shared;
static int pipes[4][2];
static volatile int trapped;
static __thread volatile int handled;
static __thread sigjmp_buf way_out;
static __thread volatile uint64_t fault_address;

// ---- The filter ---------------------------------------------------------------------------------

static void install(const int* calls, unsigned count, unsigned verdict) {
  struct sock_filter program[64];
  int length = 0;
  program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
  for (unsigned i = 0; i < count; ++i) {
    program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
  }
  program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog filter = {length, program};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter), 0);
}

// A thread can neither send a signal with a value nor wait for one.
static void confine_a_little(void) {
  const int calls[] = {SYS_rt_tgsigqueueinfo, SYS_rt_sigtimedwait};
  install(calls, 2, SECCOMP_RET_ERRNO | EPERM);
}

static void confine(void) {
  const int calls[] = {SYS_prctl,           SYS_mremap,          SYS_rt_tgsigqueueinfo,
                       SYS_rt_sigqueueinfo, SYS_rt_sigtimedwait, SYS_statx,
                       SYS_pidfd_open,      SYS_readlink,        SYS_name_to_handle_at};
  install(calls, sizeof calls / sizeof calls[0], SECCOMP_RET_TRAP | 7);
}

// Answers for the kernel, as the client of a broker does.
static void on_trap(int signal, siginfo_t* info, void* raw) {
  ucontext_t* context = raw;
  CHECK_EQ(signal, SIGSYS);
  CHECK_EQ(info->si_code, 1 /* SYS_SECCOMP */);
  CHECK_EQ(info->si_errno, 7);
  CHECK_EQ((uint64_t)info->si_call_addr, (uint64_t)context->uc_mcontext.gregs[REG_RIP]);
  __atomic_fetch_add(&trapped, 1, __ATOMIC_SEQ_CST);
  context->uc_mcontext.gregs[REG_RAX] = info->si_syscall == SYS_mremap ? 4321 : -EXDEV;
}

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fault_address = (uint64_t)info->si_addr;
  siglongjmp(way_out, 1);
}

static void on_alarm(int signal) {
  (void)signal;
  __atomic_fetch_add(&shared->storms, 1, __ATOMIC_SEQ_CST);
}

static void on_usr1(int signal) { handled = signal; }

// What each thread finds when it has been confined.
static void look_around(void) {
  CHECK_EQ(syscall(SYS_mremap, 0, 0, 0, 0, 0), 4321);
  handled = 0;
  CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
  CHECK_EQ(handled, SIGUSR1);
  char* nothing = map_private(2 * kPage);
  CHECK(mprotect(nothing, kPage, PROT_NONE) == 0);
  if (sigsetjmp(way_out, 1) == 0) {
    *(volatile char*)(nothing + 5);
    fail(__FILE__, __LINE__, "no fault");
  }
  CHECK_EQ(fault_address, (uint64_t)nothing + 5);
  CHECK(munmap(nothing, 2 * kPage) == 0);
}

static void begun(void) { __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST); }
static int goes_on(void) { return !__atomic_load_n(&shared->confined, __ATOMIC_ACQUIRE); }

// ---- The threads --------------------------------------------------------------------------------

static void reads(void) {
  char byte = 0;
  CHECK_EQ(read(pipes[0][0], &byte, 1), 1);
  CHECK_EQ(byte, 'a');
}

static void waits_for_word(void) {
  while (shared->futex == 0) syscall(SYS_futex, &shared->futex, FUTEX_WAIT, 0, NULL, NULL, 0);
  CHECK_EQ(shared->futex, 1);
}

// With another mask while it waits: the signal comes in there and nowhere else. Another one stays
// blocked, and pending.
static void polls(void) {
  struct pollfd entry = {pipes[1][0], POLLIN, 0};
  sigset_t blocked, within, now;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTRAP);
  within = blocked;
  sigaddset(&blocked, SIGUSR2);
  sigaddset(&within, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
  CHECK(pthread_kill(pthread_self(), SIGTRAP) == 0);
  begun();
  CHECK_ERRNO(ppoll(&entry, 1, NULL, &within), EINTR);
  CHECK_EQ(handled, SIGUSR2);
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
  CHECK(sigismember(&now, SIGUSR2) && sigismember(&now, SIGTRAP));
  CHECK(!sigismember(&now, SIGSEGV) && !sigismember(&now, SIGALRM));
  CHECK(sigpending(&now) == 0 && sigismember(&now, SIGTRAP));
}

static void accesses(void) {
  int count = 0;
  for (; goes_on(); ++count) __atomic_fetch_add(&shared->accesses, 1, __ATOMIC_SEQ_CST);
  CHECK_EQ(__atomic_exchange_n(&shared->accesses, 0, __ATOMIC_SEQ_CST), count);
}

static volatile int stop_computing;
static void computes(void) {
  uint64_t state = 5, steps = 0;
  for (; !stop_computing; ++steps) next_random(&state);
  uint64_t again = 5;
  while (steps--) next_random(&again);
  CHECK_EQ(state, again);
}

static void calls(void) {
  const pid_t parent = getppid();
  while (goes_on()) CHECK_EQ(syscall(SYS_getppid), parent);
}

static void* is_made(void* raw) {
  __atomic_fetch_add(&shared->made, 1, __ATOMIC_SEQ_CST);
  return raw;
}
static void makes_threads(void) {
  int value = 0;
  do {
    pthread_t id;
    void* got;
    CHECK(pthread_create(&id, NULL, is_made, &value) == 0 && pthread_join(id, &got) == 0);
    CHECK(got == &value);
  } while (goes_on());
}

static void makes_processes(void) {
  static volatile int by_vfork = 1;
  do {
    const pid_t pid = by_vfork ? vfork() : fork();
    if (pid == 0) _exit(42);
    CHECK_EQ(wait_status(pid), 42 << 8);
    by_vfork = !by_vfork;
  } while (goes_on());
}

// The handler stays on the alternate stack until all are confined.
static void on_long_usr1(int signal) {
  char byte = 0;
  stack_t stack;
  CHECK(sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK));
  begun();
  CHECK_EQ(read(pipes[2][0], &byte, 1), 1);
  CHECK(sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK));
  sigset_t now;
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
  CHECK(sigismember(&now, SIGUSR2) && sigismember(&now, SIGILL));
  handled = signal + 100;
}
static void handles(void) {
  static char memory[kStackBytes];
  const stack_t mine = {.ss_sp = memory, .ss_size = sizeof memory};
  CHECK(sigaltstack(&mine, NULL) == 0);
  CHECK(pthread_kill(pthread_self(), SIGURG) == 0);
  CHECK_EQ(handled, SIGURG + 100);
  stack_t now;
  CHECK(sigaltstack(NULL, &now) == 0);
  CHECK(now.ss_sp == memory && now.ss_size == sizeof memory && now.ss_flags == 0);
  sigset_t mask;
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
  CHECK(!sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGILL));
}

static uint64_t gs_base(void) {
  uint64_t base;
  __asm__ volatile("rdgsbase %0" : "=r"(base));
  return base;
}
static void has_base(void) {
  if (!(getauxval(AT_HWCAP2) & 2)) return;
  uint64_t word = 77, value;
  __asm__ volatile("wrgsbase %0" : : "r"(&word));
  while (goes_on()) {
    __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
    CHECK_EQ(value, 77);
    ++*(volatile uint64_t*)&word, --*(volatile uint64_t*)&word;
    __atomic_fetch_add(&shared->unrelated, 1, __ATOMIC_SEQ_CST);
  }
  CHECK_EQ(gs_base(), (uint64_t)&word);
  look_around();
  CHECK_EQ(gs_base(), (uint64_t)&word);
}

static void (*const kBodies[])(void) = {
    reads, waits_for_word, polls,           accesses, computes,
    calls, makes_threads,  makes_processes, handles,  has_base,
};
enum { kThreads = sizeof kBodies / sizeof kBodies[0] };

static void* thread(void* raw) {
  void (*body)(void) = kBodies[(intptr_t)raw];
  if (body != handles && body != polls) begun();
  body();
  look_around();
  return NULL;
}

// ---- One process --------------------------------------------------------------------------------

static void set_handler(int signal, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  if (signal == SIGURG) {
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaddset(&action.sa_mask, SIGILL);
  }
  CHECK(sigaction(signal, &action, NULL) == 0);
}

static void process(void* raw) {
  const struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER},
                         fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSYS, &trap, NULL) == 0 && sigaction(SIGSEGV, &fault, NULL) == 0);
  set_handler(SIGALRM, on_alarm, SA_RESTART);
  set_handler(SIGUSR1, on_usr1, SA_RESTART);
  set_handler(SIGUSR2, on_usr1, SA_RESTART);
  set_handler(SIGURG, on_long_usr1, SA_ONSTACK | SA_RESTART);
  for (int i = 0; i < 4; ++i) CHECK(pipe(pipes[i]) == 0);
  memset(shared, 0, sizeof *shared);
  pthread_t ids[kThreads];
  for (intptr_t i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&ids[i], NULL, thread, (void*)i) == 0);
  await_value(&shared->ready, kThreads);
  const struct itimerval timer = {{0, 700}, {0, 700}}, none = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  while (shared->storms < 5 || shared->made == 0) sched_yield();
  sleep_ms(*(int*)raw);
  confine();
  CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
  shared->confined = stop_computing = 1;
  CHECK(write(pipes[0][1], "a", 1) == 1 && write(pipes[2][1], "c", 1) == 1);
  shared->futex = 1;
  syscall(SYS_futex, &shared->futex, FUTEX_WAKE, 99, NULL, NULL, 0);
  CHECK(pthread_kill(ids[2], SIGUSR2) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
  look_around();
  CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == -1 && errno == EXDEV);
  say("%d traps\n", trapped);
}

int main(int argc, char** argv) {
  if (argc > 1 && !strcmp(argv[1], "twice")) confine_a_little();
  shared = map_shared(kPage);
  for (int round = 0; round < kRounds; ++round) wait_ok(child(process, &round));
}
