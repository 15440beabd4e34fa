// Gathers and scatters whose elements lie in several shared mappings, in private memory, and where
// they fault: each fault's address, and the mask and data at that moment, are printed; the handler
// then makes the place good, and the instruction goes on. Also addresses that are none, faults that
// kill, the trap flag, and signals at any moment. (What single forms do, with all their registers,
// is in insn_*.c.)
#include <cpuid.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <ucontext.h>

#include "victim.h"

// One page each, in this order. Word i of them holds kPattern + i.
enum { kSharedA, kPrivate, kSharedB, kGuard, kForbidden, kBeyondEnd, kSharedC, kPages };
enum { kPattern = 0x4A000000 };

static unsigned char* memory;
static int file;

static void map_page(int page, int protection, int flags, int fd) {
  unsigned char* at = memory + page * kPage;
  CHECK(mmap(at, kPage, protection, flags | MAP_FIXED, fd, 0) == at);
}

static void fill(int page) {
  for (int i = 0; i < kPage / 4; ++i)
    ((volatile uint32_t*)(memory + page * kPage))[i] = kPattern + page * (kPage / 4) + i;
}

// The pages as they are before each test: three of them fault.
static void map_pages(void) {
  int memfd = memfd_create("gather", 0);
  file = make_file("gather.data", 0);
  CHECK(ftruncate(memfd, kPage) == 0);
  const int both = PROT_READ | PROT_WRITE;
  map_page(kSharedA, both, MAP_SHARED | MAP_ANONYMOUS, -1);
  map_page(kPrivate, both, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map_page(kSharedB, both, MAP_SHARED, memfd);
  map_page(kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map_page(kForbidden, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1);
  map_page(kBeyondEnd, both, MAP_SHARED, file);
  map_page(kSharedC, both, MAP_SHARED | MAP_ANONYMOUS, -1);
  close(memfd);
  for (int page = 0; page < kPages; ++page)
    if (page != kGuard && page != kForbidden && page != kBeyondEnd) fill(page);
}

static void make_good(int page) {
  if (page == kBeyondEnd)
    CHECK(ftruncate(file, kPage) == 0);
  else
    CHECK(mprotect(memory + page * kPage, kPage, PROT_READ | PROT_WRITE) == 0);
  fill(page);
}

// ---- Registers in a signal frame ----------------------------------------------------------------

static unsigned char* xsave_area(void* context) {
  return (unsigned char*)((ucontext_t*)context)->uc_mcontext.fpregs;
}

// Where state component i lies in it; those whose bit is clear are in their initial state.
static unsigned char* component(void* context, int i) {
  unsigned bytes, offset, flags, reserved;
  __cpuid_count(0xD, i, bytes, offset, flags, reserved);
  unsigned char* area = xsave_area(context);
  if (*(uint64_t*)(area + 512) >> i & 1) return area + (i == 1 ? 160 : offset);
  return NULL;
}

static void read_part(void* to, void* context, int i, size_t offset, size_t bytes) {
  unsigned char* from = component(context, i);
  memset(to, 0, bytes);
  if (from) memcpy(to, from + offset, bytes);
}

static void print_words(const char* what, const uint32_t* words, int count) {
  char text[256];
  int length = 0;
  for (int i = 0; i < count; ++i)
    length += snprintf(text + length, sizeof(text) - length, " %08x", words[i]);
  say("  %s:%s\n", what, text);
}

static void print_ymm(const char* what, void* context, int number) {
  uint32_t words[8];
  read_part(words, context, 1, number * 16, 16);
  read_part(words + 4, context, 2, number * 16, 16);
  print_words(what, words, 8);
}

static void print_zmm31(void* context) {
  uint32_t words[16];
  read_part(words, context, 7, 15 * 64, 64);
  print_words("zmm31", words, 16);
}

static void print_k3(void* context) {
  uint64_t mask;
  read_part(&mask, context, 5, 3 * 8, 8);
  say("  k3: %016llx\n", (unsigned long long)mask);
}

// ---- Handlers -----------------------------------------------------------------------------------

enum { kAvx2Gather, kAvx512Gather, kAvx512Scatter, kNoAddress } test;
static int faults;

static void on_fault(int signal, siginfo_t* info, void* context) {
  ++faults;
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  long offset = (unsigned char*)info->si_addr - memory;
  if (test == kNoAddress) {
    // Nothing can be made good: the handler takes the element, qword 1, out of the mask.
    say(" signal %d code %d at %p, trap %d\n", signal, info->si_code, info->si_addr,
        (int)registers[REG_TRAPNO]);
    print_ymm("mask", context, 4);
    memset(component(context, 1) + 4 * 16 + 8, 0, 8);
    return;
  }
  say(" signal %d code %d at page %ld+%ld, write %d\n", signal, info->si_code, offset / kPage,
      offset % kPage, (int)registers[REG_ERR] >> 1 & 1);
  if (test == kAvx2Gather)
    print_ymm("mask", context, 4), print_ymm("data", context, 5);
  else
    print_zmm31(context), print_k3(context);
  CHECK(offset >= 0 && offset < kPages * kPage);
  make_good(offset / kPage);
}

static void handle(int signal, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
  CHECK(sigaction(signal, &action, NULL) == 0);
}

// ---- Faults in the middle -----------------------------------------------------------------------

// Offsets: one element in each mapping, one across a border that two of them share, one of them
// twice.
static const int32_t offsets[16] __attribute__((aligned(64))) = {8,
                                                                 kPrivate* kPage + 16,
                                                                 kSharedB* kPage + 32,
                                                                 kGuard* kPage + 4,
                                                                 kSharedC* kPage + 64,
                                                                 kForbidden* kPage + 12,
                                                                 kBeyondEnd* kPage + 20,
                                                                 kPrivate* kPage - 2,
                                                                 12,
                                                                 kSharedC* kPage - 3,
                                                                 kSharedB* kPage + 40,
                                                                 kSharedB* kPage - 1,
                                                                 100,
                                                                 100,
                                                                 kPrivate* kPage + 80,
                                                                 kSharedC* kPage + 4092};

static uint32_t word_at(int32_t offset) {
  uint32_t word;
  memcpy(&word, memory + offset, 4);
  return word;
}

static void avx2_faults(void) {
  static const uint32_t selected[8]
      __attribute__((aligned(32))) = {0x80000000, 0xFFFFFFFF, 0x80000001, 0x90000000,
                                      0x7FFFFFFF, 0xF0000000, 0x80000000, 0xC0000000};
  uint32_t data[8], mask[8];
  memset(data, 0xDD, sizeof(data));
  test = kAvx2Gather;
  map_pages();
  __asm__ volatile(
      "vmovdqu (%2), %%ymm4\n\tvmovdqu (%0), %%ymm5\n\tvmovdqu (%3), %%ymm6\n\t"
      "vpgatherdd %%ymm4, (%4,%%ymm6,1), %%ymm5\n\t"
      "vmovdqu %%ymm4, (%1)\n\tvmovdqu %%ymm5, (%0)\n\tvzeroupper"
      :
      : "r"(data), "r"(mask), "r"(selected), "r"(offsets), "r"(memory)
      : "memory", "xmm4", "xmm5", "xmm6");
  print_words("gathered", data, 8);
  for (int i = 0; i < 8; ++i) {
    CHECK_EQ(mask[i], 0);
    CHECK_EQ(data[i], selected[i] >> 31 ? word_at(offsets[i]) : 0xDDDDDDDD);
  }
  CHECK_EQ(faults, 3);
}

// An element at an address that is none: a general protection fault. The elements around it are
// done.
static void avx2_no_address(void) {
  static const int64_t indices[4] __attribute__((aligned(32))) = {8, 1ll << 60, 2 * kPage + 16, 24};
  uint64_t data[4] = {1, 2, 3, 4}, all[4], expected[4];
  memset(all, 0xFF, sizeof(all));
  test = kNoAddress;
  map_pages();
  for (int i = 0; i < 4; ++i)
    if (i != 1) memcpy(&expected[i], memory + indices[i], 8);
  __asm__ volatile(
      "vmovdqu (%1), %%ymm4\n\tvmovdqu (%0), %%ymm5\n\tvmovdqu (%2), %%ymm6\n\t"
      "vpgatherqq %%ymm4, (%3,%%ymm6,1), %%ymm5\n\tvmovdqu %%ymm5, (%0)\n\tvzeroupper"
      :
      : "r"(data), "r"(all), "r"(indices), "r"(memory)
      : "memory", "xmm4", "xmm5", "xmm6");
  expected[1] = 2;
  CHECK(memcmp(data, expected, sizeof(data)) == 0);
}

// The upper registers are in their initial state, as far as this process is concerned.
static void avx512_gather_faults(void) {
  uint32_t data[16];
  uint64_t mask = 0xABCDEDFEF, after;
  test = kAvx512Gather, faults = 0;
  map_pages();
  __asm__ volatile(
      "vmovdqu32 (%2), %%zmm6\n\tkmovq %3, %%k3\n\tvpxord %%zmm31, %%zmm31, %%zmm31\n\t"
      "vpgatherdd (%4,%%zmm6,1), %%zmm31%{%%k3%}\n\t"
      "vmovdqu32 %%zmm31, (%1)\n\tkmovq %%k3, %0\n\tvzeroupper"
      : "=r"(after)
      : "r"(data), "r"(offsets), "r"(mask), "r"(memory)
      : "memory", "xmm6");
  print_words("gathered", data, 16);
  for (int i = 0; i < 16; ++i) CHECK_EQ(data[i], mask >> i & 1 ? word_at(offsets[i]) : 0);
  CHECK_EQ(after, 0);
  CHECK_EQ(faults, 3);
}

static void avx512_scatter_faults(void) {
  uint32_t data[16];
  uint64_t mask = 0xFFFF, after;
  for (int i = 0; i < 16; ++i) data[i] = 0x51000000 + i * 0x10101;
  test = kAvx512Scatter, faults = 0;
  map_pages();
  __asm__ volatile(
      "vmovdqu32 (%2), %%zmm22\n\tkmovq %3, %%k3\n\tvmovdqu32 (%1), %%zmm31\n\t"
      "vpscatterdd %%zmm31, (%4,%%zmm22,1)%{%%k3%}\n\tkmovq %%k3, %0\n\tvzeroupper"
      : "=r"(after)
      : "r"(data), "r"(offsets), "r"(mask), "r"(memory)
      : "memory");
  CHECK_EQ(after, 0);
  CHECK_EQ(faults, 3);
  for (int i = 0; i < 16; ++i)
    if (offsets[i] != 100) CHECK_EQ(word_at(offsets[i]), data[i]);
  CHECK_EQ(word_at(100), data[13]);  // the later of the two
  uint64_t sum = 0;
  for (int page = 0; page < kPages; ++page) sum = mix_bytes(sum, memory + page * kPage, kPage);
  say(" content %016llx\n", (unsigned long long)sum);
}

// Without a handler: what was scattered before the fault is there for those who share it.
static void scatter_and_die(void* data) {
  const struct rlimit none = {0, 0};
  CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
  CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
  __asm__ volatile(
      "vmovdqu32 (%1), %%zmm22\n\tvmovdqu32 (%0), %%zmm31\n\tkxnorw %%k3, %%k3, %%k3\n\t"
      "vpscatterdd %%zmm31, (%2,%%zmm22,1)%{%%k3%}\n\tvzeroupper"
      :
      : "r"(data), "r"(offsets), "r"(memory)
      : "memory");
}

static void avx512_death(void) {
  uint32_t data[16];
  memset(data, 0xEE, sizeof(data));
  map_pages();
  const int status = wait_status(child(scatter_and_die, data));
  say(" signal %d: %08x %08x %08x\n", WTERMSIG(status), word_at(offsets[0]), word_at(offsets[2]),
      word_at(offsets[4]));
  CHECK_EQ(word_at(offsets[0]), 0xEEEEEEEE);
  CHECK_EQ(word_at(offsets[4]), kPattern + offsets[4] / 4);
}

// ---- The trap flag ------------------------------------------------------------------------------

static volatile int steps;
static uint64_t stepped[32];

static void on_trap(int signal, siginfo_t* info, void* context) {
  (void)signal;
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  CHECK_EQ((uint64_t)info->si_addr, registers[REG_RIP]);
  CHECK_EQ(info->si_code, 2);  // TRAP_TRACE
  CHECK_EQ(registers[REG_TRAPNO], 1);
  if (steps < 32) stepped[steps] = registers[REG_RIP];
  ++steps;
}

static void step_over(void) {
  map_pages();
  uint64_t start;
  __asm__ volatile(
      "lea 1f(%%rip), %0\n\t"
      "vpcmpeqd %%xmm4, %%xmm4, %%xmm4\n\tvpxor %%xmm6, %%xmm6, %%xmm6\n\t"
      "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n1:\tnop\n\tvpgatherdd %%xmm4, (%1,%%xmm6,1), "
      "%%xmm5\n\tnop\n\t"
      "pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tnop"
      : "=&r"(start)
      : "r"(memory)
      : "memory", "cc", "xmm4", "xmm5", "xmm6");
  say(" %d steps, at", steps);
  for (int i = 0; i < steps && i < 32; ++i) say(" +%llu", (unsigned long long)(stepped[i] - start));
  say("\n");
}

// ---- Signals at any moment ----------------------------------------------------------------------

static volatile sig_atomic_t ticks;

// Gathers eight words that are equal and must arrive so.
static void gather_equal(const uint32_t* words) {
  uint32_t data[8];
  __asm__ volatile(
      "vpcmpeqd %%ymm4, %%ymm4, %%ymm4\n\tvmovdqu (%2), %%ymm6\n\t"
      "vpgatherdd %%ymm4, (%1,%%ymm6,1), %%ymm5\n\tvmovdqu %%ymm5, (%0)\n\tvzeroupper"
      :
      : "r"(data), "r"(words), "r"(offsets)
      : "memory", "xmm4", "xmm5", "xmm6");
  for (int i = 0; i < 8; ++i) CHECK_EQ(data[i], 0x77777777);
}

static const uint32_t* equal_words;

static void on_tick(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  gather_equal(equal_words);
  ++ticks;
}

static void among_signals(void) {
  unsigned char* words = map_shared(kPages * kPage);
  memset(words, 0x77, kPages * kPage);
  equal_words = (uint32_t*)words;
  handle(SIGALRM, on_tick);
  const struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  while (ticks < 200) gather_equal(equal_words);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  say(" every gather was whole\n");
}

static void run(const char* name, int can, void (*body)(void)) {
  say("%s\n", name);
  if (can)
    body();
  else
    say(" skipped: the processor lacks the instructions\n");
}

int main(void) {
  __builtin_cpu_init();
  const int avx2 = __builtin_cpu_supports("avx2");
  const int avx512 =
      avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  memory = map_private(kPages * kPage);
  handle(SIGSEGV, on_fault);
  handle(SIGBUS, on_fault);
  handle(SIGTRAP, on_trap);
  run("faults in the middle of an AVX2 gather", avx2, avx2_faults);
  run("an element at no address", avx2, avx2_no_address);
  run("faults in the middle of an AVX-512 gather", avx512, avx512_gather_faults);
  run("faults in the middle of a scatter", avx512, avx512_scatter_faults);
  run("a fault that kills", avx512, avx512_death);
  run("single steps", avx2, step_over);
  run("signals", avx2, among_signals);
  return 0;
}
