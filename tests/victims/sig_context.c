// Handlers that change the interrupted registers: skip an instruction that faults on shared memory,
// give it another register, another address, another vector register.
#include <ucontext.h>

#include "victim.h"

static char* page;
static volatile int mode, faults;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal;
  ucontext_t* c = context;
  greg_t* registers = c->uc_mcontext.gregs;
  ++faults;
  CHECK(info->si_addr == page + kPage + 8);
  CHECK_EQ(registers[REG_R15], 0x1515151515151515);
  CHECK_EQ(registers[REG_RDX], 0xDDDD);
  CHECK_EQ(c->uc_mcontext.fpregs->_xmm[3].element[0], 0x33333333);
  if (mode == 0) {  // skip: all loads and stores below are 4 bytes long
    registers[REG_RIP] += 4;
    registers[REG_RAX] = 0xABCDEF;
    c->uc_mcontext.fpregs->_xmm[3].element[1] = 0x44444444;
    registers[REG_EFL] |= 1;
  } else {  // elsewhere
    registers[REG_RSI] = (greg_t)page;
  }
}

static void on_trap(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info;
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  *(volatile uint64_t*)page += 1;
  registers[REG_RAX] += *(volatile uint64_t*)page;
}

struct Result {
  uint64_t rax, rsi;
  uint32_t xmm[4];
  unsigned char carry;
};

static struct Result load(int store) {
  struct Result result;
  static const uint32_t threes[4] __attribute__((aligned(16))) = {0x33333333, 3, 3, 3};
  register uint64_t rax __asm__("rax") = 1;
  register uint64_t rsi __asm__("rsi") = (uint64_t)page + kPage;
  register uint64_t r15 __asm__("r15") = 0x1515151515151515;
  register uint64_t rdx __asm__("rdx") = 0xDDDD;
  __asm__ volatile(
      "movaps %[threes], %%xmm3\n\t"
      "testl %[store], %[store]\n\t"
      "jnz 1f\n\t"
      "movq 8(%%rsi), %%rax\n\t"
      "jmp 2f\n"
      "1:\n\t"
      "clc\n\t"
      "movq %%rax, 8(%%rsi)\n"
      "2:\n\t"
      "setc %[carry]\n\t"
      "movups %%xmm3, %[xmm]\n"
      : "+r"(rax), "+r"(rsi), [carry] "=r"(result.carry), [xmm] "=m"(result.xmm)
      : "r"(r15), "r"(rdx), [store] "r"(store), [threes] "m"(threes)
      : "xmm3", "memory", "cc");
  result.rax = rax;
  result.rsi = rsi;
  return result;
}

int main(void) {
  page = map_shared(2 * kPage);
  *(volatile uint64_t*)(page + 8) = 0x8888;
  CHECK(mprotect(page + kPage, kPage, PROT_NONE) == 0);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  action.sa_sigaction = on_trap;
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  struct Result result = load(0);
  CHECK_EQ(result.rax, 0xABCDEF);
  CHECK_EQ(result.xmm[1], 0x44444444);
  CHECK_EQ(result.carry, 1);
  result = load(1);
  CHECK_EQ(result.carry, 1);
  mode = 1;
  result = load(0);
  CHECK_EQ(result.rax, 0x8888);
  CHECK_EQ(result.rsi, (uint64_t)page);
  result = load(1);
  CHECK_EQ(*(volatile uint64_t*)(page + 8), 1);
  CHECK_EQ(faults, 4);
  uint64_t rax = 100;
  for (int i = 0; i < 3; ++i) __asm__ volatile("int3" : "+a"(rax) : : "memory");
  CHECK_EQ(rax, 106);
  say("sig_context %d\n", faults);
}
