// More instructions than anybody keeps track of: code that is written, run once on shared memory
// and unmapped, over 200,000 times an instruction; code that is rewritten in place; and more code
// alive at one time than there is room for, all of it run twice. Memory must not grow with it.
#include "victim.h"

enum { kStub = 16, kStubsPerPage = kPage / kStub, kPages = 8, kAlive = 70000 };

typedef uint64_t (*Code)(volatile uint64_t* memory, uint64_t value);

// rdi = memory, rsi = value: add %rsi, (%rdi); mov $number, %eax; ret
static void write_stub(unsigned char* at, uint32_t number) {
  static const unsigned char kAdd[] = {0x48, 0x01, 0x37}, kMov = 0xB8, kRet = 0xC3;
  memcpy(at, kAdd, sizeof(kAdd));
  at[3] = kMov;
  memcpy(at + 4, &number, sizeof(number));
  at[8] = kRet;
}

static unsigned char* map_code(size_t bytes) {
  unsigned char* code =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(code != MAP_FAILED);
  return code;
}

static void run(unsigned char* stub, volatile uint64_t* memory, uint32_t number) {
  uint64_t before = memory[0];
  CHECK_EQ(((Code)stub)(memory, number), number);
  CHECK_EQ(memory[0], before + number);
}

// The process's own memory in KiB. (Shared pages are not its own.)
static long resident(void) {
  char line[256];
  long kib = -1;
  FILE* file = fopen("/proc/self/status", "r");
  CHECK(file);
  while (kib < 0 && fgets(line, sizeof(line), file)) sscanf(line, "RssAnon: %ld", &kib);
  fclose(file);
  CHECK(kib >= 0);
  return kib;
}

// Each time other numbers, so that none of it was seen before.
static uint32_t churn(volatile uint64_t* memory, uint32_t number, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    unsigned char* code = map_code(kPages * kPage);
    for (int stub = 0; stub < kPages * kStubsPerPage; ++stub) {
      write_stub(code + stub * kStub, ++number);
      run(code + stub * kStub, memory, number);
    }
    CHECK(munmap(code, kPages * kPage) == 0);
  }
  return number;
}

int main(void) {
  volatile uint64_t* memory = map_shared(kPage);
  uint32_t number = churn(memory, 0, 30);
  const long before = resident();
  number = churn(memory, number, 70);
  // One address, other bytes each time.
  unsigned char* code = map_code(kPage);
  for (int i = 0; i < 5000; ++i) {
    write_stub(code, ++number);
    code[9] = (unsigned char)i;
    run(code, memory, number);
  }
  const long grown = resident() - before;
  if (grown > 2048) fail(__FILE__, __LINE__, "grown by %ld KiB", grown);
  unsigned char* alive = map_code(kAlive * kStub);
  for (uint32_t i = 0; i < kAlive; ++i) write_stub(alive + i * kStub, i);
  for (uint32_t i = 0; i < kAlive; ++i) run(alive + i * kStub, memory, i);
  for (uint32_t i = 0; i < kAlive; i += 7) run(alive + i * kStub, memory, i);
  say("%u stubs, sum %llu\n", number, (unsigned long long)memory[0]);
  return 0;
}
