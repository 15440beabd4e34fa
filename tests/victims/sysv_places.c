// Segments of System V attached where the kernel likes: as often as wanted, with each flag, beside
// what is there already, in children, removed, and too large for most places.
#include <sys/ipc.h>
#include <sys/shm.h>

#include "victim.h"

enum { kBytes = 3 * kPage, kTimes = 200, kSome = 40 };

static int create(size_t bytes, int flags) {
  const int id = shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600 | flags);
  CHECK(id >= 0);
  return id;
}

static char* attach(int id, int flags) {
  char* at = shmat(id, NULL, flags);
  CHECK(at != (char*)-1 && (uintptr_t)at % kPage == 0);
  return at;
}

// What /proc/self/maps says of the mapping that begins there.
static void shown(const char* at, char protection[8], unsigned long* bytes) {
  FILE* maps = fopen("/proc/self/maps", "re");
  char line[512];
  CHECK(maps);
  for (*bytes = 0; fgets(line, sizeof line, maps);) {
    unsigned long begin, end;
    char read[8];
    if (sscanf(line, "%lx-%lx %4s", &begin, &end, read) != 3 || begin != (unsigned long)at)
      continue;
    CHECK(strstr(line, "/SYSV00000000 (deleted)"));
    strcpy(protection, read), *bytes = end - begin;
  }
  CHECK(fclose(maps) == 0);
}

static void check_shown(const char* at, const char* protection) {
  char found[8] = "";
  unsigned long bytes;
  shown(at, found, &bytes);
  if (strcmp(found, protection) != 0 || bytes != kBytes)
    fail(__FILE__, __LINE__, "%s %lu", found, bytes);
}

// Executed again and again, in what is attached only.
static void use(char* at) {
  for (int i = 0; i < kTimes; ++i)
    __asm__ volatile("lock incl (%0)\n\tmovl $5, 4(%0)\n\tnopl 0(%0)" ::"r"(at) : "memory");
}

static int with_flags(int id) {
  char* at[] = {attach(id, 0), attach(id, SHM_RDONLY), attach(id, SHM_RND), attach(id, SHM_EXEC)};
  check_shown(at[0], "rw-s");
  check_shown(at[1], "r--s");
  check_shown(at[2], "rw-s");
  check_shown(at[3], "rwxs");
  CHECK_ERRNO(shmat(id, NULL, SHM_REMAP), EINVAL);
  CHECK_ERRNO(shmat(-1, NULL, 0), EINVAL);
  use(at[0]);
  use(at[2]);
  const int sum = ((volatile int*)at[1])[0];
  CHECK_EQ(((volatile int*)at[3])[0], sum);
  for (int i = 0; i < 4; ++i) CHECK(shmdt(at[i]) == 0);
  return sum;
}

// Each beside the last, with something in the place that the next one could have.
static void beside_others(int id) {
  char *at[kSome], *between[kSome];
  for (int i = 0; i < kSome; ++i) {
    at[i] = attach(id, 0);
    for (int k = 0; k < i; ++k) CHECK(at[i] + kBytes <= at[k] || at[k] + kBytes <= at[i]);
    between[i] = mmap(at[i] + kBytes, 2 * kPage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (between[i] != MAP_FAILED) between[i][0] = between[i][kPage] = (char)i;
  }
  for (int i = 0; i < kSome; ++i) {
    if (between[i] != MAP_FAILED) {
      CHECK_EQ(between[i][0] + between[i][kPage], 2 * i);
      CHECK(munmap(between[i], 2 * kPage) == 0);
    }
    CHECK_EQ(((volatile int*)at[i])[1], 5);
    CHECK(shmdt(at[i]) == 0);
    CHECK_ERRNO(shmdt(at[i]), EINVAL);
    if (i % 2) continue;
    CHECK(shmat(id, at[i], 0) == at[i]);  // where it was, it can be again
    CHECK(shmdt(at[i]) == 0);
  }
}

static void in_child(void* at) {
  use(at);
  CHECK(shmdt(at) == 0);
}

static int removed(void) {
  const int id = create(kBytes, 0);
  char* at = attach(id, 0);
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  char* again = attach(id, 0);
  wait_ok(child(in_child, at));
  use(again);
  const int sum = *(volatile int*)at;
  CHECK(shmdt(at) == 0);
  CHECK_EQ(((volatile int*)again)[1], 5);
  CHECK(shmdt(again) == 0);
  CHECK_ERRNO(shmat(id, NULL, 0), EINVAL);
  return sum;
}

// No more than the address space, of which most is never touched.
static void large(void) {
  const size_t bytes = (size_t)600 << 30;
  const int id = create(bytes, SHM_NORESERVE);
  char* at = attach(id, 0);
  at[bytes - 1] = 7;
  CHECK_EQ(((volatile char*)at)[bytes - 1], 7);
  CHECK(shmdt(at) == 0);
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

int main(void) {
  const int id = create(kBytes - 100, 0);
  const int sum = with_flags(id);
  beside_others(id);
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  const int more = removed();
  large();
  say("sysv_places %d %d\n", sum, more);
  return 0;
}
