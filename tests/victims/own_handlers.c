// A program with its own SIGSEGV, SIGTRAP, SIGSYS, SIGBUS and SIGFPE handlers: a user-level pager
// over shared memory, a debugger's breakpoints, a seccomp sandbox, all while shared memory is used.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "victim.h"

enum { kPages = 16 };
static char* window;
static int backing;
static volatile int paged_in, trapped, system_calls;

static void on_segv(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  char* page = (char*)((uint64_t)info->si_addr & -kPage);
  CHECK(page >= window && page < window + kPages * kPage);
  int index = (page - window) / kPage;
  CHECK(mmap(page, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, backing, index * kPage) ==
        page);
  ++paged_in;
}

static void on_trap(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  CHECK_EQ(info->si_code, SI_KERNEL);
  trapped += window[0];
}

// The sandbox answers getppid with 4242 through shared memory.
static void on_sys(int signal, siginfo_t* info, void* context) {
  (void)signal;
  CHECK_EQ(info->si_syscall, SYS_getppid);
  CHECK_EQ(info->si_code, 1);  // SYS_SECCOMP
  ((volatile int*)window)[20] = 4242;
  ((ucontext_t*)context)->uc_mcontext.gregs[REG_RAX] = ((volatile int*)window)[20];
  ++system_calls;
}

static void sandbox(void* unused) {
  (void)unused;
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  CHECK_EQ(getppid(), 4242);
  CHECK_EQ(syscall(SYS_getppid), 4242);
  CHECK_EQ(system_calls, 2);
  ((volatile int*)window)[21] = 5;
}

int main(void) {
  backing = make_file("data", kPages * kPage);
  window = mmap(NULL, kPages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  action.sa_sigaction = on_trap;
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  action.sa_sigaction = on_sys;
  CHECK(sigaction(SIGSYS, &action, NULL) == 0);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kPages; ++i) {
      volatile uint64_t* word = (volatile uint64_t*)(window + i * kPage + (i * 8) % 512);
      CHECK_EQ(*word, round * (i + 1));
      *word += i + 1;
    }
    CHECK_EQ(paged_in, kPages * (round + 1));
    for (int i = 0; i < kPages; ++i)
      CHECK(mmap(window + i * kPage, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) != MAP_FAILED);
  }
  // One access over two pages that are both absent.
  *(volatile uint64_t*)(window + 3 * kPage - 4) = 0x0102030405060708;
  CHECK_EQ(paged_in, 2 * kPages + 2);
  window[0] = 3;
  for (int i = 0; i < 5; ++i) __asm__ volatile("int3" : : : "memory");
  CHECK_EQ(trapped, 15);
  wait_ok(child(sandbox, NULL));
  CHECK_EQ(((volatile int*)window)[21], 5);
  say("own_handlers %d %d\n", paged_in, trapped);
}
