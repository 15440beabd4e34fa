// mlock, mlock2, mlockall, MCL_FUTURE and RLIMIT_MEMLOCK, without the privilege to exceed it: what
// the limit counts is what the program has mapped and locked.
#include <sys/resource.h>
#include <sys/shm.h>

#include "victim.h"

enum { kLimit = 8 * 1024 * 1024 };

static void show(const char* what, long result) {
  say("%s: %s\n", what, result == -1 ? strerrorname_np(errno) : "done");
}

static long locked_kb(void) {
  char line[256];
  long value = -1;
  FILE* status = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, status))
    if (!strncmp(line, "VmLck:", 6)) value = atol(line + 6);
  fclose(status);
  return value;
}

static int limit_to(rlim_t bytes) {
  struct rlimit limit = {bytes, bytes};
  return setrlimit(RLIMIT_MEMLOCK, &limit);
}

static void all(void* unused) {
  (void)unused;
  char* shared = map_shared(1 << 20);
  shared[5000] = 5;
  show("all", mlockall(MCL_CURRENT));
  CHECK(locked_kb() >= 1024 && locked_kb() < kLimit / 1024);
  CHECK_EQ(shared[5000], 5);
  show("none", munlockall());
  CHECK_EQ(locked_kb(), 0);
  show("future", mlockall(MCL_FUTURE));
  CHECK(map_shared(1 << 20) != NULL && map_private(1 << 20) != NULL);
  CHECK_EQ(locked_kb(), 2048);
  errno = 0;
  show("future too long", (long)mmap(NULL, kLimit, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  char* heap = sbrk(0);
  show("heap too long", (long)sbrk(kLimit));
  CHECK(sbrk(0) == heap);
  show("none", munlockall());
  CHECK(mmap(NULL, kLimit, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
  show("all and more", mlockall(MCL_CURRENT | MCL_FUTURE));
  show("on fault", mlockall(MCL_CURRENT | MCL_ONFAULT));
  show("flags", mlockall(MCL_ONFAULT));
  show("flags", mlockall(0));
}

static void ranges(void* unused) {
  (void)unused;
  CHECK(limit_to(64 * kPage) == 0);
  char* memory = map_shared(100 * kPage);
  CHECK(mprotect(memory + 10 * kPage, kPage, PROT_READ) == 0);
  show("below", mlock(memory, 40 * kPage));
  CHECK_EQ(locked_kb(), 160);
  show("again", mlock(memory, 40 * kPage));
  show("above", mlock(memory + 40 * kPage, 40 * kPage));
  CHECK_EQ(locked_kb(), 160);
  show("twin", mlock(mremap(memory, 0, 40 * kPage, MREMAP_MAYMOVE), 40 * kPage));
  show("unlock", munlock(memory, 100 * kPage));
  show("on fault", syscall(SYS_mlock2, memory, 60 * kPage, 1));
  CHECK_EQ(locked_kb(), 240);
  show("unlock", munlock(memory, 100 * kPage));
  show("mapped locked", (long)mmap(NULL, 50 * kPage, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == -1
                            ? -1
                            : 0);
  CHECK_EQ(locked_kb(), 200);
  CHECK(limit_to(0) == 0);
  show("not at all", mlockall(MCL_CURRENT));
  show("not at all", mlock(memory, kPage));
}

int main(void) {
  if (limit_to(kLimit) != 0) {
    say("no more than %d may be locked here\n", kLimit);
    return 0;
  }
  if (geteuid() == 0) CHECK(setresuid(65534, 65534, 65534) == 0);
  wait_ok(child(all, NULL));
  wait_ok(child(ranges, NULL));
}
