// A timer interrupts loops of many kinds; its handler samples how far they are. The samples are the
// proof: who executes the program again must interrupt each loop in the very same iteration.
//
// usage: interrupted KIND
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

enum { kSamples = 40 };

static volatile uint64_t counter;
static uint64_t samples[kSamples];
static volatile int taken;

static void take(int signal) {
  (void)signal;
  if (taken < kSamples) samples[taken++] = counter;
}

static int more(void) { return taken < kSamples; }

static void memory(void) {
  while (more()) counter++;
}

static void atomic(void) {
  while (more()) __asm__ volatile("lock incq %0" : "+m"(counter)::"cc");
}

// Its head is within five bytes of each of its instructions.
static void short_branch(void) {
  while (more()) {
    uint64_t n = 1 << 20;
    __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(n)::"cc");
    counter++;
  }
}

static void registers(void) {
  uint64_t x = 1;
  while (more()) {
    for (int i = 0; i < 1000; i++) x = x * 6364136223846793005u + 1442695040888963407u;
    counter = x;
  }
}

static void strings(void) {
  static char bytes[1 << 20];
  while (more()) {
    uint64_t count = sizeof bytes;
    void* to = bytes;
    __asm__ volatile("rep stosb" : "+c"(count), "+D"(to) : "a"((int)counter) : "memory");
    memmove(bytes + 1, bytes, sizeof bytes - 1);
    counter++;
  }
}

static void one_instruction(void) {
  while (more()) {
    uint64_t n = 10000000;
    __asm__ volatile("1: loop 1b" : "+c"(n));
    counter++;
  }
}

static void empty(void) {
  while (more()) {
  }
}

static uint64_t depth(uint64_t n) { return n < 2 ? 1 : depth(n - 1) + depth(n - 2); }
static void calls(void) {
  while (more()) counter += depth(12);
}

static void floats(void) {
  volatile double x = 1;
  volatile long double y = 1;
  while (more()) {
    for (int i = 0; i < 100; i++) x = x * 1.0000001 + 1e-9, y = y * 1.0000002L;
    counter++;
    if (x > 1e6) x = 1;
    if (y > 1e6L) y = 1;
  }
}

static int by_value(const void* a, const void* b) {
  return *(const int*)a < *(const int*)b ? -1 : *(const int*)a > *(const int*)b;
}
static void sorting(void) {
  static int values[4096];
  while (more()) {
    for (int i = 0; i < 4096; i++) values[i] = (int)(i * 2654435761u + (uint32_t)counter);
    qsort(values, 4096, sizeof values[0], by_value);
    counter++;
  }
}

// 1: incq (%rdi); cmpl %edx, (%rsi); jb 1b; ret
static const uint8_t kLoop[] = {0x48, 0xFF, 0x07, 0x39, 0x16, 0x72, 0xF9, 0xC3};

static void* code_page(void) {
  void* page =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) exit(3);
  return page;
}

static void made(void) {
  void (*code)(volatile uint64_t*, volatile int*, int) = code_page();
  memcpy((void*)code, kLoop, sizeof kLoop);
  code(&counter, &taken, kSamples);
}

// mov $N, %eax; ret, whose N is written anew again and again.
static void changing(void) {
  uint8_t* page = code_page();
  const uint8_t code[] = {0xB8, 0, 0, 0, 0, 0xC3};
  memcpy(page, code, sizeof code);
  for (uint32_t n = 0; more(); n++) {
    memcpy(page + 1, &n, sizeof n);
    for (int i = 0; i < 100; i++) counter += ((uint32_t(*)(void))page)();
  }
}

static const struct {
  const char* name;
  void (*run)(void);
} kKinds[] = {
    {"memory", memory},       {"atomic", atomic},   {"short", short_branch},
    {"registers", registers}, {"strings", strings}, {"one", one_instruction},
    {"empty", empty},         {"calls", calls},     {"floats", floats},
    {"sorting", sorting},     {"made", made},       {"changing", changing},
};

int main(int argc, char** argv) {
  struct sigaction action = {.sa_handler = take, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  for (size_t i = 0; i < sizeof kKinds / sizeof kKinds[0]; i++) {
    if (argc != 2 || strcmp(argv[1], kKinds[i].name) != 0) continue;
    const struct itimerval every = {{0, 3000}, {0, 3000}};
    setitimer(ITIMER_REAL, &every, NULL);
    kKinds[i].run();
    const struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    printf("%d samples\n", taken);
    return 0;
  }
  return 2;
}
