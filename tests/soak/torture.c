// Code that touches shared memory, executed while a recorder changes it, in every way that could
// show: for the first time by several threads at once, with signals, single steps, forks, in
// libraries that come and go, at ends of pages and mappings.
//
//   torture SECONDS [FILE]    FILE: gets "PID TID" of a thread that an outside tracer may step
//
// What is right is known: each slot of torture_code.S is stepped through once on private memory,
// and the registers and memory at each of its instructions are kept. Whatever finds a thread in a
// slot later (a signal's handler, a step) must find one of these states, and no address that is in
// no module; a step must find all of them in their order; each call must end as the first one did.
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "../victims/victim.h"

enum {
  kSlotBytes = 157,
  kShapes = 14,
  kSlots = 6 * kShapes,
  kVariants = 4,
  kMaxStates = 160,
  kCellBytes = 128,
  kOwnBytes = 64,
  kWorkers = 3,
  kRounds = 5,
  kMemoryBytes = 4 * kPage,
};
enum { kRax, kRbx, kRcx, kRdx, kRsi, kRdi, kRbp, kR8, kR15 = kR8 + 7, kRsp, kRegisters };

// ---- A call with all registers known ------------------------------------------------------------

struct Call {
  uint64_t registers[kRsp];  // before the call, and behind it
  uint64_t unused, flags, code, rsp, unused2[3];
  unsigned char vector[32];
};
_Static_assert(offsetof(struct Call, flags) == 128 && offsetof(struct Call, vector) == 176, "");

extern void torture_call(struct Call* call);
extern const char torture_call_end[];
__asm__(
    ".text\n"
    "torture_call:\n"
    ".cfi_startproc\n"
    "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbx, 0\n"
    "push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset rbp, 0\n"
    "push %r12\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset r12, 0\n"
    "push %r13\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset r13, 0\n"
    "push %r14\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset r14, 0\n"
    "push %r15\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset r15, 0\n"
    "push %rdi\n.cfi_adjust_cfa_offset 8\n"
    "pushq 136(%rdi)\n.cfi_adjust_cfa_offset 8\n"
    "lea -8(%rsp), %rax\n mov %rax, 144(%rdi)\n"
    "vmovdqu 176(%rdi), %ymm0\n vmovdqa %ymm0, %ymm1\n"
    "pushq 128(%rdi)\n.cfi_adjust_cfa_offset 8\n"
    "mov 0(%rdi), %rax\n mov 8(%rdi), %rbx\n mov 16(%rdi), %rcx\n mov 24(%rdi), %rdx\n"
    "mov 32(%rdi), %rsi\n mov 48(%rdi), %rbp\n mov 56(%rdi), %r8\n mov 64(%rdi), %r9\n"
    "mov 72(%rdi), %r10\n mov 80(%rdi), %r11\n mov 88(%rdi), %r12\n mov 96(%rdi), %r13\n"
    "mov 104(%rdi), %r14\n mov 112(%rdi), %r15\n mov 40(%rdi), %rdi\n"
    "popfq\n.cfi_adjust_cfa_offset -8\n"
    "call *(%rsp)\n"
    "push %rdi\n.cfi_adjust_cfa_offset 8\n"
    "mov 16(%rsp), %rdi\n"
    "pushfq\n.cfi_adjust_cfa_offset 8\n popq 128(%rdi)\n.cfi_adjust_cfa_offset -8\n"
    "pushq 128(%rdi)\n.cfi_adjust_cfa_offset 8\n andq $-257, (%rsp)\n"
    "popfq\n.cfi_adjust_cfa_offset -8\n cld\n"
    "mov %rax, 0(%rdi)\n mov %rbx, 8(%rdi)\n mov %rcx, 16(%rdi)\n mov %rdx, 24(%rdi)\n"
    "mov %rsi, 32(%rdi)\n mov %rbp, 48(%rdi)\n mov %r8, 56(%rdi)\n mov %r9, 64(%rdi)\n"
    "mov %r10, 72(%rdi)\n mov %r11, 80(%rdi)\n mov %r12, 88(%rdi)\n mov %r13, 96(%rdi)\n"
    "mov %r14, 104(%rdi)\n mov %r15, 112(%rdi)\n"
    "popq 40(%rdi)\n.cfi_adjust_cfa_offset -8\n"
    "movdqu %xmm0, 176(%rdi)\n vzeroupper\n"
    "add $16, %rsp\n.cfi_adjust_cfa_offset -16\n"
    "pop %r15\n.cfi_adjust_cfa_offset -8\n pop %r14\n.cfi_adjust_cfa_offset -8\n"
    "pop %r13\n.cfi_adjust_cfa_offset -8\n pop %r12\n.cfi_adjust_cfa_offset -8\n"
    "pop %rbp\n.cfi_adjust_cfa_offset -8\n pop %rbx\n.cfi_adjust_cfa_offset -8\n"
    "ret\n"
    ".cfi_endproc\n"
    "torture_call_end:\n");

// ---- What is right ------------------------------------------------------------------------------

// A thread at an instruction of a slot, or behind it. Addresses are relative to what they point to.
struct State {
  uint64_t offset, registers[kRegisters], flags, vector[2], cell, own;
};
struct Model {
  int count;
  struct State states[kMaxStates], end;
};
static struct Model models[kShapes][kVariants];

// The slot that a thread is in.
struct Current {
  struct Model* model;
  const unsigned char *code, *cell, *own;
  const struct Call* call;
  int shape, variant, learns, steps, stepped;
};
static __thread struct Current current;

static atomic_ulong signals_in_slots, steps_in_slots, traces, forks, calls, elsewhere;

static int is_near(uint64_t value, const void* what, uint64_t bytes, uint64_t tag, uint64_t* into) {
  const uint64_t distance = value - (uint64_t)what;
  if (distance > bytes) return 0;
  *into = tag << 48 | distance;
  return 1;
}

static uint64_t relative(uint64_t value) {
  uint64_t found;
  if (is_near(value, current.cell, 2 * kCellBytes, 0xCE11, &found) ||
      is_near(value, current.own, 2 * kOwnBytes, 0x0131, &found) ||
      is_near(value, current.code, kSlotBytes, 0xC0DE, &found) ||
      is_near(value + 256, (void*)current.call->rsp, 512, 0x57AC, &found))
    return found;
  return value;
}

static uint64_t hash(const unsigned char* bytes, int count) {
  uint64_t sum = 1;
  for (int i = 0; i < count; i += 8) sum = mix(sum, *(const volatile uint64_t*)(bytes + i));
  return sum;
}

static void fill_state(struct State* state, const uint64_t* registers, uint64_t flags,
                       const void* vector) {
  for (int i = 0; i < kRegisters; ++i) state->registers[i] = relative(registers[i]);
  state->flags = flags & ~UINT64_C(0x10310);  // TF, RF; AF is not defined behind some of them
  memcpy(state->vector, vector, sizeof state->vector);
  state->cell = hash(current.cell, kCellBytes);
  state->own = hash(current.own, kOwnBytes);
}

static const int kFromContext[kRegisters] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI,
                                             REG_RBP, REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12,
                                             REG_R13, REG_R14, REG_R15, REG_RSP};

static void read_state(struct State* state, const ucontext_t* context) {
  uint64_t registers[kRegisters];
  for (int i = 0; i < kRegisters; ++i)
    registers[i] = (uint64_t)context->uc_mcontext.gregs[kFromContext[i]];
  fill_state(state, registers, (uint64_t)context->uc_mcontext.gregs[REG_EFL],
             &context->uc_mcontext.fpregs->_xmm[0]);
}

static void differs(const char* what, const struct State* found, const struct State* expected) {
  say("%s: shape %d variant %d offset %llu, expected %llu%s\n", what, current.shape,
      current.variant, (unsigned long long)found->offset,
      expected ? (unsigned long long)expected->offset : 0ull, expected ? "" : " (none)");
  if (expected) {
    static const char* const kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
                                         "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rsp"};
    for (int i = 0; i < kRegisters; ++i)
      if (found->registers[i] != expected->registers[i])
        say("  %s %#llx, expected %#llx\n", kNames[i], (unsigned long long)found->registers[i],
            (unsigned long long)expected->registers[i]);
    say("  flags %#llx, expected %#llx; vector %d, cell %d, own %d\n",
        (unsigned long long)found->flags, (unsigned long long)expected->flags,
        !memcmp(found->vector, expected->vector, sizeof found->vector),
        found->cell == expected->cell, found->own == expected->own);
  }
  fail(__FILE__, __LINE__, "%s", what);
}

static int equal(const struct State* a, const struct State* b) { return !memcmp(a, b, sizeof *a); }

// ---- Who looks ----------------------------------------------------------------------------------

static int in_slot(uint64_t ip) { return current.code && ip - (uint64_t)current.code < kSlotBytes; }

static void on_step(int signal, siginfo_t* info, void* raw) {
  const ucontext_t* context = raw;
  const uint64_t ip = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
  (void)signal;
  if (!current.steps || !in_slot(ip)) return;
  CHECK_EQ((uint64_t)info->si_addr, ip);
  struct State state = {.offset = ip - (uint64_t)current.code};
  read_state(&state, context);
  struct Model* model = current.model;
  if (current.learns) {
    CHECK(model->count < kMaxStates);
    model->states[model->count++] = state;
    return;
  }
  const struct State* expected =
      current.stepped < model->count ? &model->states[current.stepped++] : NULL;
  if (!expected || !equal(&state, expected)) differs("step", &state, expected);
  ++steps_in_slots;
}

// Is it an address of a module? What is being loaded meanwhile is not known.
struct Search {
  uint64_t ip;
  int found;
};
static int look(struct dl_phdr_info* info, size_t size, void* raw) {
  struct Search* search = raw;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* header = &info->dlpi_phdr[i];
    if (header->p_type == PT_LOAD && (header->p_flags & PF_X) &&
        search->ip - (info->dlpi_addr + header->p_vaddr) < header->p_memsz)
      search->found = 1;
  }
  return search->found;
}

static void trace(void) {
  void* frames[64];
  const int count = backtrace(frames, 64);
  int found = 0;
  for (int i = 0; i < count; ++i)
    if ((uint64_t)frames[i] - (uint64_t)torture_call <
        (uint64_t)torture_call_end - (uint64_t)torture_call)
      found = count - i;
  for (int i = 0; found < 4 && i < count; ++i)
    say("%p torture_call%+lld slots%+lld\n", frames[i],
        (long long)((intptr_t)frames[i] - (intptr_t)torture_call),
        (long long)((intptr_t)frames[i] - (intptr_t)current.code));
  if (found < 4) fail(__FILE__, __LINE__, "%d frames, %d from the call on", count, found);
  ++traces;
}

struct Worker {
  int index;
  uint64_t random;
  unsigned char *cell, *handler_cell;
};
static __thread struct Worker* worker;
static unsigned char *memory, *placed;  // what the kernel has placed, and what the program has
static void use(const unsigned char* slots, int rotated, int slot, unsigned char* cell, int steps);
static const unsigned char* first_slots;
static int first_rotated;

static void on_sent(int signal, siginfo_t* info, void* raw) {
  const ucontext_t* context = raw;
  const uint64_t ip = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
  const int saved = errno;
  if (info->si_code > 0)
    fail(__FILE__, __LINE__, "signal %d code %d at %#llx (slot %d of shape %d), address %#llx",
         signal, info->si_code, (unsigned long long)ip,
         in_slot(ip) ? (int)(ip - (uint64_t)current.code) : -1, current.shape,
         (unsigned long long)info->si_addr);
  if (in_slot(ip)) {
    struct State state = {.offset = ip - (uint64_t)current.code};
    read_state(&state, context);
    const struct State *near = NULL, *found = NULL;
    for (int i = 0; i < current.model->count && !found; ++i)
      if (current.model->states[i].offset == state.offset)
        near = &current.model->states[i], found = equal(&state, near) ? near : NULL;
    if (!found) differs("signal", &state, near);
    if (++signals_in_slots % 16 == 0) trace();
  } else if (++elsewhere % 16 == 0) {
    struct Search search = {ip, 0};
    dl_iterate_phdr(look, &search);
    if (!search.found) fail(__FILE__, __LINE__, "%#llx is nowhere", (unsigned long long)ip);
  }
  if (worker && !current.learns && next_random(&worker->random) % 4 == 0) {
    const struct Current outer = current;
    struct Worker* const self = worker;
    worker = NULL;  // not once more
    unsigned char* const cell = self->handler_cell + (self->random >> 16 & 1) * (placed - memory);
    use(first_slots, first_rotated, (int)(self->random % kSlots), cell, 0);
    worker = self;
    current = outer;
  }
  errno = saved;
}

// ---- A call -------------------------------------------------------------------------------------

static void fill(unsigned char* cell, uint64_t* own, int variant) {
  for (int i = 0; i < kCellBytes / 8; ++i)
    ((volatile uint64_t*)cell)[i] = 0x0123456789ABCDEF * (uint64_t)(i + 3) + (uint64_t)variant;
  for (int i = 0; i < kOwnBytes / 8; ++i) own[i] = 0x00FEDCBA98765432 * (uint64_t)(i + 5);
}

static void prepare(struct Call* call, unsigned char* cell, uint64_t* own,
                    const unsigned char* code, int variant, int steps) {
  memset(call, 0, sizeof *call);
  for (int i = 0; i < kRsp; ++i) call->registers[i] = 0x1111111111111111 * (uint64_t)(i + 1);
  for (int i = 0; i < 32; ++i) call->vector[i] = (unsigned char)(i * 7 + 1);
  call->registers[kRdx] = (uint64_t)variant;
  call->registers[kRdi] = (uint64_t)cell;
  call->registers[kRsi] = (uint64_t)own;
  call->flags = 0x202 | (variant % 2 ? 0x8D5 : 0) | (steps ? 0x100 : 0);
  call->code = (uint64_t)code;
}

static void run(unsigned char* cell, struct Model* model, const unsigned char* code, int shape,
                int variant, int learns, int steps) {
  uint64_t own[2 * kOwnBytes / 8];
  struct Call call;
  fill(cell, own, variant);
  prepare(&call, cell, own, code, variant, steps);
  const struct Current now = {model,  code,  cell, (const unsigned char*)own, &call, shape, variant,
                              learns, steps, 0};
  current = now;
  atomic_signal_fence(memory_order_seq_cst);
  torture_call(&call);
  atomic_signal_fence(memory_order_seq_cst);
  current.code = NULL;
  struct State end = {0};
  uint64_t registers[kRegisters];
  memcpy(registers, call.registers, sizeof call.registers);
  registers[kRsp] = call.rsp;
  current.code = code;  // for what is relative to it
  fill_state(&end, registers, call.flags, call.vector);
  current.code = NULL;
  if (learns)
    model->end = end;
  else if (!equal(&end, &model->end))
    differs("end", &end, &model->end);
  if (steps && !learns) CHECK_EQ(current.stepped, model->count);
  ++calls;
}

static void use(const unsigned char* slots, int rotated, int slot, unsigned char* cell, int steps) {
  const int shape = (slot + rotated) % kShapes, variant = (int)(calls % kVariants);
  run(cell, &models[shape][variant], slots + slot * kSlotBytes, shape, variant, 0, steps);
}

static void learn(const unsigned char* slots, int rotated) {
  unsigned char* cell = map_private(kPage);
  for (int slot = 0; slot < kShapes; ++slot)
    for (int variant = 0; variant < kVariants; ++variant) {
      const int shape = (slot + rotated) % kShapes;
      struct Model* model = &models[shape][variant];
      run(cell, model, slots + slot * kSlotBytes, shape, variant, 1, 1);
      CHECK(model->count > 5);
      run(cell, model, slots + slot * kSlotBytes, shape, variant, 0, 0);
    }
}

// ---- Libraries that come and go -----------------------------------------------------------------

struct Library {
  void* handle;
  const unsigned char* slots;
  int rotated;
};
static char directory[4096];

static struct Library load(int which) {
  char path[5000];
  snprintf(path, sizeof path, "%s/libtorture_code%d.so", directory, which);
  struct Library library = {.handle = dlopen(path, RTLD_NOW)};
  if (!library.handle) fail(__FILE__, __LINE__, "%s", dlerror());
  library.slots = dlsym(library.handle, "torture_slots");
  library.rotated = *(const int*)dlsym(library.handle, "torture_rotated");
  return library;
}

// Code that ends where its mapping ends.
static void at_an_end(const char* path, volatile uint64_t* cell) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0);
  unsigned char* code = mmap(NULL, 2 * kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  CHECK(code != MAP_FAILED && munmap(code + kPage, kPage) == 0 && close(fd) == 0);
  for (int i = 0; i < 6; ++i) {
    cell[0] = 77 + (uint64_t)i;
    CHECK_EQ(((uint64_t(*)(volatile uint64_t*))(uintptr_t)(code + kPage - 4))(cell), 77 + i);
    CHECK_EQ(((uint64_t(*)(volatile uint64_t*))(uintptr_t)(code + kPage - 8))(cell), 77 + i);
  }
  CHECK(munmap(code, kPage) == 0);
}

static void make_end(const char* path) {
  static const unsigned char kCode[] = {0x48, 0x8B, 0x07, 0xC3, 0x48, 0x8B, 0x07, 0xC3};
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
  CHECK(fd >= 0 && ftruncate(fd, 2 * kPage) == 0);
  CHECK(pwrite(fd, kCode, sizeof kCode, kPage - sizeof kCode) == sizeof kCode);
  CHECK(close(fd) == 0);
}

// ---- Threads ------------------------------------------------------------------------------------

static struct Library loaded;
static pthread_barrier_t begun, done;
static atomic_int over;
static pthread_t threads[kWorkers + 1];

static unsigned char* cell_of(int index) {
  static const int kShifts[] = {0, 8, 40};
  return memory + index * 4 * kCellBytes + kShifts[index % 3];
}

// The same of what the program has placed.
static unsigned char* placed_of(const struct Worker* self) {
  return placed + (self->random >> 8 & 1) * kMemoryBytes + (self->cell - memory);
}

static void run_all(struct Worker* self, int from, int to, int direction) {
  for (int i = from; i < to; ++i) {
    const int slot = direction > 0 ? i : kSlots - 1 - i;
    const uint64_t random = next_random(&self->random);
    use(loaded.slots, loaded.rotated, slot, self->cell, random % 16 == 0);
    if (random % 8 == 1) {
      _Alignas(64) unsigned char private_cell[2 * kCellBytes];
      use(loaded.slots, loaded.rotated, slot, private_cell, 0);
    }
    if (random % 8 == 2) use(loaded.slots, loaded.rotated, slot, placed_of(self), random % 64 == 2);
  }
}

// One thread executes a slot on private memory as fast as it can, at the moment when another one
// meets shared memory there for the first time, so that it is changed.
enum { kHotSlots = kSlots / 3 };
static atomic_int hot, hammers;  // the slot, + 1; how many calls have been made there

static void same_words(const char* what, int slot, int call, const void* found,
                       const void* expected, int words) {
  const uint64_t *a = found, *b = expected;
  for (int i = 0; i < words; ++i)
    if (a[i] != b[i])
      fail(__FILE__, __LINE__,
           "hammered slot %d, variant %d, call %d: %s %d is %#llx, before %#llx", slot,
           slot % kVariants, call, what, i, (unsigned long long)a[i], (unsigned long long)b[i]);
}

static void hammer(void) {
  _Alignas(64) unsigned char cell[2 * kCellBytes], expected_cell[kCellBytes];
  uint64_t own[2 * kOwnBytes / 8];
  struct Call start, call, expected;
  for (int last = -1, slot; (slot = hot) >= 0; last = slot) {
    const int variant = slot % kVariants;
    const unsigned char* code = loaded.slots + slot * kSlotBytes;
    if (slot != last) {  // checked once, what follows is as that was
      use(loaded.slots, loaded.rotated, slot, cell, 0);
      prepare(&start, cell, own, code, variant, 0);
    }
    for (int i = 0; hot == slot; ++i) {
      fill(cell, own, variant);
      call = start;
      torture_call(&call);
      if (!i) expected = call, memcpy(expected_cell, cell, kCellBytes);
      same_words("word of the call", slot, i, &call, &expected, sizeof call / 8);
      same_words("word of the cell", slot, i, cell, expected_cell, kCellBytes / 8);
      atomic_store_explicit(&hammers, i, memory_order_relaxed);
    }
  }
}

static void lead(struct Worker* self) {
  for (int i = 0; i < kHotSlots; ++i) {
    const int slot = (int)(next_random(&self->random) % kSlots);
    hammers = 0;
    hot = slot;
    while (hammers < 100) sched_yield();
    unsigned char* const first = self->random & 1 ? self->cell : placed_of(self);
    for (int k = 0; k < 6; ++k) use(loaded.slots, loaded.rotated, slot, first, 0);
    unsigned char* const then = first == self->cell ? placed_of(self) : self->cell;
    for (int k = 0; k < 6; ++k) use(loaded.slots, loaded.rotated, slot, then, 0);
  }
  hot = -1;
}

static void fork_in_the_middle(struct Worker* self, int from) {
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (!pid) {
    struct Worker child = *self;
    worker = &child;
    child.cell = cell_of(2 * (kWorkers + 1 + self->index));
    run_all(&child, from, kSlots, self->index % 2 ? 1 : -1);
    _exit(0);
  }
  wait_ok(pid);
  ++forks;
}

static void* work(void* raw) {
  struct Worker self = {.index = (int)(intptr_t)raw};
  self.random = 88172645463325252ull + (uint64_t)self.index;
  self.cell = cell_of(2 * self.index);
  self.handler_cell = cell_of(2 * self.index + 1);
  worker = &self;
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);  // behind the one that is stepped
  const int direction = self.index % 2 ? 1 : -1;
  for (;;) {
    pthread_barrier_wait(&begun);
    if (over) return NULL;
    if (self.index == 0) lead(&self);
    if (self.index == 1) hammer();
    for (int round = 0; round < kRounds; ++round) {
      const int middle = (int)(next_random(&self.random) % kSlots);
      run_all(&self, 0, middle, direction);
      if (self.random % 64 < 4) fork_in_the_middle(&self, middle);
      run_all(&self, middle, kSlots, direction);
    }
    pthread_barrier_wait(&done);
  }
}

// The thread that may be stepped from outside: its code stays.
static void* be_stepped(void* path) {
  struct Worker self = {.index = kWorkers, .random = 4711};
  self.cell = cell_of(2 * kWorkers);
  self.handler_cell = cell_of(2 * kWorkers + 1);
  worker = &self;
  if (path) {
    FILE* file = fopen(path, "we");
    CHECK(file && fprintf(file, "%d %ld\n", getpid(), syscall(SYS_gettid)) > 0);
    CHECK(fclose(file) == 0);
  }
  while (!over) {
    const int slot = (int)(next_random(&self.random) % kSlots);
    use(first_slots, first_rotated, slot, self.random % 4 ? self.cell : placed_of(&self), 0);
  }
  return NULL;
}

// Not to the thread that may be stepped: they would come faster than it takes them.
static void* send(void* unused) {
  static const int kSignals[] = {SIGUSR1, SIGUSR2, SIGFPE, SIGILL, SIGBUS};
  uint64_t random = 815;
  while (!over) {
    const uint64_t choice = next_random(&random);
    const int rare = (choice >> 8) % 8 == 0;
    CHECK_EQ(pthread_kill(threads[choice % kWorkers], kSignals[(choice >> 16) % (rare ? 5 : 2)]),
             0);
    const struct timespec pause = {0, (long)(choice >> 20 & 0xFFFFF)};
    nanosleep(&pause, NULL);
  }
  return unused;
}

static uint64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

// Twice, one end to the other, at an address of the program's choice.
static void place_memory(void) {
  unsigned char* const at = (unsigned char*)0x300000000000;
  const int fd = memfd_create("placed", MFD_CLOEXEC);
  CHECK(fd >= 0 && ftruncate(fd, kMemoryBytes) == 0);
  for (int i = 0; i < 2; ++i)
    CHECK(mmap(at + i * kMemoryBytes, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
               fd, 0) == at + i * kMemoryBytes);
  CHECK(close(fd) == 0);
  placed = at;
}

// Beside it something comes and goes, and it is protected and moved, as it was.
static void change_placed(unsigned long cycle) {
  const size_t bytes = (size_t)kPage << cycle % 18;
  unsigned char* const beside = placed + 4 * kMemoryBytes;
  CHECK(mmap(beside, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == beside);
  CHECK(mprotect(placed, kMemoryBytes, PROT_READ | PROT_WRITE) == 0);
  unsigned char* const twin = mremap(placed, 0, kMemoryBytes, MREMAP_MAYMOVE);
  CHECK(twin != MAP_FAILED);
  CHECK(mremap(twin, kMemoryBytes, kMemoryBytes, MREMAP_MAYMOVE | MREMAP_FIXED, placed) == placed);
  CHECK(munmap(beside, bytes) == 0);
}

static void set_handlers(void) {
  static const int kSent[] = {SIGUSR1, SIGUSR2, SIGFPE, SIGILL, SIGBUS, SIGSEGV};
  struct sigaction action = {.sa_sigaction = on_sent, .sa_flags = SA_SIGINFO | SA_RESTART};
  for (size_t i = 0; i < sizeof kSent / sizeof *kSent; ++i)
    CHECK_EQ(sigaction(kSent[i], &action, NULL), 0);
  action.sa_sigaction = on_step;
  CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
}

int main(int argc, char** argv) {
  CHECK(argc == 2 || argc == 3);
  CHECK(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("sse4.2"));
  const uint64_t end = now_ms() + (uint64_t)atol(argv[1]) * 1000;
  CHECK(readlink("/proc/self/exe", directory, sizeof directory - 1) > 0);
  *strrchr(directory, '/') = 0;
  make_end("end_of_code");
  memory = map_shared(kMemoryBytes);
  place_memory();
  void* warm[4];
  backtrace(warm, 4);  // loads what it needs
  const struct Library first = load(0);
  first_slots = first.slots, first_rotated = first.rotated;
  set_handlers();
  learn(first.slots, first.rotated);
  CHECK_EQ(pthread_barrier_init(&begun, NULL, kWorkers + 1), 0);
  CHECK_EQ(pthread_barrier_init(&done, NULL, kWorkers + 1), 0);
  for (int i = 0; i < kWorkers; ++i)
    CHECK_EQ(pthread_create(&threads[i], NULL, work, (void*)(intptr_t)i), 0);
  CHECK_EQ(pthread_create(&threads[kWorkers], NULL, be_stepped, argc == 3 ? argv[2] : NULL), 0);
  pthread_t sender;
  CHECK_EQ(pthread_create(&sender, NULL, send, NULL), 0);
  unsigned long cycles = 0;
  for (; now_ms() < end; ++cycles) {
    loaded = load(1 + (int)(cycles % 2));
    hot = 0;
    pthread_barrier_wait(&begun);
    change_placed(cycles);
    pthread_barrier_wait(&done);
    CHECK_EQ(dlclose(loaded.handle), 0);
    at_an_end("end_of_code", (volatile uint64_t*)cell_of(30));
  }
  over = 1;
  pthread_barrier_wait(&begun);
  CHECK_EQ(pthread_join(sender, NULL), 0);
  for (int i = 0; i <= kWorkers; ++i) CHECK_EQ(pthread_join(threads[i], NULL), 0);
  say("calls %lu cycles %lu forks %lu signals %lu elsewhere %lu steps %lu traces %lu\n", calls,
      cycles, forks, signals_in_slots, elsewhere, steps_in_slots, traces);
  return 0;
}
