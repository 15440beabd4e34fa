// Anonymous MAP_SHARED memory across fork, to the second generation.
#include "victim.h"

enum { kWords = 64 };
static volatile uint64_t* words;

static void grandchild(void* unused) {
  (void)unused;
  for (int i = 0; i < kWords; ++i) words[i] = words[i] * 3 + i;
}

static void first_child(void* unused) {
  (void)unused;
  for (int i = 0; i < kWords; ++i) words[i] += 1000;
  wait_ok(child(grandchild, NULL));
  for (int i = 0; i < kWords; ++i) words[i] ^= 0x55;
}

int main(void) {
  words = map_shared(2 * kPage);
  uint64_t* untouched = map_private(kPage);
  for (int i = 0; i < kWords; ++i) words[i] = untouched[i] = i * i;
  wait_ok(child(first_child, NULL));
  uint64_t sum = 0;
  for (int i = 0; i < kWords; ++i) {
    CHECK_EQ(words[i], ((uint64_t)(i * i + 1000) * 3 + i) ^ 0x55);
    CHECK_EQ(untouched[i], i * i);
    sum = mix(sum, words[i]);
  }
  CHECK_EQ(words[kWords], 0);
  CHECK(munmap((void*)words, 2 * kPage) == 0);
  say("anon_fork %016llx\n", (unsigned long long)sum);
}
