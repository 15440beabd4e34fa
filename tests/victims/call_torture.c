// Syscall instructions of every surrounding, executed for the first time by several threads at
// once, with signals and forks in between; what they leave in the registers, how they are
// interrupted, and how they are stepped through is known.
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "victim.h"

enum {
  kShapes = 8,
  kSlots = 29 * kShapes,
  kSlotBytes = 61,
  kThreads = 4,
  kRounds = 30,
  kForks = 4
};

// Each slot makes the call that its registers say and returns; `behind` of its shape is how far
// behind its first byte the syscall instruction ends. Its length is no multiple of anything, so
// that some lie across the ends of lines and of pages.
extern const unsigned char call_slots[];
__asm__(
    ".text\n"
    ".balign 64\n"
    "call_slots:\n"
    ".rept 29\n"
    // As glibc has it.
    "0: syscall\n cmp $-4096, %rax\n ja 1f\n ret\n 1: ret\n .fill 61 - (. - 0b), 1, 0xCC\n"
    // Nothing but padding follows.
    "0: nop\n syscall\n ret\n nopl 0(%rax)\n .fill 61 - (. - 0b), 1, 0xCC\n"
    // Another function follows, which is called too.
    "0: jmp 2f\n 1: syscall\n ret\n 3: nop\n ret\n 2: call 3b\n jmp 1b\n"
    " .fill 61 - (. - 0b), 1, 0xCC\n"
    // A branch is in the way.
    "0: syscall\n test %eax, %eax\n js 1f\n nop\n ret\n 1: ret\n .fill 61 - (. - 0b), 1, 0xCC\n"
    // A jump, backwards.
    "0: jmp 2f\n 1: nop\n ret\n 2: syscall\n jmp 1b\n .fill 61 - (. - 0b), 1, 0xCC\n"
    // What is behind it is jumped to from elsewhere all the time.
    "0: jmp 2f\n 1: syscall\n 3: nop\n nop\n nop\n nop\n ret\n 2: call 3b\n jmp 1b\n"
    " .fill 61 - (. - 0b), 1, 0xCC\n"
    // An address relative to the instruction.
    "0: syscall\n cmpb $0xCC, 1f(%rip)\n jne 2f\n ret\n 2: ud2\n 1: .byte 0xCC\n"
    " .fill 61 - (. - 0b), 1, 0xCC\n"
    // The stack.
    "0: syscall\n push %rax\n pop %rax\n push %rax\n pop %rax\n ret\n .fill 61 - (. - 0b), 1, "
    "0xCC\n"
    ".endr\n");
static const int behind[kShapes] = {2, 3, 4, 2, 6, 4, 2, 2};

// A call with all registers known.
struct Registers {
  uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, rcx, r11, flags;
};
extern void call_with(struct Registers* registers, const void* code);
__asm__(
    ".text\n"
    "call_with:\n"
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "push %rdi\n push %rsi\n mov %rdi, %rcx\n"
    "pushq 120(%rcx)\n popfq\n"
    "mov 0(%rcx), %rax\n mov 8(%rcx), %rdi\n mov 16(%rcx), %rsi\n mov 24(%rcx), %rdx\n"
    "mov 32(%rcx), %r10\n mov 40(%rcx), %r8\n mov 48(%rcx), %r9\n mov 56(%rcx), %rbx\n"
    "mov 64(%rcx), %rbp\n mov 72(%rcx), %r12\n mov 80(%rcx), %r13\n mov 88(%rcx), %r14\n"
    "mov 96(%rcx), %r15\n"
    "call *(%rsp)\n"
    "push %rcx\n mov 16(%rsp), %rcx\n"
    "mov %rax, 0(%rcx)\n mov %rdi, 8(%rcx)\n mov %rsi, 16(%rcx)\n mov %rdx, 24(%rcx)\n"
    "mov %r10, 32(%rcx)\n mov %r8, 40(%rcx)\n mov %r9, 48(%rcx)\n mov %rbx, 56(%rcx)\n"
    "mov %rbp, 64(%rcx)\n mov %r12, 72(%rcx)\n mov %r13, 80(%rcx)\n mov %r14, 88(%rcx)\n"
    "mov %r15, 96(%rcx)\n mov %r11, 112(%rcx)\n"
    "popq 104(%rcx)\n"
    "pop %rsi\n pop %rdi\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
    "cld\n ret\n");

static const unsigned char* slot_at(int slot) { return call_slots + slot * kSlotBytes; }

// Flags that a program may set: overflow, direction and sign among them.
static const uint64_t flag_sets[] = {0x202, 0x202 | 0x8D5, 0x202 | 0x400, 0x202 | 0x41};

static int64_t call(int slot, long number, uint64_t a, uint64_t b, uint64_t c) {
  struct Registers in = {(uint64_t)number, a, b, c, 0, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0};
  in.flags = flag_sets[slot % 4];
  struct Registers out = in;
  call_with(&out, slot_at(slot));
  CHECK_EQ(out.rcx, (uint64_t)slot_at(slot) + behind[slot % kShapes]);
  // The slots that run other code before the call leave other status flags.
  CHECK_EQ(out.r11 & 0x400, in.flags & 0x400);
  if (slot % kShapes == 0) CHECK_EQ(out.r11, in.flags);
  CHECK_EQ(memcmp(&out.rdi, &in.rdi, 12 * sizeof(uint64_t)), 0);
  return (int64_t)out.rax;
}

// ---- All at once --------------------------------------------------------------------------------

static int null_file, zero_file;
static atomic_ulong calls;
static __thread int in_handler_too;

static void use(int slot, pid_t pid) {
  char byte = 'x';
  CHECK_EQ(call(slot, SYS_getpid, 0, 0, 0), pid);
  CHECK_EQ(call(slot, SYS_write, (uint64_t)null_file, (uint64_t)&byte, 1), 1);
  CHECK_EQ(call(slot, SYS_read, (uint64_t)zero_file, (uint64_t)&byte, 1), 1);
  CHECK_EQ(byte, 0);
  CHECK_EQ(call(slot, SYS_close, 1234567, 0, 0), -EBADF);
  atomic_fetch_add(&calls, 4);
}

static volatile sig_atomic_t signals;
static void on_signal(int signal) {
  (void)signal;
  const int saved = errno;
  if (in_handler_too) use(++signals % kSlots, getpid());
  errno = saved;
}

static void run(int direction) {
  const pid_t pid = getpid();
  in_handler_too = 1;
  for (int round = 0; round < kRounds; ++round)
    for (int i = 0; i < kSlots; ++i) use(direction > 0 ? i : kSlots - 1 - i, pid);
  in_handler_too = 0;
}

static void* run_thread(void* raw) {
  run((intptr_t)raw % 2 ? 1 : -1);
  return NULL;
}

// By a slot, and by libc.
static void fork_once(int slot, int by_slot) {
  const pid_t child = by_slot ? (pid_t)call(slot, SYS_fork, 0, 0, 0) : fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (by_slot)
      CHECK_EQ(call(slot, SYS_getpid, 0, 0, 0), syscall(SYS_getpid));
    else
      run(1);
    _exit(0);
  }
  int status;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

static void all_at_once(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
  const struct itimerval every = {{0, 1100}, {0, 1100}}, never = {{0, 0}, {0, 0}};
  CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
  pthread_t ids[kThreads];
  for (int i = 0; i < kThreads; ++i)
    CHECK_EQ(pthread_create(&ids[i], NULL, run_thread, (void*)(intptr_t)i), 0);
  for (int i = 0; i < kForks; ++i) fork_once(i * 7, i % 2);
  for (int i = 0; i < kThreads; ++i) CHECK_EQ(pthread_join(ids[i], NULL), 0);
  CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
  CHECK(calls >= 4ul * kThreads * kRounds * kSlots);
}

// ---- Interrupted --------------------------------------------------------------------------------

enum { kWaits = 3 * kShapes };
static int ends[2];
static atomic_int handled, interrupted, at_call, left;
static atomic_int wait_mode;  // SA_RESTART, or 0, or -1: the handler leaves by siglongjmp
static sigjmp_buf before_call;

static void on_wait_signal(int signal) {
  (void)signal;
  atomic_fetch_add(&handled, 1);
  if (wait_mode == -1) {
    atomic_fetch_add(&left, 1);
    siglongjmp(before_call, 1);
  }
}

static void* waits(void* raw) {
  (void)raw;
  char byte;
  for (volatile int i = 0; i < kWaits; ++i) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigsetjmp(before_call, 1);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    int64_t got;
    do {
      atomic_store(&at_call, i + 1);
      got = call(i, SYS_read, (uint64_t)ends[0], (uint64_t)&byte, 1);
      if (got == -EINTR) atomic_fetch_add(&interrupted, 1);
    } while (got == -EINTR);
    CHECK_EQ(got, 1);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
  }
  return NULL;
}

static void be_interrupted(void) {
  CHECK_EQ(pipe(ends), 0);
  pthread_t id;
  int expected = 0, jumps = 0;
  CHECK_EQ(pthread_create(&id, NULL, waits, NULL), 0);
  for (int i = 0; i < kWaits; ++i) {
    const int modes[] = {SA_RESTART, 0, -1};
    while (atomic_load(&at_call) != i + 1) usleep(100);
    usleep(3000);  // it is in the call by now
    wait_mode = modes[i % 3];
    struct sigaction action = {.sa_handler = on_wait_signal};
    action.sa_flags = wait_mode == SA_RESTART ? SA_RESTART : 0;
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    for (int count = 0; count < 3; ++count) {
      const int before = handled;
      CHECK_EQ(pthread_kill(id, SIGUSR1), 0);
      while (atomic_load(&handled) == before) usleep(100);
      usleep(2000);
    }
    expected += wait_mode == 0 ? 3 : 0;
    jumps += wait_mode == -1 ? 3 : 0;
    CHECK_EQ(write(ends[1], "x", 1), 1);
  }
  CHECK_EQ(pthread_join(id, NULL), 0);
  CHECK_EQ(left, jumps);
  // On a busy machine the thread may be interrupted before it is in the call.
  CHECK(interrupted <= expected && interrupted >= expected / 2);
  say("handled %d\n", handled);
}

// ---- Stepped through ----------------------------------------------------------------------------

static volatile uint64_t steps, places;
static void on_step(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info;
  const uint64_t ip = (uint64_t)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
  if (ip - (uint64_t)call_slots >= kSlots * kSlotBytes) return;
  ++steps;
  places = places * 31 + (ip - (uint64_t)call_slots);
}

static void be_stepped(void) {
  struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
  CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
  for (int slot = 0; slot < kSlots; slot += 5) {
    struct Registers registers = {SYS_getpid};
    registers.flags = 0x302;
    call_with(&registers, slot_at(slot));
    __asm__ volatile("pushfq\n andq $-257, (%%rsp)\n popfq" ::: "cc", "memory");
    CHECK_EQ(registers.rax, (uint64_t)getpid());
  }
  say("steps %llu at %llx\n", (unsigned long long)steps, (unsigned long long)places);
}

// ---- Rewritten ----------------------------------------------------------------------------------

// The code is as it was when the program may write it, and goes on when it has.
static void be_rewritten(void) {
  unsigned char* begin = (unsigned char*)((uintptr_t)call_slots & ~(uintptr_t)(kPage - 1));
  const size_t bytes = (size_t)(slot_at(kSlots) - begin);
  CHECK_EQ(mprotect(begin, bytes, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  for (int slot = kShapes; slot < kSlots; ++slot)
    CHECK_EQ(memcmp(slot_at(slot), slot_at(slot % kShapes), kSlotBytes), 0);
  for (int slot = 0; slot < kSlots; ++slot) {
    CHECK_EQ(memcmp(slot_at(slot) + behind[slot % kShapes] - 2, "\x0F\x05", 2), 0);
    ((unsigned char*)(uintptr_t)slot_at(slot))[kSlotBytes - 1] = 0x90;
  }
  CHECK_EQ(mprotect(begin, bytes, PROT_READ | PROT_EXEC), 0);
  for (int i = 0; i < 20 * kSlots; ++i) use(i % kSlots, getpid());
}

int main(void) {
  null_file = open("/dev/null", O_WRONLY);
  zero_file = open("/dev/zero", O_RDONLY);
  CHECK(null_file >= 0 && zero_file >= 0);
  be_interrupted();
  all_at_once();
  be_stepped();
  be_rewritten();
  say("call_torture\n");
  return 0;
}
