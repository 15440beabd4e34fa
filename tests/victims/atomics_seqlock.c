// Atomic counters, a compare-and-swap list and a seqlock between processes and threads.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

enum { kProcesses = 3, kThreads = 2, kRounds = 150, kWriters = kProcesses * kThreads };

struct Shared {
  atomic_ulong add, sub, or_bits, xor_bits, max;
  atomic_uchar byte;
  atomic_ushort half;
  atomic_uint head;  // of a list of node numbers + 1
  atomic_uint next[kWriters * kRounds + 1];
  atomic_int seats;
  // Seqlock: words are equal whenever sequence is even.
  atomic_uint sequence;
  volatile unsigned long words[6];
  atomic_int writer_lock;
};

static struct Shared* shared;

static void push(unsigned node) {
  unsigned head = atomic_load(&shared->head);
  do {
    atomic_store(&shared->next[node], head);
  } while (!atomic_compare_exchange_weak(&shared->head, &head, node));
}

static void write_sequence(unsigned long value) {
  while (atomic_exchange(&shared->writer_lock, 1)) sched_yield();
  atomic_fetch_add(&shared->sequence, 1);
  for (int i = 0; i < 6; ++i) shared->words[i] = value;
  atomic_fetch_add(&shared->sequence, 1);
  atomic_store(&shared->writer_lock, 0);
}

static void read_sequence(void) {
  for (;;) {
    unsigned before = atomic_load_explicit(&shared->sequence, memory_order_acquire);
    unsigned long words[6];
    for (int i = 0; i < 6; ++i) words[i] = shared->words[i];
    atomic_thread_fence(memory_order_acquire);
    if (before % 2 == 1 || atomic_load(&shared->sequence) != before) {
      sched_yield();
      continue;
    }
    for (int i = 1; i < 6; ++i) CHECK_EQ(words[i], words[0]);
    return;
  }
}

static void* work(void* unused) {
  (void)unused;
  int seat = atomic_fetch_add(&shared->seats, 1);
  for (unsigned long i = 1; i <= kRounds; ++i) {
    atomic_fetch_add(&shared->add, i);
    atomic_fetch_sub(&shared->sub, seat + 1);
    atomic_fetch_or(&shared->or_bits, 1ul << (i % 60));
    atomic_fetch_xor(&shared->xor_bits, i * 0x9E3779B97F4A7C15 + seat);
    atomic_fetch_add(&shared->byte, 3);
    atomic_fetch_add(&shared->half, 259);
    unsigned long max = atomic_load(&shared->max);
    while (max < seat * 1000 + i &&
           !atomic_compare_exchange_strong(&shared->max, &max, seat * 1000 + i)) {
    }
    push(seat * kRounds + i);
    if (i % 16 == 0) write_sequence(i * 100 + seat);
    if (i % 8 == 0) read_sequence();
  }
  return NULL;
}

static void process(void* unused) {
  (void)unused;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
  work(NULL);
  CHECK(pthread_join(thread, NULL) == 0);
}

int main(void) {
  shared = map_shared(sizeof(*shared));
  pid_t pids[kProcesses];
  for (int i = 0; i < kProcesses; ++i) pids[i] = child(process, NULL);
  for (int i = 0; i < kProcesses; ++i) wait_ok(pids[i]);
  unsigned long xored = 0;
  for (unsigned long seat = 0; seat < kWriters; ++seat)
    for (unsigned long i = 1; i <= kRounds; ++i) xored ^= i * 0x9E3779B97F4A7C15 + seat;
  CHECK_EQ(shared->add, kWriters * kRounds * (kRounds + 1) / 2);
  CHECK_EQ(-shared->sub, kRounds * kWriters * (kWriters + 1) / 2);
  CHECK_EQ(shared->xor_bits, xored);
  CHECK_EQ(shared->or_bits, (1ul << 60) - 1);
  CHECK_EQ(shared->byte, (unsigned char)(3 * kWriters * kRounds));
  CHECK_EQ(shared->half, (unsigned short)(259 * kWriters * kRounds));
  CHECK_EQ(shared->max, (kWriters - 1) * 1000 + kRounds);
  int nodes = 0;
  unsigned long sum = 0;
  for (unsigned node = shared->head; node != 0; node = shared->next[node]) ++nodes, sum += node;
  CHECK_EQ(nodes, kWriters * kRounds);
  CHECK_EQ(sum, (unsigned long)nodes * (nodes + 1) / 2);
  say("atomics_seqlock %lu %lu\n", (unsigned long)shared->add, sum);
}
