// A program that sets the trap flag for itself: one trap behind each instruction, at the same
// addresses, whether it touches shared memory or makes system calls; and the alignment check.
// Beside it the calls by the 32-bit table, which a 64-bit program can make.
#include <ucontext.h>

#include "victim.h"

static volatile uint32_t* words;
static volatile int traps;
static volatile uint64_t sum, origin, bad_flags;

static void on_trap(int signal, siginfo_t* info, void* raw) {
  const greg_t* registers = ((ucontext_t*)raw)->uc_mcontext.gregs;
  (void)signal;
  if (!traps++) origin = registers[REG_RIP];
  sum = mix(sum, registers[REG_RIP] - origin);
  sum = mix(sum, info->si_code);
  sum = mix(sum, (uint64_t)info->si_addr == (uint64_t)registers[REG_RIP]);
  sum = mix(sum, registers[REG_TRAPNO]);
  // The last one comes behind the popf that clears the flag.
  if (!(registers[REG_EFL] & 0x100)) ++bad_flags;
}

static volatile int faults;
static void on_fault(int signal, siginfo_t* info, void* raw) {
  ucontext_t* context = raw;
  sum = mix(sum, signal);
  sum = mix(sum, info->si_code);
  sum = mix(sum, context->uc_mcontext.gregs[REG_TRAPNO]);
  sum = mix(sum, context->uc_mcontext.gregs[REG_EFL] & 0x100);
  context->uc_mcontext.gregs[REG_RIP] += 3;
  ++faults;
}
static void on_sent(int signal) { sum = mix(sum, signal + words[3]); }

static void report(const char* name) {
  say("%s: %d traps, %d without the flag, %016llx, %d faults\n", name, traps, (int)bad_flags,
      (unsigned long long)sum, faults);
  traps = faults = 0;
  sum = bad_flags = 0;
}

// Steps through `code` with rbx at shared memory.
#define STEP(name, code)                                                                         \
  do {                                                                                           \
    uint64_t rax = 0, rcx = 4, rsi = (uint64_t)&words[32], rdi = (uint64_t)&words[64];           \
    __asm__ volatile("sub $256, %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop\n\t" code \
                     "\n\tnop\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tnop\n\t"            \
                     "add $256, %%rsp"                                                           \
                     : "+a"(rax), "+c"(rcx), "+S"(rsi), "+D"(rdi)                                \
                     : "b"(words)                                                                \
                     : "rdx", "r8", "r9", "r10", "r11", "r12", "memory", "cc");                  \
    sum = mix(sum, rax);                                                                         \
    if (rcx < kPage) sum = mix(sum, rcx); /* behind a call: an address */                        \
    report(name);                                                                                \
  } while (0)

static void on_misaligned(int signal, siginfo_t* info, void* raw) {
  ucontext_t* context = raw;
  __asm__ volatile("pushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq" ::: "memory", "cc");
  context->uc_mcontext.gregs[REG_EFL] &= ~0x40000;
  sum = mix(sum, signal + info->si_code + (uint64_t)info->si_addr);
  sum = mix(sum, context->uc_mcontext.gregs[REG_TRAPNO]);
  ++faults;
}

static void check_alignment(void* memory) {
  uint64_t rax = SYS_getppid;
  __asm__ volatile(
      "sub $256, %%rsp\n\tpushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\tmovl $5, 4(%1)\n\tsyscall\n\t"
      "movl 1(%1), %%edx\n\tadd $256, %%rsp"
      : "+a"(rax)
      : "r"(memory)
      : "rcx", "rdx", "r11", "memory", "cc");
  CHECK_EQ(rax, getppid());
}

static long call32(uint64_t number, uint64_t first, uint64_t second, uint64_t third) {
  uint64_t rax = number;
  __asm__ volatile("int $0x80"
                   : "+a"(rax)
                   : "b"(first), "c"(second), "d"(third), "S"(0L), "D"(0L)
                   : "memory");
  return (int)rax;
}

int main(void) {
  words = map_shared(8 * kPage);
  int zeros[2];
  CHECK(pipe(zeros) == 0);
  CHECK(write(zeros[1], "0123456789", 10) == 10);
  struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  action.sa_sigaction = on_fault;
  CHECK(sigaction(SIGFPE, &action, NULL) == 0);
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  action.sa_sigaction = on_misaligned;
  CHECK(sigaction(SIGBUS, &action, NULL) == 0);
  signal(SIGUSR1, on_sent);
  words[100] = zeros[0];

  STEP("nothing", "nop");
  STEP("store", "movl $7, (%%rbx)");
  STEP("load and add", "movl (%%rbx), %%eax\n\taddl $3, 4(%%rbx)\n\tlock xaddl %%eax, 8(%%rbx)");
  STEP("call", "movl $186, %%eax\n\tsyscall\n\tmovl $0, %%eax");
  STEP("call that fails", "movl $3, %%eax\n\tmovl $-1, %%edi\n\tsyscall");
  STEP("call on shared memory",
       "xor %%eax, %%eax\n\tmovl 400(%%rbx), %%edi\n\tlea 40(%%rbx), %%rsi\n\tmovl $4, "
       "%%edx\n\tsyscall");
  STEP("repeated move", "rep movsl");
  STEP("repeated store", "rep stosb");
  STEP("repeated scan", "movl $1, %%eax\n\trepne scasl\n\tmovl $0, %%eax");
  STEP("stack in shared memory",
       "mov %%rsp, %%r12\n\tlea 32000(%%rbx), %%rsp\n\tpushq %%rcx\n\tpushfq\n\tpopq %%rax\n\tandl "
       "$0x100, %%eax\n\tpushfq\n\tpopfq\n\tmov %%r12, %%rsp");
  STEP("division fault",
       "movl $0, 12(%%rbx)\n\txor %%edx, %%edx\n\tdivl 12(%%rbx)\n\tmovl $0, %%eax");
  STEP("access fault", "mov $8, %%r12\n\tmov (%%r12), %%al\n\tnop\n\tmovl $0, %%eax");
  words[200] = getpid();
  STEP("signal",
       "movl 800(%%rbx), %%edi\n\tmovl $10, %%esi\n\tmovl $62, %%eax\n\tsyscall\n\tmovl $9, "
       "12(%%rbx)");
  STEP("old call", "mov %%rbx, %%r12\n\tmov $224, %%eax\n\tint $0x80\n\tmovl $0, %%eax");

  void* private = map_private(kPage);
  check_alignment(private);
  report("alignment checked");
  check_alignment((void*)words);
  report("alignment checked in shared memory");

  char* low = mmap((void*)0x10000000, kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(low == (void*)0x10000000);
  strcpy(low, "by the 32-bit table\n");
  CHECK_EQ(call32(20, 0, 0, 0), getpid());
  CHECK_EQ(call32(4, 1, (uint64_t)low, strlen(low)), (int)strlen(low));
  CHECK_EQ(call32(6, 12345, 0, 0), -EBADF);
  CHECK_EQ(call32(999, 0, 0, 0), -ENOSYS);
  words[5] = 55;
  CHECK_EQ(words[5], 55);
  CHECK_EQ(syscall(0x40000000 | SYS_getpid), syscall(0x40000000 | SYS_getpid));
  // Actions by the 32-bit table; nothing that was said before is lost.
  const uint32_t ignore[4] = {1, 0, 0, 0};
  memcpy(low, ignore, sizeof ignore);
  CHECK_EQ(call32(67, SIGUSR2, (uint64_t)low, 0), 0);
  raise(SIGUSR2);
  raise(SIGUSR1);
  words[6] = 66;
  CHECK_EQ(words[5] + words[6], 121);
  report("after the old calls");
  return 0;
}
