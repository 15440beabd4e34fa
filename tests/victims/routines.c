// libc's routines that work on ranges, called on shared memory, private memory and both, at all
// sizes and many alignments, against loops over bytes; where they fault, with the trap flag, and
// while signals come.
#include <setjmp.h>
#include <sys/time.h>

#include "victim.h"

enum { kPages = 24, kBytes = kPages * kPage, kBehind = 8 * kPage, kSmall = 300 };

// By pointers, so that libc's are called and nothing is known of what they do.
static void* (*volatile copy)(void*, const void*, size_t) = memcpy;
static void* (*volatile move)(void*, const void*, size_t) = memmove;
static void* (*volatile copy_to_end)(void*, const void*, size_t) = mempcpy;
static void* (*volatile set)(void*, int, size_t) = memset;
static int (*volatile compare)(const void*, const void*, size_t) = memcmp;
static void* (*volatile find)(const void*, int, size_t) = memchr;
static uint64_t results;  // of compare: which number it is, is not the standard's

// Shared; every other page private; private. What they are to hold, and do.
static unsigned char *shared, *mixed, *private_, *model, *real;
static uint64_t random_state = 0xB01DFACE;
static size_t below(size_t limit) { return next_random(&random_state) % limit; }

static void copy_bytes(volatile unsigned char* to, const volatile unsigned char* from, size_t n) {
  if (to <= from)
    for (size_t i = 0; i < n; ++i) to[i] = from[i];
  else
    for (size_t i = n; i-- > 0;) to[i] = from[i];
}

// To private memory, by an instruction.
static void fetch(unsigned char* to, const unsigned char* from, size_t n) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void check_bytes(const char* what, const unsigned char* seen, const unsigned char* expected,
                        size_t n) {
  fetch(real, seen, n);
  for (size_t i = 0; i < n; ++i)
    if (real[i] != expected[i])
      fail(__FILE__, __LINE__, "%s: byte %zu of %zu is %d, expected %d", what, i, n, real[i],
           expected[i]);
}

static void fill(unsigned char* bytes, size_t n) {
  for (size_t i = 0; i < n; ++i) bytes[i] = (unsigned char)next_random(&random_state);
}

// ---- Against loops ------------------------------------------------------------------------------

// `area` is shared, mixed or private. The call is compared in it and 64 bytes around it.
static void check_copies(unsigned char* area, unsigned char* source, size_t n, size_t to,
                         size_t from) {
  unsigned char* const target = area + 64 + to;
  const size_t around = n + 128;
  fetch(model, area + to, around);
  fetch(model + 64, source + from, n);
  CHECK(copy(target, source + from, n) == target);
  check_bytes("memcpy", area + to, model, around);
  set(target, (int)(n * 7 + 0x5500), n);
  for (size_t i = 0; i < n; ++i) model[64 + i] = (unsigned char)(n * 7);
  check_bytes("memset", area + to, model, around);
  fetch(model + 64, source + from, n);
  CHECK(copy_to_end(target, source + from, n) == target + n);
  check_bytes("mempcpy", area + to, model, around);
}

static void check_move(unsigned char* area, size_t n, size_t at, long distance) {
  const size_t reach = (size_t)(distance < 0 ? -distance : distance);
  unsigned char* const begin = area + at + reach;
  const size_t around = n + 2 * reach;
  fetch(model, area + at, around);
  copy_bytes(model + reach + distance, model + reach, n);
  CHECK(move(begin + distance, begin, n) == begin + distance);
  check_bytes("memmove", area + at, model, around);
}

// The ranges are made equal, and then different at one place.
static void check_compare(unsigned char* a, unsigned char* b, size_t n) {
  fetch(a, b, n);
  CHECK_EQ(compare(a, b, n), 0);
  for (int i = 0; n && i < 3; ++i) {
    const size_t place = i == 2 ? n - 1 : below(n);
    const unsigned char was = a[place];
    a[place] = (unsigned char)(was + 1 + below(255));
    const int result = compare(a, b, n);
    CHECK((result < 0) == (a[place] < was) && result != 0);
    results = mix(results, (uint64_t)result);
    a[place] = was;
  }
}

static void check_find(unsigned char* area, size_t n) {
  set(area, 'a', n + 1);
  area[n] = 'b';
  CHECK(find(area, 'b', n) == NULL);
  CHECK(find(area, 'b', n + 1) == area + n);
  CHECK(find(area, 'b', SIZE_MAX - (size_t)area) == area + n);
  if (!n) return;
  const size_t place = below(n);
  area[place] = (unsigned char)('b' + 256);
  CHECK(find(area, 'b' - 256, n) == area + place);
}

static void check_size(size_t n) {
  unsigned char* const areas[] = {shared, mixed, private_};
  for (int to = 0; to < 3; ++to) {
    for (int from = 0; from < 3; ++from)
      if (to != from) check_copies(areas[to], areas[from], n, below(64), below(64));
    // From its own second half.
    check_copies(areas[to], areas[to] + kBytes / 2, n, below(64), below(64));
    for (int from = 0; from < 3; ++from)
      check_compare(areas[to] + below(64), areas[from] + kBytes / 2 + below(64), n);
    check_find(areas[to] + below(kPage), n);
    const long near = (long)below(n / 2 + 8) + 1;
    check_move(areas[to], n, below(kPage), near);
    check_move(areas[to], n, below(kPage), -near);
  }
}

// ---- Faults -------------------------------------------------------------------------------------

static sigjmp_buf out;
static volatile int fault_signal, fault_code;
static unsigned char* volatile fault_at;
static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)context;
  fault_signal = signal;
  fault_code = info->si_code;
  fault_at = info->si_addr;
  siglongjmp(out, 1);
}

// What it faulted with, and what it did before that.
static void try_copy(const char* what, unsigned char* to, unsigned char* from, size_t n,
                     unsigned char* seen, size_t seen_bytes) {
  fault_signal = 0;
  if (sigsetjmp(out, 1) == 0) move(to, from, n);
  const long in_to = fault_at - to, in_from = fault_at - from;
  const int in_target = in_to >= 0 && in_to < (long)n;
  say("%s: signal %d, code %d, %s byte %ld, left %016llx\n", what, fault_signal, fault_code,
      in_target ? "target" : "source",
      !fault_signal ? 0
      : in_target   ? in_to
                    : in_from,
      (unsigned long long)mix_bytes(1, seen, seen_bytes));
}

static void try_reads(const char* what, unsigned char* at, unsigned char* other, size_t n) {
  volatile int done = 0;
  fault_signal = 0;
  if (sigsetjmp(out, 1) == 0) done = find(at, 0x7E, n) != NULL, done += 2;
  say("find %s: %d, signal %d, byte %ld\n", what, done, fault_signal,
      fault_signal ? (long)(fault_at - at) : 0);
  fault_signal = done = 0;
  if (sigsetjmp(out, 1) == 0) done = compare(at, other, n) != 0, done += 2;
  say("compare %s: %d, signal %d, byte %ld\n", what, done, fault_signal,
      fault_signal ? (long)(fault_at - at) : 0);
}

static void check_faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
  unsigned char* last = shared + (kPages - 1) * kPage;  // a page that nothing follows
  CHECK(munmap(mixed, kBytes) == 0);
  for (size_t n = 40; n < 20000; n = n * 3 + 1) {
    set(last - 4 * kPage, 3, 5 * kPage);
    try_copy("to the end of shared memory", last + kPage - n / 2, private_, n, last + kPage - n / 2,
             n / 2);
    try_copy("from the end of shared memory", private_, last + kPage - n / 2, n, private_, n);
    set(last, 4, kPage);
    try_copy("from the end of private memory", last, private_ + kBytes - 20, n < kPage ? n : kPage,
             last, kPage);
    try_copy("over the end of itself", last + kPage - n / 2, last + kPage - n / 2 - 10, n,
             last - 4 * kPage, 5 * kPage);
  }
  for (size_t n = 40; n < 3 * kPage; n = n * 3 + 1) {
    set(last - 2 * kPage, 1, 3 * kPage);
    set(private_, 1, 3 * kPage);
    try_reads("up to the end", last + kPage - n, private_, n);
    try_reads("beyond the end", last + kPage - n / 2, private_, n);
  }
  CHECK(mprotect(last, kPage, PROT_READ) == 0);
  try_copy("to shared memory that is read only", last - 100, private_, 200, last - 100, 100);
  try_copy("from it", private_, last, 200, private_, 200);
  CHECK(mprotect(last, kPage, PROT_NONE) == 0);
  try_copy("from shared memory without access", private_, last - 100, 200, private_, 200);
  try_reads("without access", last - 300, private_, 600);
  CHECK(mprotect(last, kPage, PROT_READ | PROT_WRITE) == 0);
  int fd = make_file("data", 2 * kPage);
  unsigned char* file = map_fd(fd, 4 * kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 3; ++i) {
    try_copy("to a file", file + kPage, private_, kPage, file, 2 * kPage);
    try_copy("beyond a file's end", file + kPage, private_, 2 * kPage, file, 2 * kPage);
    try_copy("from beyond a file's end", private_, file + 100, 2 * kPage, private_, 2 * kPage);
  }
  CHECK(munmap(file, 4 * kPage) == 0);
  CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR && signal(SIGBUS, SIG_DFL) != SIG_ERR);
}

// A protection key refuses a thread what the mapping allows. The last of all: nothing is patched in
// a process that uses one.
static void check_keys(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  const int key = pkey_alloc(0, 0);
  if (key < 0) return say("no protection keys\n");
  set(shared, 1, kPage);
  CHECK(pkey_mprotect(shared, kPage, PROT_READ | PROT_WRITE, key) == 0);
  for (int i = 0; i < 3; ++i) {
    for (int rights = 0; rights <= 2; ++rights) {  // none, PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE
      volatile int stored = 0, read = 0;
      CHECK(pkey_set(key, rights) == 0);
      if (sigsetjmp(out, 1) == 0) set(shared, 2, 500), stored = 1;
      CHECK(pkey_set(key, rights) == 0);  // a handler has its own
      if (sigsetjmp(out, 1) == 0) copy(private_, shared, 500), read = 1;
      CHECK(pkey_set(key, 0) == 0);
      say("key %d: stored %d, read %d, code %d\n", rights, stored, read, fault_code);
    }
  }
}

// ---- Steps and signals --------------------------------------------------------------------------

static volatile int traps;
static void on_trap(int signal) {
  (void)signal;
  ++traps;
}

static void check_steps(void) {
  CHECK(signal(SIGTRAP, on_trap) != SIG_ERR);
  for (size_t n = 1; n < 1000; n = n * 5 + 2) {
    traps = 0;
    __asm__ volatile("pushfq\n\torq $0x100, (%rsp)\n\tpopfq");
    copy(shared, private_, n);
    set(shared + kPage, 5, n);
    CHECK(find(shared + kPage, 6, n) == NULL && compare(shared, private_, n) == 0);
    __asm__ volatile("pushfq\n\tandq $~0x100, (%rsp)\n\tpopfq");
    check_bytes("memcpy in steps", shared, private_, n);
    say("%d traps\n", traps);
  }
}

enum { kTicks = 200 };
static volatile int ticks, bad_ticks;
// From now: by an interval, handlers that take longer than it, as by a fault for each access, would
// leave no time for anything else.
static int tick_soon(void) {
  const struct itimerval once = {{0, 0}, {0, 300}};
  return setitimer(ITIMER_REAL, &once, NULL);
}
static void on_tick(int signal) {
  (void)signal;
  unsigned char* const own = shared + (kPages - 2) * kPage;
  copy(own, own + kPage, 1000);
  if (copy_to_end(own, own + 10, 100) != own + 100) ++bad_ticks;
  if (++ticks < kTicks) tick_soon();
}

static void check_signals(void) {
  enum { kMoved = 8 * kPage };
  CHECK(signal(SIGALRM, on_tick) != SIG_ERR);
  CHECK(tick_soon() == 0);
  for (int round = 0; ticks < kTicks; ++round) {
    const size_t n = round % 8 ? below(kSmall) : kMoved - below(kPage);
    const size_t at = below(kPage);
    copy(shared + at, private_, n);
    check_bytes("memcpy under signals", shared + at, private_, n < 64 ? n : 64);
    move(shared + at + 50, shared + at, n);
    check_bytes("memmove under signals", shared + at + 50, private_, n < 64 ? n : 64);
    set(shared + at, 9, n);
    CHECK(n == 0 || shared[at + n - 1] == 9);
  }
  CHECK_EQ(bad_ticks, 0);
}

// Calls keep what a function keeps, whatever is in the other registers.
static void check_registers(void) {
  for (size_t n = 1; n < 5000; n = n * 3 + 1) {
    uint64_t kept[6] = {0};
    void* result;
    register void* function __asm__("r10") = (void*)copy;
    __asm__ volatile(
        "push %%rbp\n\tmov %%rsp, %%r12\n\tsub $128, %%rsp\n\tand $-16, %%rsp\n\tmov $11, %%ebx\n\t"
        "mov $12, %%ebp\n\tmov $14, %%r14d\n\tmov $15, %%r15d\n\tmov %[kept], %%r13\n\t"
        "call *%%r10\n\t"
        "mov %%rbx, (%%r13)\n\tmov %%rbp, 8(%%r13)\n\tmov %%r14, 16(%%r13)\n\tmov %%r15, 24(%%r13)"
        "\n\tmov %%r12, %%rsp\n\tpop %%rbp"
        : "=a"(result), "+r"(function)
        : "D"(shared + n), "S"(private_), "d"(n), [kept] "c"(kept)
        : "rbx", "r8", "r9", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    CHECK(result == shared + n);
    CHECK(kept[0] == 11 && kept[1] == 12 && kept[2] == 14 && kept[3] == 15);
    check_bytes("memcpy from assembler", shared + n, private_, n);
  }
}

int main(void) {
  shared = map_shared(kBytes + kBehind);
  CHECK(mmap(shared + kBytes, kBehind, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        shared + kBytes);
  mixed = map_shared(kBytes);
  private_ = map_private(kBytes + kPage);
  CHECK(munmap(private_ + kBytes, kPage) == 0);
  model = map_private(kBytes);
  real = map_private(kBytes);
  for (int page = 1; page < kPages; page += 2)
    CHECK(mmap(mixed + page * kPage, kPage, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
  fill(private_, kBytes);
  copy(shared, private_, kBytes);
  copy(mixed, private_, kBytes);
  for (size_t n = 0; n <= kSmall; ++n) check_size(n);
  static const size_t kLarge[] = {511,  512,  1000, 2047,  2048,  4095,  4096, 4097,
                                  5000, 8191, 8192, 10001, 16384, 32000, 40000};
  for (unsigned i = 0; i < sizeof kLarge / sizeof kLarge[0]; ++i) check_size(kLarge[i]);
  say("sizes: %016llx, differences: %016llx\n", (unsigned long long)mix_bytes(0, shared, kBytes),
      (unsigned long long)results);
  check_registers();
  check_steps();
  check_signals();
  random_state = 0xB01DFACE;  // how often it was asked depends on the signals
  fill(private_, kBytes);
  check_faults();
  check_keys();
}
