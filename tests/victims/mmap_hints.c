// Memory asked for at addresses all over the address space, as code generators do: reserved near a
// random address, then used piece by piece at fixed ones.
#include "victim.h"

enum { kHints = 400, kReserved = 64 << 20 };

static int commit(char* at) {
  char* page =
      mmap(at, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(page == at);
  page[5] = 5;
  return page[5];
}

static void reserve_near(uint64_t hint) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  char* memory = mmap((void*)hint, kReserved, PROT_NONE, flags, -1, 0);
  CHECK(memory != MAP_FAILED);
  CHECK_EQ(commit(memory) + commit(memory + kReserved / 2) + commit(memory + kReserved - kPage),
           15);
  int* shared = mmap(memory + kReserved / 4, kPage, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK((char*)shared == memory + kReserved / 4);
  shared[3] = 3;
  CHECK_EQ(shared[3], 3);
  CHECK(munmap(memory, kReserved) == 0);
  memory = mmap((void*)hint, kReserved, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
  if (memory == MAP_FAILED)
    CHECK_EQ(errno, EEXIST);
  else
    CHECK(munmap(memory, kReserved) == 0);
}

int main(void) {
  uint64_t random = 0x1234567;
  // From 4 GiB to below the stack, evenly and at random.
  const uint64_t low = 1ull << 32, high = 0x7FFB00000000;
  for (uint64_t i = 0; i < kHints; ++i) {
    reserve_near((low + (high - low) / kHints * i) & -(uint64_t)kPage);
    reserve_near((low + next_random(&random) % (high - low)) & -(uint64_t)kPage);
  }
  say("%d places\n", 2 * kHints);
}
