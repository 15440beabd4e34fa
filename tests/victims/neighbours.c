// Three processes count in words of different sizes that lie side by side in one line, each in its
// own words and without a lock: whoever stores more than its instruction does takes a neighbour's
// count away. In the line beside it they count with LOCK in words that are everybody's.
#include "victim.h"

enum { kProcesses = 3, kRounds = 30000 };

struct Counts {
  uint64_t eight;
  uint32_t four;
  uint16_t two;
  uint8_t one;
  uint8_t untouched;
};

struct Lines {
  _Alignas(64) struct Counts own[kProcesses];
  _Alignas(64) struct Counts common;
};

static struct Lines* lines;

static void count(struct Counts* counts) {
  asm volatile("incq %0" : "+m"(counts->eight));
  asm volatile("addl $1, %0" : "+m"(counts->four));
  asm volatile("addw $1, %0" : "+m"(counts->two));
  asm volatile("incb %0" : "+m"(counts->one));
}

static void count_locked(struct Counts* counts) {
  asm volatile("lock incq %0" : "+m"(counts->eight));
  asm volatile("lock addl $1, %0" : "+m"(counts->four));
  asm volatile("lock addw $1, %0" : "+m"(counts->two));
  asm volatile("lock incb %0" : "+m"(counts->one));
}

static void work(void* own) {
  for (int i = 0; i < kRounds; ++i) {
    count(own);
    count_locked(&lines->common);
  }
}

static void check(const struct Counts* counts, uint64_t times) {
  CHECK_EQ(counts->eight, times);
  CHECK_EQ(counts->four, times);
  CHECK_EQ(counts->two, times % 65536);
  CHECK_EQ(counts->one, times % 256);
  CHECK_EQ(counts->untouched, 0x55);
}

int main(void) {
  lines = map_shared(sizeof *lines);
  lines->common.untouched = 0x55;
  pid_t workers[kProcesses];
  for (int i = 0; i < kProcesses; ++i) {
    lines->own[i].untouched = 0x55;
    workers[i] = child(work, &lines->own[i]);
  }
  for (int i = 0; i < kProcesses; ++i) wait_ok(workers[i]);
  for (int i = 0; i < kProcesses; ++i) check(&lines->own[i], kRounds);
  check(&lines->common, (uint64_t)kProcesses * kRounds);
  say("neighbours %d\n", kRounds);
}
