// A program that owns its gs base: set by the instruction and by the call, in several threads, with
// shared memory behind it, through syscalls, accesses, signals that come anywhere, jumps out of
// their handlers, and new threads and processes.
#include <asm/prctl.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/time.h>

#include "victim.h"

extern char** environ;

enum { kThreads = 4, kSignals = 600 };

struct Area {
  int word[64];
};

static struct Area* areas;  // shared; one per thread, and one that is its handlers' own
static volatile int signals, ended;
static __thread struct Area* mine;
static __thread struct Area* inside;  // non-null: the base the thread has at the moment
static __thread sigjmp_buf* way_out;

static uint64_t gs_base(void) {
  uint64_t base;
  __asm__ volatile("rdgsbase %0" : "=r"(base));
  return base;
}
static void set_gs(const void* base) { __asm__ volatile("wrgsbase %0" : : "r"(base) : "memory"); }
static int call_set_gs(uint64_t base) { return (int)syscall(SYS_arch_prctl, ARCH_SET_GS, base); }
static int gs_word(int index) {
  int value;
  __asm__ volatile("movl %%gs:(,%q1,4), %0" : "=r"(value) : "r"((long)index) : "memory");
  return value;
}
static void gs_add(int index, int value) {
  __asm__ volatile("lock addl %0, %%gs:(,%q1,4)" : : "r"(value), "r"((long)index) : "memory", "cc");
}

// A handler that finds the base of who it interrupts, changes it, and puts it back but for
// siglongjmp, which leaves what the handler has set, as natively.
static void on_signal(int signal) {
  ++signals;
  if (!inside) return;
  CHECK_EQ(gs_base(), (uint64_t)inside);
  struct Area* own = mine + kThreads;
  set_gs(own);
  gs_add(1, 1);
  CHECK_EQ(gs_word(1), own->word[1]);
  if (signal == SIGUSR2 && way_out) siglongjmp(*way_out, 1);
  set_gs(inside);
}

static void take_area(int index) {
  mine = inside = NULL;
  set_gs(NULL);
  mine = &areas[index];
}

static void use_area(int by_call) {
  if (by_call)
    CHECK_EQ(call_set_gs((uint64_t)mine), 0);
  else
    set_gs(mine);
  inside = mine;
}

static void one_round(int round) {
  gs_add(0, 1);
  CHECK_EQ(gs_word(0), mine->word[0]);
  CHECK(getppid() > 0);
  CHECK_EQ(gs_base(), (uint64_t)mine);
  mine->word[2] = round;
  CHECK_EQ(gs_word(2), round);
  __asm__ volatile("movl $5, %%ecx; rep movsb"
                   :
                   : "S"(&mine->word[2]), "D"(&mine->word[8])
                   : "rcx", "memory");
  CHECK_EQ(gs_word(8), round);
  uint64_t told = 0, *shared = (uint64_t*)&mine->word[16];
  CHECK_EQ(syscall(SYS_arch_prctl, ARCH_GET_GS, round & 1 ? shared : &told), 0);
  CHECK_EQ(round & 1 ? *shared : told, (uint64_t)mine);
}

static void* thread(void* raw) {
  const int index = (int)(intptr_t)raw;
  take_area(index);
  use_area(index & 1);
  int rounds = 0;
  while (!ended) one_round(rounds++);
  CHECK_EQ(mine->word[0], rounds);
  inside = NULL;
  return NULL;
}

static void threads(void) {
  pthread_t ids[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    CHECK(pthread_create(&ids[i], NULL, thread, (void*)(intptr_t)i) == 0);
  }
  // Signals at any moment: from here, and by the timer.
  for (int i = 0; signals < kSignals; ++i) {
    CHECK(pthread_kill(ids[i % kThreads], SIGUSR1) == 0);
    sched_yield();
  }
  ended = 1;
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
}

static void errors(void) {
  take_area(0);
  use_area(0);
  CHECK_ERRNO(call_set_gs(0xFFFF800000000000), EPERM);
  CHECK_ERRNO(syscall(SYS_arch_prctl, ARCH_GET_GS, 8), EFAULT);
  CHECK_EQ(gs_base(), (uint64_t)mine);
  int selector = 77;
  CHECK_EQ(call_set_gs(0x1234567), 0);
  __asm__ volatile("movl %%gs, %0" : "=r"(selector));
  CHECK_EQ(selector, 0);
  CHECK_EQ(gs_base(), 0x1234567);
  // Bases that nothing can be read at.
  static const uint64_t odd[] = {0, 1, 8, 0xFFFFFFFFFFFFFFFF, 0xFFFF900000000000, 0x7FFFFFFFF000};
  inside = NULL;
  for (unsigned i = 0; i < sizeof odd / sizeof odd[0]; ++i) {
    set_gs((void*)odd[i]);
    mine->word[3] = i;
    CHECK(getppid() > 0);
    CHECK_EQ(mine->word[3], i);
    CHECK(sched_yield() == 0);
    CHECK(raise(SIGUSR1) == 0);
    CHECK_EQ(gs_base(), odd[i]);
  }
}

static volatile uint64_t fault_address;
static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fault_address = (uint64_t)info->si_addr;
  CHECK_EQ(gs_base(), (uint64_t)mine);
  siglongjmp(*way_out, 2);
}

static void jumps(void) {
  take_area(1);
  sigjmp_buf back;
  way_out = &back;
  if (sigsetjmp(back, 1) == 0) {
    use_area(0);
    CHECK(raise(SIGUSR2) == 0);
    fail(__FILE__, __LINE__, "came back");
  }
  CHECK_EQ(gs_base(), (uint64_t)(mine + kThreads));
  // A fault through gs, on shared memory that may only be read.
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  mine = map_shared(kPage);
  set_gs(mine);
  inside = mine;
  CHECK(mprotect(mine, kPage, PROT_READ) == 0);
  if (sigsetjmp(back, 1) == 0) {
    CHECK_EQ(gs_word(5), 0);
    gs_add(5, 1);
    fail(__FILE__, __LINE__, "no fault");
  }
  CHECK_EQ(fault_address, (uint64_t)&mine->word[5]);
  CHECK_EQ(gs_base(), (uint64_t)mine);
  way_out = NULL;
}

static void* inherits(void* raw) {
  CHECK_EQ(gs_base(), (uint64_t)raw);
  set_gs(NULL);
  return NULL;
}

static void children(void) {
  take_area(2);
  use_area(0);
  pthread_t id;
  CHECK(pthread_create(&id, NULL, inherits, mine) == 0);
  CHECK(pthread_join(id, NULL) == 0);
  CHECK_EQ(gs_base(), (uint64_t)mine);
  pid_t pid = fork();
  if (pid == 0) {
    CHECK_EQ(gs_base(), (uint64_t)mine);
    gs_add(4, 1);
    take_area(3);
    use_area(1);
    gs_add(4, 1);
    _exit(0);
  }
  wait_ok(pid);
  CHECK_EQ(gs_base(), (uint64_t)mine);
  CHECK_EQ(gs_word(4), 1);
  CHECK_EQ(areas[3].word[4], 1);
  pid = vfork();
  if (pid == 0) {
    if (gs_base() != (uint64_t)mine) _exit(9);
    set_gs(&areas[3]);
    gs_add(4, 1);
    _exit(0);
  }
  wait_ok(pid);
  CHECK_EQ(gs_base(), (uint64_t)mine);
  CHECK_EQ(areas[3].word[4], 2);
  char* arguments[] = {"gs_base", "fresh", NULL};
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) == 0);
  wait_ok(pid);
  char* wrong[] = {"nothing", NULL};
  CHECK_ERRNO(execve("/nothing", wrong, environ), ENOENT);
  CHECK_EQ(gs_base(), (uint64_t)mine);
}

int main(int argc, char** argv) {
  if (!(getauxval(AT_HWCAP2) & 2)) {
    say("skipped: no rdgsbase here\n");
    return 0;
  }
  if (argc > 1 && strcmp(argv[1], "fresh") == 0) return gs_base() != 0;
  CHECK_EQ(gs_base(), 0);
  areas = map_shared(sizeof(struct Area) * 2 * kThreads);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigfillset(&action.sa_mask);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval timer = {{0, 300}, {0, 300}}, none = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  threads();
  CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
  errors();
  jumps();
  children();
  say("gs is the program's\n");
}
