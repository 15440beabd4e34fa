// Runs every instruction of the table on private and on shared memory and compares; see insn.h.
//
// usage: VICTIM [plain | edge | seam | mixed]
//   plain  in the middle of a mapping, at all alignments
//   edge   beside an inaccessible page: some instructions fault, and must fault alike
//   seam   across the border of two different shared segments
//   mixed  across the border of a shared and a private mapping, both ways round
#include "insn.h"

#include <ucontext.h>

#include "victim.h"

enum { kLow = 512, kWindow = 1024, kMaxVector = 64 };

struct State {
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t flags;
  uint64_t mask[4];
  uint32_t mxcsr, reserved;
  unsigned char vector[8][kMaxVector] __attribute__((aligned(64)));
};

struct Fault {
  uint64_t signal, code, address, pc, write;
};

struct Outcome {
  struct State state;
  struct Fault fault;
  unsigned char memory[kWindow];
};

struct State insn_state;
uint64_t insn_code, insn_stack, insn_level;
// Empty x87 registers, default control words.
const uint32_t insn_fxsave[128]
    __attribute__((aligned(16))) = {0x37F, 0, 0, 0, 0, 0, 0x1F80, 0xFFFF};
void insn_enter(void);
void insn_leave(void);

// Loads insn_state, calls insn_code, stores insn_state. insn_level: 0 SSE, 1 AVX, 2 AVX-512.
__asm__(
    ".pushsection .text\n"
    ".macro each_gpr op\n"
    "  \\op rax 0\n \\op rbx 8\n \\op rcx 16\n \\op rdx 24\n \\op rsi 32\n \\op rdi 40\n \\op rbp "
    "48\n"
    "  \\op r8 56\n \\op r9 64\n \\op r10 72\n \\op r11 80\n \\op r12 88\n \\op r13 96\n \\op r14 "
    "104\n"
    "  \\op r15 112\n"
    ".endm\n"
    ".macro load_gpr reg at\n  mov insn_state+\\at(%rip), %\\reg\n.endm\n"
    ".macro save_gpr reg at\n  mov %\\reg, insn_state+\\at(%rip)\n.endm\n"
    ".macro vectors insn prefix load\n"
    "  .irp n,0,1,2,3,4,5,6,7\n"
    "  .if \\load\n  \\insn insn_state+192+64*\\n(%rip), %\\prefix\\n\n"
    "  .else\n  \\insn %\\prefix\\n, insn_state+192+64*\\n(%rip)\n  .endif\n  .endr\n"
    ".endm\n"
    "insn_enter:\n"
    "  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "  mov %rsp, insn_stack(%rip)\n"
    "  fxrstor insn_fxsave(%rip)\n"
    "  cmpq $1, insn_level(%rip)\n"
    "  je 1f\n  ja 2f\n"
    "  vectors movups xmm 1\n  jmp 3f\n"
    "1: vectors vmovups ymm 1\n  jmp 3f\n"
    "2: vectors vmovups zmm 1\n"
    "  kmovq insn_state+128(%rip), %k1\n  kmovq insn_state+136(%rip), %k2\n"
    "3: ldmxcsr insn_state+160(%rip)\n"
    "  each_gpr load_gpr\n"
    "  pushq insn_state+120(%rip)\n  popfq\n"
    "  call *insn_code(%rip)\n"
    "insn_leave:\n"
    "  each_gpr save_gpr\n"
    "  mov insn_stack(%rip), %rsp\n"
    "  pushfq\n  popq insn_state+120(%rip)\n"
    "  cld\n"
    "  stmxcsr insn_state+160(%rip)\n"
    "  cmpq $1, insn_level(%rip)\n"
    "  je 1f\n  ja 2f\n"
    "  vectors movups xmm 0\n  jmp 3f\n"
    "1: vectors vmovups ymm 0\n  vzeroupper\n  jmp 3f\n"
    "2: vectors vmovups zmm 0\n  vzeroupper\n"
    "  kmovq %k1, insn_state+128(%rip)\n  kmovq %k2, insn_state+136(%rip)\n"
    "3:\n"
    "  pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
    "  ret\n"
    ".popsection\n");
_Static_assert(offsetof(struct State, flags) == 120 && offsetof(struct State, mask) == 128 &&
                   offsetof(struct State, mxcsr) == 160 && offsetof(struct State, vector) == 192,
               "offsets used in the assembly");

static struct Fault fault;

// Notes the fault and goes on at insn_leave, which keeps the registers as they were at the fault.
static void on_fault(int signal, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  fault = (struct Fault){signal, info->si_code, (uint64_t)info->si_addr, registers[REG_RIP],
                         signal == SIGSEGV && info->si_code > 0 && info->si_code < 128
                             ? (registers[REG_ERR] >> 1 & 1)
                             : 0};
  registers[REG_RIP] = (greg_t)insn_leave;
  // With the program's own stack, whatever the instruction did to rsp; flags without RF, which says
  // nothing about the program.
  registers[REG_RSP] = insn_stack;
  registers[REG_EFL] &= ~0x10000LL;
}

static void handle_faults(void) {
  static unsigned char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
  CHECK(sigaltstack(&alternate, NULL) == 0);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  CHECK(sigaction(SIGBUS, &action, NULL) == 0);
  CHECK(sigaction(SIGFPE, &action, NULL) == 0);
  CHECK(sigaction(SIGILL, &action, NULL) == 0);  // of what this processor does not have
}

// Do the instruction and data pointers of x87 survive a signal? On AMD's processors they do only
// while an exception is pending, so that a program sees them or zeros, by chance.
static int pointers_survive;

static void step_over(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info;
  ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void look_at_pointers(void) {
  struct sigaction action = {.sa_sigaction = step_over, .sa_flags = SA_SIGINFO};
  uint32_t environment[7];
  CHECK(sigaction(SIGILL, &action, NULL) == 0);
  __asm__ volatile("fninit; fld1; ud2; fnstenv %0; fninit" : "=m"(environment));
  pointers_survive = environment[3] != 0;
}

// ---- Where the two twins live -----------------------------------------------------------------

enum PageKind { kShared, kOtherShared, kPrivate, kNone };

// Two adjacent pages and room on both sides.
struct Place {
  unsigned char* start;
  enum PageKind kind[2];
};

static void map_page(unsigned char* address, enum PageKind kind) {
  int protection = kind == kNone ? PROT_NONE : PROT_READ | PROT_WRITE;
  int flags = (kind == kShared || kind == kOtherShared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS |
              MAP_FIXED_NOREPLACE;
  CHECK(mmap(address, kPage, protection, flags, -1, 0) == address);
}

static struct Place make_place(uint64_t address, enum PageKind first, enum PageKind second) {
  struct Place place = {(unsigned char*)address, {first, second}};
  if (first == kShared && second == kShared) {
    CHECK(mmap(place.start, 2 * kPage, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == place.start);
    return place;
  }
  map_page(place.start, first);
  map_page(place.start + kPage, second);
  return place;
}

// The part of base-512 .. base+512 that is accessible, as offsets into the window.
static void accessible(const struct Place* place, const unsigned char* base, size_t* from,
                       size_t* to) {
  const unsigned char* low = place->start + (place->kind[0] == kNone ? kPage : 0);
  const unsigned char* high = place->start + (place->kind[1] == kNone ? kPage : 2 * kPage);
  const unsigned char* start = base - kLow;
  *from = low > start ? low - start : 0;
  *to = high < start + kWindow ? high - start : kWindow;
}

static void run(const struct InsnEntry* entry, const struct Place* place, size_t base_offset,
                const struct State* start, const unsigned char* memory, struct Outcome* outcome) {
  unsigned char* base = place->start + base_offset;
  size_t from, to;
  accessible(place, base, &from, &to);
  memcpy(base - kLow + from, memory + from, to - from);
  memset(&fault, 0, sizeof(fault));
  insn_state = *start;
  insn_state.rsi = insn_state.r13 = (uint64_t)base;
  insn_state.rdi = (uint64_t)base + 256;
  insn_state.rbp = (uint64_t)base + 64;
  insn_state.rbx = (uint64_t)base + 192;
  insn_state.r12 = (uint64_t)base + 128;
  insn_state.r14 = (uint64_t)base + 320;
  insn_code = (uint64_t)entry->code;
  insn_enter();
  outcome->state = insn_state;
  outcome->fault = fault;
  memset(outcome->memory, 0, kWindow);
  memcpy(outcome->memory + from, base - kLow + from, to - from);
}

static void randomize(struct State* state, unsigned char* memory, uint64_t* random) {
  memset(state, 0, sizeof(*state));
  uint64_t* words = (uint64_t*)memory;
  for (int i = 0; i < kWindow / 8; ++i) words[i] = next_random(random);
  uint64_t* registers = &state->rax;
  for (int i = 0; i < 15; ++i) registers[i] = next_random(random);
  state->r8 = (int64_t)(next_random(random) % 4001) - 2000;
  state->r9 = next_random(random) % 8;
  state->flags = 0x202 | (next_random(random) & 0x8D5);
  state->mask[0] = next_random(random);
  state->mask[1] = next_random(random);
  state->mxcsr = 0x1F80;
  uint64_t* vectors = (uint64_t*)state->vector;
  for (unsigned i = 0; i < sizeof(state->vector) / 8; ++i) vectors[i] = next_random(random);
  for (int i = 0; i < 16; ++i)
    ((int32_t*)state->vector[5])[i] = (int)(next_random(random) % 48) - 24;
  for (int i = 0; i < 8; ++i)
    ((int64_t*)state->vector[6])[i] = (int)(next_random(random) % 48) - 24;
}

static void explain(const char* what, const void* expected, const void* actual, size_t bytes) {
  const unsigned char *a = expected, *b = actual;
  for (size_t i = 0; i < bytes; ++i) {
    if (a[i] == b[i]) continue;
    size_t word = i & ~(size_t)7;
    fprintf(stderr, "  %s+%zu: private %016llx, shared %016llx\n", what, word,
            *(const unsigned long long*)(a + word), *(const unsigned long long*)(b + word));
    i = word + 7;
  }
}

// Of several bytes that it may not touch, an instruction of many elements names any: the same page
// is enough. Gathers and scatters work through their elements one by one.
static void forget_byte(const struct InsnEntry* entry, struct Outcome* outcome) {
  static const char* const many[] = {"mask",   "{%k",    "fnsave", "fnstenv",
                                     "frstor", "fxsave", "xsave",  "xrstor"};
  if (strstr(entry->text, "gather") || strstr(entry->text, "scatter")) return;
  for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); ++i)
    if (strstr(entry->text, many[i])) outcome->fault.address &= -(uint64_t)kPage;
}

// Fields of what fnsave and fnstenv store at base, in `plain` mode and in others.
static void forget_pointers(const struct InsnEntry* entry, struct Outcome* outcome) {
  if (pointers_survive) return;
  if (strstr(entry->text, "fnsave (%rsi)") || strstr(entry->text, "fnstenv (%rsi)"))
    memset(outcome->memory + kLow + 12, 0, 16);
}

static int differs(const struct InsnEntry* entry, const char* mode, size_t base_offset,
                   struct Outcome* expected, struct Outcome* actual) {
  forget_byte(entry, expected);
  forget_byte(entry, actual);
  forget_pointers(entry, expected);
  forget_pointers(entry, actual);
  if (memcmp(expected, actual, sizeof(*expected)) == 0) return 0;
  fprintf(stderr, "%s at page offset %zu: %s\n", mode, base_offset, entry->text);
  explain("state", &expected->state, &actual->state, sizeof(expected->state));
  explain("fault", &expected->fault, &actual->fault, sizeof(expected->fault));
  explain("base-512", expected->memory, actual->memory, kWindow);
  return 1;
}

struct Twins {
  const char* mode;
  enum PageKind expected[2], actual[2];
  int near;  // bases lie near the border of the two pages, else anywhere
  int runs;
};

static uint64_t checksum, runs, faults, failures;
extern const struct InsnEntry __start_insn_table[], __stop_insn_table[];

// Offsets of base from the border: operands lie at base-64..base+400, so that each of them is cut
// somewhere.
static size_t pick_base(const struct Twins* twins, int i, uint64_t* random) {
  if (!twins->near) return i == 0 ? kPage : kPage - 300 + next_random(random) % 600;
  static const int nice[] = {0, -1, -2, -3, -4, -7, -8, -15, -31, -63, -257, -259, -263, -271};
  if (i % 2 == 0) return kPage + nice[next_random(random) % (sizeof(nice) / sizeof(nice[0]))];
  return kPage + 32 - next_random(random) % 300;
}

// Both twins live at the same address one after the other, so that registers compare as they are.
// It has 32 bits, and is beyond the first GiB, in which the kernel puts the heap at random.
static void run_all(const struct Twins* twins, const enum PageKind kinds[2],
                    struct Outcome* outcomes, size_t* bases) {
  static struct State start;
  static unsigned char memory[kWindow] __attribute__((aligned(8)));
  uint64_t random = 0x5EED5EED5EED5EED;
  struct Place place = make_place(0x50000000, kinds[0], kinds[1]);
  for (const struct InsnEntry* entry = __start_insn_table; entry < __stop_insn_table; ++entry) {
    for (int i = 0; i < twins->runs; ++i) {
      randomize(&start, memory, &random);
      *bases = pick_base(twins, i, &random);
      run(entry, &place, *bases++, &start, memory, outcomes++);
    }
  }
  CHECK(munmap(place.start, 2 * kPage) == 0);
}

static void compare(const struct Twins* twins) {
  size_t count = (__stop_insn_table - __start_insn_table) * twins->runs;
  struct Outcome* expected = calloc(count, sizeof(*expected));
  struct Outcome* actual = calloc(count, sizeof(*actual));
  size_t* bases = calloc(count, sizeof(*bases));
  CHECK(expected && actual && bases);
  run_all(twins, twins->expected, expected, bases);
  run_all(twins, twins->actual, actual, bases);
  for (size_t i = 0; i < count; ++i) {
    const struct InsnEntry* entry = &__start_insn_table[i / twins->runs];
    failures += differs(entry, twins->mode, bases[i], &expected[i], &actual[i]);
    faults += expected[i].fault.signal != 0;
    checksum = mix(checksum, expected[i].fault.signal);
    for (int j = 0; j < kWindow / 8; ++j)
      checksum = mix(checksum, ((uint64_t*)expected[i].memory)[j]);
  }
  runs += count;
  free(expected);
  free(actual);
  free(bases);
}

static void compare_mode(const char* mode) {
  static const struct Twins table[] = {
      {"plain", {kPrivate, kPrivate}, {kShared, kShared}, 0, 3},
      {"edge", {kPrivate, kNone}, {kShared, kNone}, 1, 4},
      {"edge", {kNone, kPrivate}, {kNone, kShared}, 1, 3},
      {"seam", {kPrivate, kPrivate}, {kShared, kOtherShared}, 1, 4},
      {"mixed", {kPrivate, kPrivate}, {kShared, kPrivate}, 1, 3},
      {"mixed", {kPrivate, kPrivate}, {kPrivate, kShared}, 1, 3},
  };
  for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); ++i)
    if (strcmp(table[i].mode, mode) == 0) compare(&table[i]);
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "plain";
  __builtin_cpu_init();
  int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi");
  int avx2 = __builtin_cpu_supports("avx2");
  if ((insn_needs == kNeedsAvx512 && !avx512) || (insn_needs == kNeedsAvx2 && !avx2)) {
    say("skipped: the processor lacks the instructions\n");
    return 0;
  }
  insn_level = avx512 ? 2 : __builtin_cpu_supports("avx") ? 1 : 0;
  look_at_pointers();
  handle_faults();
  compare_mode(mode);
  CHECK(runs > 0);
  say("%s: %llu instructions, %llu runs, %llu faults, checksum %016llx\n", mode,
      (unsigned long long)(__stop_insn_table - __start_insn_table), (unsigned long long)runs,
      (unsigned long long)faults, (unsigned long long)checksum);
  return failures != 0;
}
