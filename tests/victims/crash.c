// Children that really crash, in and beside shared memory: signal, core flag, and what they stored
// before.
//
// usage: crash [cores | NAME]
//   cores  with core dumps, if the system's hard limit allows them
//   NAME   the program itself crashes that way
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "victim.h"

static volatile uint32_t* words;

static void null_store(void* unused) {
  (void)unused;
  words[0] = 1;
  *(volatile int*)8 = (int)words[0];
}
static void null_from_shared(void* unused) {
  (void)unused;
  volatile int* volatile* pointer = (volatile int* volatile*)&words[16];
  *pointer = NULL;
  **pointer = 1;
}
static void divide_by_shared(void* unused) {
  (void)unused;
  words[1] = 0;
  __asm__ volatile("xorl %%edx, %%edx\n\tmovl $7, %%eax\n\tdivl (%%rsi)"
                   :
                   : "S"(&words[1])
                   : "eax", "edx", "cc");
}
static void illegal(void* unused) {
  (void)unused;
  words[2] = 2;
  __asm__ volatile("ud2");
}
static void aborts(void* unused) {
  (void)unused;
  words[3] = 3;
  abort();
}
static void breakpoint(void* unused) {
  (void)unused;
  words[4] = 4;
  __asm__ volatile("int3");
}
static void beyond_mapping(void* unused) {
  (void)unused;
  words[5] = 5;
  words[kPage / 4] = 1;
}
static void store_to_read_only(void* unused) {
  (void)unused;
  words[6] = 6;
  CHECK(mprotect((void*)words, kPage, PROT_READ) == 0);
  words[7] = 7;
}
static void bus_error(void* unused) {
  (void)unused;
  int fd = memfd_create("short", 0);
  *(volatile char*)map_fd(fd, kPage, PROT_READ | PROT_WRITE) = 1;
}
static void misaligned(void* unused) {
  (void)unused;
  __asm__ volatile("movaps 4(%0), %%xmm0" : : "r"(words) : "xmm0");
}
static void executes_data(void* unused) {
  (void)unused;
  words[8] = 0xC3C3C3C3;
  ((void (*)(void)) & words[8])();
}
static void stack_overflow_like(void* unused) {
  (void)unused;
  words[9] = 9;
  __asm__ volatile("movq %0, %%rsp\n\tpushq %%rax" : : "r"(words) : "memory");
}
static void killed_by_itself(void* unused) {
  (void)unused;
  words[10] = 10;
  kill(getpid(), SIGTERM);
}
static void blocked_fault(void* unused) {
  (void)unused;
  signal(SIGSEGV, SIG_IGN);
  sigset_t mask;
  sigfillset(&mask);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  words[11] = 11;  // the recorder's own faults must still work here
  *(volatile int*)8 = 1;
}

// The others, blocked and handled: the kernel kills all the same.
static void handled(int signal) {
  (void)signal;
  words[12] = 99;
}
static void block_all(int handle) {
  sigset_t mask;
  sigfillset(&mask);
  for (int number = 1; handle && number < 32; ++number) signal(number, handled);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  words[11] = 12;
}
static void blocked_handled_fault(void* unused) {
  (void)unused;
  block_all(1);
  *(volatile int*)8 = 1;
}
static void blocked_division(void* unused) {
  block_all(1);
  divide_by_shared(unused);
}
static void blocked_illegal(void* unused) {
  block_all(1);
  illegal(unused);
}
static void blocked_trap(void* unused) {
  block_all(1);
  breakpoint(unused);
  words[12] = 98;
}
static void blocked_bus(void* unused) {
  block_all(0);
  bus_error(unused);
}
// In a handler, which blocks its own signal.
static void faults_again(int signal) {
  (void)signal;
  words[13] = words[13] + 1;
  *(volatile int*)8 = 1;
}
static void fault_in_handler(void* unused) {
  (void)unused;
  words[13] = 0;
  signal(SIGSEGV, faults_again);
  *(volatile int*)8 = 1;
}
// A filter's SIGSYS, not handled, and blocked.
static void refuse(int blocked) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  if (blocked) block_all(1);
  words[14] = 14;
  syscall(SYS_getppid);
  words[14] = 97;
}
static void refused_call(void* unused) {
  (void)unused;
  refuse(0);
}
static void blocked_refused_call(void* unused) {
  (void)unused;
  refuse(1);
}

static const struct {
  const char* name;
  void (*body)(void*);
  int signal;
} kCrashes[] = {{"null-store", null_store, SIGSEGV},
                {"null-from-shared", null_from_shared, SIGSEGV},
                {"divide-by-shared", divide_by_shared, SIGFPE},
                {"illegal", illegal, SIGILL},
                {"abort", aborts, SIGABRT},
                {"breakpoint", breakpoint, SIGTRAP},
                {"beyond-mapping", beyond_mapping, SIGSEGV},
                {"read-only", store_to_read_only, SIGSEGV},
                {"bus-error", bus_error, SIGBUS},
                {"misaligned", misaligned, SIGSEGV},
                {"executes-data", executes_data, SIGSEGV},
                {"stack-in-guard", stack_overflow_like, SIGSEGV},
                {"sigterm", killed_by_itself, SIGTERM},
                {"blocked-fault", blocked_fault, SIGSEGV},
                {"blocked-handled-fault", blocked_handled_fault, SIGSEGV},
                {"blocked-division", blocked_division, SIGFPE},
                {"blocked-illegal", blocked_illegal, SIGILL},
                {"blocked-trap", blocked_trap, SIGTRAP},
                {"blocked-bus", blocked_bus, SIGBUS},
                {"fault-in-handler", fault_in_handler, SIGSEGV},
                {"refused-call", refused_call, SIGSYS},
                {"blocked-refused-call", blocked_refused_call, SIGSYS}};

int main(int argc, char** argv) {
  words = map_shared(3 * kPage);
  words = (volatile uint32_t*)((char*)words + kPage);
  CHECK(munmap((char*)words - kPage, kPage) == 0);
  CHECK(munmap((char*)words + kPage, kPage) == 0);
  int cores = argc > 1 && strcmp(argv[1], "cores") == 0;
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_CORE, &limit) == 0);
  limit.rlim_cur = cores ? limit.rlim_max : 0;
  CHECK(setrlimit(RLIMIT_CORE, &limit) == 0);
  for (unsigned i = 0; i < sizeof(kCrashes) / sizeof(kCrashes[0]); ++i) {
    if (argc > 1 && !cores) {
      if (strcmp(argv[1], kCrashes[i].name) == 0) kCrashes[i].body(NULL);
      continue;
    }
    int status = wait_status(child(kCrashes[i].body, NULL));
    say("%s: signal %d, core %d\n", kCrashes[i].name, WTERMSIG(status), WCOREDUMP(status) != 0);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), kCrashes[i].signal);
  }
  if (argc > 1 && !cores) return 4;
  uint64_t sum = 0;
  for (int i = 0; i < 15; ++i) sum = mix(sum, words[i]);
  say("%016llx\n", (unsigned long long)sum);
}
