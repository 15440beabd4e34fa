// A program that takes the whole address space for its own: it unmaps, advises, protects, locks,
// seals and moves all of what /proc/self/maps does not show. There is nothing, so nothing happens,
// and what it shares goes on as before.
#include <sys/shm.h>

#include "victim.h"

enum { kMaxGaps = 512 };
static const uint64_t kEnd = 0x7fffffff0000;

static struct Gap { uint64_t begin, end; } gaps[kMaxGaps];
static int count;

static void find_gaps(void) {
  FILE* maps = fopen("/proc/self/maps", "r");
  CHECK(maps);
  uint64_t end = 0x10000, first, last;
  for (char line[512]; fgets(line, sizeof line, maps);) {
    CHECK(sscanf(line, "%lx-%lx", &first, &last) == 2);
    if (first > kEnd) break;
    if (first > end && count < kMaxGaps) gaps[count++] = (struct Gap){end, first};
    end = last;
    if (strstr(line, "[heap]")) end += 1 << 20;  // it grows
  }
  if (end < kEnd && count < kMaxGaps) gaps[count++] = (struct Gap){end, kEnd};
  fclose(maps);
}

// How the calls that find nothing there end.
static void use_gaps(void) {
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    void* at = (void*)gaps[i].begin;
    const size_t bytes = gaps[i].end - gaps[i].begin;
    wrong += munmap(at, bytes) != 0;
    wrong += madvise(at, bytes, MADV_DONTNEED) != -1 || errno != ENOMEM;
    wrong += madvise(at, bytes, 12345) != -1 || errno != EINVAL;
    wrong += mprotect(at, bytes, PROT_NONE) != -1 || errno != ENOMEM;
    wrong += munlock(at, bytes) != -1 || errno != ENOMEM;
    wrong += mlock(at, bytes) != -1 || (errno != ENOMEM && errno != EPERM);
    wrong += mremap(at, bytes, kPage, MREMAP_MAYMOVE) != MAP_FAILED || errno != EFAULT;
    wrong += munmap((char*)at + 1, kPage) != -1 || errno != EINVAL;
  }
  say("wrong %d\n", wrong);
}

// From shared memory of its own over all that follows it.
static void cross_gaps(void) {
  for (int i = 0; i < count; ++i) {
    char* own = (char*)gaps[i].begin + (1ul << 30);
    if (gaps[i].end - gaps[i].begin < 1ul << 40) continue;
    CHECK(mmap(own, kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
          own);
    const size_t bytes = gaps[i].end - (uint64_t)own;
    CHECK_ERRNO(mprotect(own, bytes, PROT_READ | PROT_WRITE), ENOMEM);
    own[0] = 'x';
    CHECK_ERRNO(madvise(own, bytes, MADV_WILLNEED), ENOMEM);
    CHECK(munmap(own, bytes) == 0);
  }
}

// Who wants a fixed place there gets it or is refused; neither does harm.
static void want_places(char* moving) {
  int id = shmget(IPC_PRIVATE, kPage, IPC_CREAT | 0600), refused = 0, wanted = 0;
  for (uint64_t at = 1ul << 37; at < kEnd - (1ul << 37); at += 1ul << 37, ++wanted) {
    char* moved = mremap(moving, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, (void*)at);
    if (moved != MAP_FAILED) moving = moved;
    refused += moved == MAP_FAILED;
    CHECK(moving[0] == 'm');
    char* attached = shmat(id, (char*)at + kPage, 0);
    if (attached == (void*)-1) continue;
    attached[0] = 's';
    CHECK(shmdt(attached) == 0);
  }
  shmctl(id, IPC_RMID, NULL);
  say("most %d\n", refused < wanted / 4);
}

static void store(void* memory) { ((volatile char*)memory)[1] = 'y'; }

int main(void) {
  char* own = map_shared(kPage);
  own[0] = 'o';
  find_gaps();
  use_gaps();
  cross_gaps();
  char* moving = map_shared(kPage);
  moving[0] = 'm';
  want_places(moving);
  wait_ok(child(store, own));
  say("%c%c\n", own[0], own[1]);
}
