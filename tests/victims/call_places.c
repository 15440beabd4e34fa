// Makes calls of each kind by one syscall instruction until SIGUSR2, and counts SIGUSR1, which may
// come anywhere. Each time the registers are those of the program at one of its own instructions.
// What stops it where is e2e/call_places.py. usage: call_places [CALLS]
#include <dlfcn.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "victim.h"

struct Registers {
  uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, rcx, r11, flags;
};
extern void make_call(struct Registers* registers);
extern const unsigned char call_site[], behind_call[];
__asm__(
    ".text\n"
    "make_call:\n"
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %rdi\n"
    "mov %rdi, %rcx\n"
    "pushq 120(%rcx)\n popfq\n"
    "mov 0(%rcx), %rax\n mov 8(%rcx), %rdi\n mov 16(%rcx), %rsi\n mov 24(%rcx), %rdx\n"
    "mov 32(%rcx), %r10\n mov 40(%rcx), %r8\n mov 48(%rcx), %r9\n mov 56(%rcx), %rbx\n"
    "mov 64(%rcx), %rbp\n mov 72(%rcx), %r12\n mov 80(%rcx), %r13\n mov 88(%rcx), %r14\n"
    "mov 96(%rcx), %r15\n"
    "call_site: syscall\n"
    "behind_call: cmp $-4096, %rax\n"
    "push %rcx\n mov 8(%rsp), %rcx\n"
    "mov %rax, 0(%rcx)\n mov %rdi, 8(%rcx)\n mov %rsi, 16(%rcx)\n mov %rdx, 24(%rcx)\n"
    "mov %r10, 32(%rcx)\n mov %r8, 40(%rcx)\n mov %r9, 48(%rcx)\n mov %rbx, 56(%rcx)\n"
    "mov %rbp, 64(%rcx)\n mov %r12, 72(%rcx)\n mov %r13, 80(%rcx)\n mov %r14, 88(%rcx)\n"
    "mov %r15, 96(%rcx)\n mov %r11, 112(%rcx)\n"
    "popq 104(%rcx)\n pop %rdi\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static const uint64_t kFlags = 0x202 | 0x8D5;  // all status flags
static struct Registers now;                   // of the call being made

static volatile sig_atomic_t handled, over, before, after;
static void on_signal(int signal, siginfo_t* info, void* raw) {
  const greg_t* registers = ((ucontext_t*)raw)->uc_mcontext.gregs;
  const uint64_t ip = (uint64_t)registers[REG_RIP];
  Dl_info where;
  (void)signal, (void)info;
  ++handled;
  CHECK(dladdr((void*)ip, &where));
  if (ip != (uint64_t)call_site && ip != (uint64_t)behind_call) return;
  const int made = ip == (uint64_t)behind_call;
  made ? ++after : ++before;
  if (!made) CHECK_EQ(registers[REG_RAX], now.rax);
  if (made) CHECK_EQ(registers[REG_RCX], ip);
  if (made) CHECK_EQ(registers[REG_R11], kFlags);
  CHECK_EQ(registers[REG_EFL] & kFlags, kFlags);
  CHECK_EQ(registers[REG_RDI], now.rdi);
  CHECK_EQ(registers[REG_RSI], now.rsi);
  CHECK_EQ(registers[REG_RDX], now.rdx);
  CHECK_EQ(registers[REG_R10], now.r10);
  CHECK_EQ(registers[REG_R8], now.r8);
  CHECK_EQ(registers[REG_R9], now.r9);
  CHECK_EQ(registers[REG_RBX], now.rbx);
  CHECK_EQ(registers[REG_RBP], now.rbp);
  CHECK_EQ(registers[REG_R12], now.r12);
  CHECK_EQ(registers[REG_R15], now.r15);
}
static void on_end(int signal) { over = signal; }

static int64_t call(long number, uint64_t a, uint64_t b, uint64_t c) {
  now = (struct Registers){(uint64_t)number, a, b, c, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, kFlags};
  struct Registers out = now;
  make_call(&out);
  CHECK_EQ(memcmp(&out.rdi, &now.rdi, 12 * sizeof(uint64_t)), 0);
  CHECK_EQ(out.rcx, (uint64_t)behind_call);
  CHECK_EQ(out.r11, kFlags);
  return (int64_t)out.rax;
}

int main(int count, char** arguments) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
  CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
  signal(SIGUSR2, on_end);
  const pid_t pid = getpid(), parent = getppid();
  const int null = open("/dev/null", O_WRONLY);
  long rounds = count > 1 ? atol(arguments[1]) : -1;
  for (long round = 0; !over && round != rounds; ++round) {
    CHECK_EQ(call(SYS_getpid, 0, 0, 0), pid);
    CHECK_EQ(call(SYS_getppid, 0, 0, 0), parent);
    CHECK_EQ(call(SYS_write, (uint64_t)null, (uint64_t) "x", 1), 1);
    const int64_t opened = call(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t) "/dev/null", O_RDONLY);
    CHECK(opened > null);
    CHECK_EQ(call(SYS_close, (uint64_t)opened, 0, 0), 0);
    if (round == 100 && rounds < 0)
      say("%d %llx\n", (int)pid, (unsigned long long)(uintptr_t)call_site);
  }
  say("handled %d, before a call %d, behind one %d\n", (int)handled, (int)before, (int)after);
  return 0;
}
