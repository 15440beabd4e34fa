// Code that touches shared memory, executed for the first time by several threads at once, with
// signals, forks, and jumps into the middle of what a recorder may want to change: each result is
// known.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "victim.h"

enum { kSlots = 300, kSlotBytes = 61, kThreads = 4, kRounds = 3, kForks = 6 };

// Each slot: adds 1 to *cell if `skip` is 0, returns *cell + *own, and stores that into cell[1].
// Its length is no multiple of anything, so that some lie across the ends of lines and of pages.
// `skip` jumps to instructions that follow a short one, and behind a lock prefix.
extern const unsigned char slots[];
__asm__(
    ".text\n"
    ".balign 64\n"
    "slots:\n"
    ".rept 300\n"
    "0: test %edx, %edx\n"
    "jne 1f\n"
    "lock incq (%rdi)\n"
    "1: mov (%rdi), %rax\n"
    "mov (%rsi), %rcx\n"
    "add %rcx, %rax\n"
    "cmp $2, %edx\n"
    "je 2f\n"
    "mov %rdx, %rdx\n"
    "2: mov %rax, 8(%rdi)\n"
    "cmp %rax, 8(%rdi)\n"
    "jne 3f\n"
    "test %edx, %edx\n"
    "je 4f\n"
    "lock\n"
    "4: addl $0, 24(%rdi)\n"
    "ret\n"
    "3: ud2\n"
    ".fill 61 - (. - 0b), 1, 0xCC\n"
    ".endr\n");
typedef uint64_t slot_code(uint64_t* cell, const uint64_t* own, int skip);

struct Cell {
  uint64_t words[8];
};
static struct Cell* cells;    // one for each thread, process and handler
static atomic_ulong* common;  // incremented by all
static __thread struct Cell* handler_cell;

static uint64_t call(int slot, uint64_t* cell, const uint64_t* own, int skip) {
  return ((slot_code*)(uintptr_t)(slots + slot * kSlotBytes))(cell, own, skip);
}

static void use(struct Cell* cell, int slot) {
  const uint64_t own = (uint64_t)slot * 3;
  for (int skip = 0; skip < 3; ++skip) {
    const uint64_t expected = cell->words[0] + (skip == 0) + own;
    CHECK_EQ(call(slot, cell->words, &own, skip), expected);
    CHECK_EQ(cell->words[1], expected);
  }
  // The same code on private memory.
  uint64_t private_cell[8] = {7};
  CHECK_EQ(call(slot, private_cell, &own, 0), 8 + own);
  CHECK_EQ(private_cell[1], 8 + own);
  atomic_fetch_add(common, 1);
}

static volatile sig_atomic_t signals;
static void on_signal(int signal) {
  (void)signal;
  if (handler_cell) use(handler_cell, ++signals % kSlots);
}

static void run(int index, int direction) {
  handler_cell = &cells[2 * index];
  for (int round = 0; round < kRounds; ++round)
    for (int i = 0; i < kSlots; ++i) use(&cells[2 * index + 1], direction > 0 ? i : kSlots - 1 - i);
  handler_cell = NULL;
}

static void* thread(void* raw) {
  const int index = (int)(intptr_t)raw;
  run(index, index % 2 ? 1 : -1);
  return NULL;
}

static void fork_once(int index) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    run(index, 1);
    _exit(0);
  }
  int status;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

int main(void) {
  char* memory = map_shared(16 * kPage);
  cells = (struct Cell*)memory;
  common = (atomic_ulong*)(memory + 15 * kPage);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
  const struct itimerval every = {{0, 1700}, {0, 1700}};
  CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
  pthread_t ids[kThreads];
  for (int i = 0; i < kThreads; ++i)
    CHECK_EQ(pthread_create(&ids[i], NULL, thread, (void*)(intptr_t)i), 0);
  for (int i = 0; i < kForks; ++i) fork_once(kThreads + i);
  for (int i = 0; i < kThreads; ++i) CHECK_EQ(pthread_join(ids[i], NULL), 0);
  const struct itimerval never = {{0, 0}, {0, 0}};
  CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
  uint64_t sum = 0, expected = 0;
  for (int i = 0; i < kThreads + kForks; ++i) {
    CHECK_EQ(cells[2 * i + 1].words[0], kRounds * kSlots);
    sum += cells[2 * i].words[0] + cells[2 * i + 1].words[0];
    expected += kRounds * kSlots;
  }
  CHECK_EQ(*common, sum);
  say("patch_torture %llu\n", (unsigned long long)expected);
  return 0;
}
