// Restartable sequences: registering and refusing as the kernel does, an area in shared memory, and
// counters per processor, private and shared, that threads increment by sequences while signals
// interrupt them. Where libc registers none, the program says so and does it itself.
#include <linux/rseq.h>
#include <pthread.h>
#include <sys/rseq.h>
#include <sys/time.h>

#include "victim.h"

enum { kThreads = 4, kRounds = 20000, kProcessors = 1024, kRegistered = 32 };

struct Counter {
  _Alignas(64) intptr_t value;
};

static struct rseq* own_area(void) {
  return (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
}

static long register_area(void* area, size_t bytes, int flags, uint32_t signature) {
  return syscall(SYS_rseq, area, bytes, flags, signature);
}

// One attempt: false if the thread was interrupted or has moved to another processor.
static int try_increment(struct rseq* area, intptr_t* value, uint32_t processor) {
  __asm__ goto(
      ".pushsection __rseq_cs, \"aw\"\n"
      ".balign 32\n"
      "3: .long 0, 0\n"
      ".quad 1f, 2f - 1f, 4f\n"
      ".popsection\n"
      "leaq 3b(%%rip), %%rax\n"
      "movq %%rax, %c[sequence](%[area])\n"
      "1: cmpl %[processor], %c[now](%[area])\n"
      "jne 4f\n"
      "addq $1, (%[value])\n"
      "2:\n"
      ".pushsection __rseq_failure, \"ax\"\n"
      ".byte 0x0f, 0xb9, 0x3d\n"  // ud1, whose displacement is the signature
      ".long 0x53053053\n"
      "4: jmp %l[aborted]\n"
      ".popsection\n"
      :
      : [area] "r"(area), [value] "r"(value), [processor] "r"(processor),
        [sequence] "i"(offsetof(struct rseq, rseq_cs)), [now] "i"(offsetof(struct rseq, cpu_id))
      : "rax", "memory", "cc"
      : aborted);
  return 1;
aborted:
  return 0;
}

static void increment(struct rseq* area, struct Counter* counters) {
  for (;;) {
    const uint32_t processor = *(volatile uint32_t*)&area->cpu_id_start;
    CHECK(processor < kProcessors);
    if (try_increment(area, &counters[processor].value, processor)) return;
  }
}

static void* count(void* counters) {
  for (int i = 0; i < kRounds; ++i) increment(own_area(), counters);
  return NULL;
}

static void nothing(int signal) { (void)signal; }

static void count_by_threads(const char* where, struct Counter* counters) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i)
    CHECK_EQ(pthread_create(&threads[i], NULL, count, counters), 0);
  for (int i = 0; i < kThreads; ++i) CHECK_EQ(pthread_join(threads[i], NULL), 0);
  intptr_t sum = 0;
  for (int i = 0; i < kProcessors; ++i) sum += counters[i].value;
  CHECK_EQ(sum, kThreads * kRounds);
  say("%s: %ld counted\n", where, (long)sum);
}

static void check_errors(void) {
  static struct rseq other __attribute__((aligned(32)));
  CHECK_ERRNO(register_area(&other, kRegistered, 0, RSEQ_SIG), EINVAL);
  CHECK_ERRNO(register_area(own_area(), kRegistered, 0, RSEQ_SIG + 1), EPERM);
  CHECK_ERRNO(register_area(own_area(), kRegistered, 0, RSEQ_SIG), EBUSY);
  CHECK_ERRNO(register_area(own_area(), kRegistered, 8, RSEQ_SIG), EINVAL);
  CHECK_ERRNO(register_area(own_area(), kRegistered, RSEQ_FLAG_UNREGISTER, 1), EPERM);
}

// The kernel keeps the processor up to date there, until it is told not to.
static void use_shared_area(void) {
  struct rseq* shared = map_shared(kPage);
  struct Counter* counters = calloc(kProcessors, sizeof *counters);
  CHECK(register_area(own_area(), kRegistered, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0);
  CHECK_EQ((int)own_area()->cpu_id, RSEQ_CPU_ID_UNINITIALIZED);
  CHECK(register_area(shared, kRegistered, 0, RSEQ_SIG) == 0);
  CHECK(shared->cpu_id < kProcessors);
  for (int i = 0; i < 100; ++i) increment(shared, counters);
  CHECK(register_area(shared, kRegistered, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0);
  CHECK_EQ((int)shared->cpu_id, RSEQ_CPU_ID_UNINITIALIZED);
  say("area in shared memory\n");
}

int main(void) {
  CHECK(__rseq_size > 0);
  check_errors();
  const struct sigaction handler = {.sa_handler = nothing, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &handler, NULL) == 0);
  const struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  count_by_threads("private", calloc(kProcessors, sizeof(struct Counter)));
  struct Counter* shared = map_shared(kProcessors * sizeof(struct Counter));
  count_by_threads("shared", shared);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);

  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {  // it goes on with its parent's registration
    const intptr_t before = shared[own_area()->cpu_id].value;
    CHECK(before >= 0);
    increment(own_area(), shared);
    _exit(0);
  }
  CHECK_EQ(wait_status(child), 0);
  use_shared_area();
}
