// Signal frames that have no place: a handler's stack that is too small, not there, or not
// writable, and frames that rt_sigreturn cannot read. The kernel raises SIGSEGV then, whose own
// handler may have a better stack. Where the numbers depend on the processor they are printed.
#include <ucontext.h>

#include "victim.h"

enum { kAltBytes = 64 * 1024, kBelow = 32 * 1024 };

static volatile int* shared;  // what a child tells: read by main after its end
static char* alt;             // an alternate stack with kBelow bytes below it

static void install_flags(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
  CHECK(sigaction(signal, &action, NULL) == 0);
}

static void use_alt(size_t bytes, int flags) {
  stack_t stack = {.ss_sp = alt + kBelow, .ss_size = bytes, .ss_flags = flags};
  CHECK(sigaltstack(&stack, NULL) == 0);
}

static void tell_and_leave(int signal, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  char here;
  shared[0] = signal;
  shared[1] = info->si_code;
  shared[2] = info->si_addr == NULL;
  shared[3] = (int)registers[REG_TRAPNO];
  shared[4] = (int)registers[REG_ERR];
  shared[5] = &here > alt && &here < alt + kBelow + kAltBytes;
  _exit(7);
}

static void never(int signal, siginfo_t* info, void* context) {
  (void)info, (void)context;
  shared[0] = 100 + signal;
  _exit(8);
}

static void run(const char* name, void (*body)(void*), void* argument) {
  memset((void*)shared, 0, 64);
  int status = wait_status(child(body, argument));
  say("%s: %s %d, told %d %d %d %d %d %d\n", name, WIFSIGNALED(status) ? "signal" : "exit",
      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), shared[0], shared[1], shared[2],
      shared[3], shared[4], shared[5]);
}

// ---- Stacks that cannot be written --------------------------------------------------------------

// Goes on with this stack pointer and makes the signal happen there.
static void signal_at(char* stack, int signal) {
  if (signal == SIGILL)
    __asm__ volatile("mov %0, %%rsp\n\tud2" ::"r"(stack) : "memory");
  else if (signal == SIGFPE)
    __asm__ volatile(
        "mov %0, %%rsp\n\txor %%edx, %%edx\n\txor %%eax, %%eax\n\tdivl %%edx" ::"r"(stack)
        : "memory", "eax", "edx");
  else if (signal == SIGSEGV)
    __asm__ volatile("mov %0, %%rsp\n\tmovl $1, 8" ::"r"(stack) : "memory");
  else
    __asm__ volatile("mov %0, %%rsp\n\tsyscall" ::"r"(stack), "a"(SYS_kill), "D"(getpid()),
                     "S"(signal)
                     : "rcx", "r11", "memory");
  __builtin_unreachable();
}

// Its end; nothing can be read behind it.
static char* bad_stack(int traced) {
  char* memory = mmap(NULL, 3 * kPage, traced ? PROT_READ : PROT_NONE,
                      (traced ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  CHECK(mprotect(memory + 2 * kPage, kPage, PROT_NONE) == 0);
  return memory + 2 * kPage;
}

static void told(void* signal) {
  use_alt(kAltBytes, 0);
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  install_flags((int)(long)signal, never, 0);
  signal_at(bad_stack(0), (int)(long)signal);
}
static void told_traced(void* signal) {
  use_alt(kAltBytes, 0);
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  install_flags((int)(long)signal, never, 0);
  signal_at(bad_stack(1), (int)(long)signal);
}
static void told_twice(void* unused) {  // its own stack is as bad
  (void)unused;
  install_flags(SIGSEGV, never, 0);
  install_flags(SIGUSR1, never, 0);
  signal_at(bad_stack(0), SIGUSR1);
}
static void segv_itself(void* unused) {
  (void)unused;
  install_flags(SIGSEGV, never, 0);
  signal_at(bad_stack(0), SIGSEGV);
}
static void segv_sent(void* unused) {
  (void)unused;
  install_flags(SIGSEGV, never, 0);
  __asm__ volatile("mov %0, %%rsp\n\tsyscall" ::"r"(bad_stack(0)), "a"(SYS_kill), "D"(getpid()),
                   "S"(SIGSEGV)
                   : "rcx", "r11", "memory");
}
static void segv_blocked(void* unused) {
  (void)unused;
  use_alt(kAltBytes, 0);
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  install_flags(SIGUSR1, never, 0);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGSEGV);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  signal_at(bad_stack(0), SIGUSR1);
}
static void segv_ignored(void* unused) {
  (void)unused;
  signal(SIGSEGV, SIG_IGN);
  install_flags(SIGUSR1, never, 0);
  signal_at(bad_stack(0), SIGUSR1);
}
static void no_restorer(void* unused) {
  (void)unused;
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    unsigned long mask;
  } action = {(void*)never, SA_SIGINFO, NULL, 0};
  use_alt(kAltBytes, 0);
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  CHECK(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8) == 0);
  raise(SIGUSR1);
}

// ---- Alternate stacks that are too small --------------------------------------------------------

static void fits(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  for (int i = 0; i < kBelow; ++i)
    if (alt[i] != 0x5A) _exit(9);
  _exit(7);
}

static void try_size(void* bytes) {
  use_alt((size_t)bytes, 0);
  install_flags(SIGUSR1, fits, SA_ONSTACK);
  raise(SIGUSR1);
}

// The smallest stack on which a handler starts, and what happens below.
static void smallest_stack(void) {
  long low = 2048, high = kAltBytes;
  while (high - low > 8) {
    const long middle = (low + high) / 2 & ~7L;
    const int status = wait_status(child(try_size, (void*)middle));
    CHECK(status == SIGSEGV || status == (SIGSEGV | 0x80) || status == 7 << 8);
    *(status == 7 << 8 ? &high : &low) = middle;
  }
  say("a handler needs a stack of %ld bytes\n", high);
}

static volatile int depth;
static void nest(int signal, siginfo_t* info, void* context) {
  (void)info, (void)context;
  shared[0] = ++depth;
  raise(signal);
}
static void nested_overflow(void* handle_segv) {
  use_alt(40 * 1024, 0);
  install_flags(SIGUSR1, nest, SA_ONSTACK | SA_NODEFER);
  if (handle_segv) install_flags(SIGSEGV, never, SA_ONSTACK);
  raise(SIGUSR1);
}

// ---- Frames that cannot be read -----------------------------------------------------------------

static int spoiled;
static void spoil(int signal, siginfo_t* info, void* raw) {
  (void)signal, (void)info;
  ucontext_t* context = raw;
  char* fp = (char*)context->uc_mcontext.fpregs;
  const uint32_t xstate_bytes = *(uint32_t*)(fp + 480);
  switch (spoiled) {
    case 0:
      context->uc_mcontext.fpregs = (void*)8;
      break;
    case 1:
      *(uint32_t*)(fp + 24) |= 1u << 31;  // a reserved bit of mxcsr
      break;
    case 2:
      *(uint64_t*)(fp + 512) |= 1ull << 62;  // a component that does not exist
      break;
    case 3:
      *(uint64_t*)(fp + 520) = 1ull << 63;  // not this format
      break;
    case 4:
      *(uint32_t*)(fp + 464) = 0;  // no extended state: is no error
      break;
    case 5:
      *(uint32_t*)(fp + xstate_bytes) = 0;  // the same
      break;
    case 6:
      context->uc_mcontext.fpregs = NULL;  // nothing to restore: is none either
      break;
  }
}
static void bad_frame(void* which) {
  use_alt(kAltBytes, 0);
  spoiled = (int)(long)which;
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  install_flags(SIGUSR1, spoil, 0);
  raise(SIGUSR1);
  _exit(20);
}
static void no_frame(void* stack) {
  use_alt(kAltBytes, 0);
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  __asm__ volatile("mov %0, %%rsp\n\tsyscall" ::"r"(stack), "a"(SYS_rt_sigreturn)
                   : "rcx", "r11", "memory");
}
static void block_segv_and_spoil(int signal, siginfo_t* info, void* raw) {
  spoiled = 0;
  sigaddset(&((ucontext_t*)raw)->uc_sigmask, SIGSEGV);
  spoil(signal, info, raw);
}
static void bad_frame_that_blocks(void* unused) {
  (void)unused;
  use_alt(kAltBytes, 0);
  install_flags(SIGSEGV, tell_and_leave, SA_ONSTACK);
  install_flags(SIGUSR1, block_segv_and_spoil, 0);
  raise(SIGUSR1);
}

// ---- What sigaltstack says ----------------------------------------------------------------------

static void ask(const char* when) {
  stack_t stack;
  CHECK(sigaltstack(NULL, &stack) == 0);
  say("%s: flags %x, %s, %zu bytes\n", when, stack.ss_flags, stack.ss_sp ? "a stack" : "none",
      stack.ss_size);
}
static void ask_inside(int signal, siginfo_t* info, void* raw) {
  (void)info;
  ucontext_t* context = raw;
  ask(signal == SIGUSR1 ? "in a handler on it" : "in a handler beside it");
  say("frame: flags %x, %zu bytes\n", context->uc_stack.ss_flags, context->uc_stack.ss_size);
  stack_t other = {.ss_sp = alt, .ss_size = kBelow};
  int result = sigaltstack(&other, NULL);
  say("change: %d, errno %d\n", result, result ? errno : 0);
}
static void try_stack(size_t bytes, int flags) {
  stack_t stack = {.ss_sp = alt + kBelow, .ss_size = bytes, .ss_flags = flags};
  int result = sigaltstack(&stack, NULL);
  say("%zu bytes, flags %x: %d, errno %d\n", bytes, flags, result, result ? errno : 0);
  if (!result) ask("now");
}

int main(void) {
  shared = map_shared(kPage);
  alt = map_private(kBelow + kAltBytes);
  memset(alt, 0x5A, kBelow + kAltBytes);

  run("sent, no stack", told, (void*)SIGUSR1);
  run("illegal, no stack", told, (void*)SIGILL);
  run("division, no stack", told, (void*)SIGFPE);
  run("sent, read-only shared stack", told_traced, (void*)SIGUSR1);
  run("illegal, read-only shared stack", told_traced, (void*)SIGILL);
  run("no stack for SIGSEGV either", told_twice, NULL);
  run("SIGSEGV by a fault, no stack", segv_itself, NULL);
  run("SIGSEGV sent, no stack", segv_sent, NULL);
  run("SIGSEGV blocked", segv_blocked, NULL);
  run("SIGSEGV ignored", segv_ignored, NULL);
  run("no restorer", no_restorer, NULL);
  smallest_stack();
  run("nested too deep", nested_overflow, NULL);
  run("nested too deep, SIGSEGV handled", nested_overflow, (void*)1);
  for (long i = 0; i < 7; ++i) run("frame spoiled", bad_frame, (void*)i);
  run("frame blocks SIGSEGV", bad_frame_that_blocks, NULL);
  run("no frame", no_frame, (void*)64);
  run("no frame, traced", no_frame, bad_stack(1) - 64);

  ask("at first");
  const size_t sizes[] = {0, 2047, 2048, 4096, kAltBytes};
  const int flags[] = {0, SS_ONSTACK, SS_DISABLE, SS_DISABLE | (1 << 31), 1 << 31, 4};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    for (size_t j = 0; j < sizeof flags / sizeof *flags; ++j) try_stack(sizes[i], flags[j]);
  install_flags(SIGUSR1, ask_inside, SA_ONSTACK);
  install_flags(SIGUSR2, ask_inside, 0);
  const int modes[] = {0, 1 << 31};
  for (int i = 0; i < 2; ++i) {
    use_alt(kAltBytes, modes[i]);
    raise(SIGUSR1);
    ask("after it");
    raise(SIGUSR2);
    ask("after the other");
  }
  return 0;
}
