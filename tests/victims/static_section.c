// Shared memory mapped over the program's own variables, which code names relative to rip, and over
// part of its heap.
#include "victim.h"

static struct {
  volatile uint8_t byte;
  volatile uint16_t half;
  volatile uint32_t word;
  volatile uint64_t quad;
  volatile double real;
  volatile uint32_t array[100];
} __attribute__((aligned(kPage))) variables;
static char rest_of_page[kPage - sizeof(variables) % kPage] __attribute__((used));

static void other(void* unused) {
  (void)unused;
  variables.byte += 3;
  variables.half ^= 0xFFFF;
  variables.word <<= 4;
  variables.quad = variables.quad * 7 + variables.word;
  variables.real = variables.real / 3 + 1;
  __asm__ volatile("lock incl %0\n\tmovl $5, %1\n\tcmpl $5, %1\n\tsete %2"
                   : "+m"(variables.word), "=m"(variables.array[50]), "=m"(variables.byte));
  for (int i = 0; i < 100; ++i) variables.array[i] += i;
}

int main(void) {
  memset((void*)&variables, 0x11, sizeof(variables));
  variables.real = 2.5;
  char copy[sizeof(variables)];
  memcpy(copy, (void*)&variables, sizeof(variables));
  CHECK(mmap(&variables, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == &variables);
  CHECK_EQ(variables.word, 0);
  memcpy((void*)&variables, copy, sizeof(variables));
  wait_ok(child(other, NULL));
  CHECK_EQ(variables.byte, 1);
  CHECK_EQ(variables.half, 0xEEEE);
  CHECK_EQ(variables.word, 0x11111111);
  CHECK_EQ(variables.quad, 0x1111111111111111ull * 7 + 0x11111110);
  CHECK(variables.real == 2.5 / 3 + 1);
  CHECK_EQ(variables.array[50], 55);
  CHECK_EQ(variables.array[51], 0x11111111 + 51);
  char* heap = aligned_alloc(kPage, 4 * kPage);
  CHECK(mmap(heap + kPage, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0) == heap + kPage);
  memset(heap, 0x5A, 4 * kPage);
  CHECK_EQ(heap[2 * kPage - 1], 0x5A);
  say("static_section %llx\n", (unsigned long long)variables.quad);
}
