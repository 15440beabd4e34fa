// Mappings come and go where jumps of patched code lead to: below the code of a call that is made
// again and again. They are there while a recording patches that call, go, and come back when a
// replay has patched it.
#include "victim.h"

enum { kPlaces = 128, kBytes = 0x10000 };

static long calls(int count) {
  long same = 0;
  for (int i = 0; i < count; ++i) same += syscall(SYS_getppid) == getppid();
  return same;
}

static char* map_at(char* place) {
  return mmap(place, kBytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

int main(void) {
  char* const code = (char*)((uintptr_t)&syscall & -(uintptr_t)kBytes);
  char* places[kPlaces];
  int held = 0;
  for (int i = 1; i <= kPlaces; ++i)
    if (map_at(code - i * kBytes) == code - i * kBytes) places[held++] = code - i * kBytes;
  CHECK(held > kPlaces / 4);
  // So many calls that the recording begins to patch, of a kind that replay counts differently.
  for (int i = 0; i < 3000; ++i) CHECK(sigprocmask(SIG_BLOCK, NULL, &(sigset_t){}) == 0);
  CHECK_EQ(calls(100), 100);
  for (int i = 0; i < held; ++i) CHECK(munmap(places[i], kBytes) == 0);
  CHECK_EQ(calls(3000), 3000);
  for (int i = 0; i < held; ++i) {
    char* const at = map_at(places[i]);
    if (at == places[i]) memset(at, i, kBytes);
  }
  CHECK_EQ(calls(1000), 1000);
  say("mapped where stubs may be\n");
}
