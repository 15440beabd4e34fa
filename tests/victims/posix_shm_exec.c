// POSIX shared memory found by name in unrelated processes, at different addresses; the name is
// removed and used again for another object.
#include "victim.h"

enum { kWords = 100, kBytes = 3 * kPage };

static uint64_t* open_at(const char* name, uint64_t hint, int flags) {
  int fd = shm_open(name, flags, 0600);
  CHECK(fd >= 0);
  if (flags & O_CREAT) CHECK(ftruncate(fd, kBytes) == 0);
  uint64_t* memory = mmap((void*)hint, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(memory != MAP_FAILED);
  CHECK_EQ((uint64_t)memory, hint);
  CHECK(close(fd) == 0);
  return memory;
}

static void run_self(const char* role, const char* name) {
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    execl("/proc/self/exe", "posix_shm_exec", role, name, NULL);
    _exit(9);
  }
  wait_ok(pid);
}

static int other(const char* role, const char* name) {
  uint64_t step = strcmp(role, "second") == 0 ? 2 : 1;
  uint64_t* words = open_at(name, 0x300000000000 + step * 0x10000000, O_RDWR);
  for (int i = 0; i < kWords; ++i) words[i * 3] += words[i * 3 + 1] + step;
  words[kBytes / 8 - 1] = step;
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 3) return other(argv[1], argv[2]);
  char name[64];
  snprintf(name, sizeof(name), "/shmrec-victim-%d", getpid());
  uint64_t sum = 0;
  for (int round = 0; round < 2; ++round) {
    uint64_t* words = open_at(name, 0x300000000000 + round * kPage * 16, O_RDWR | O_CREAT | O_EXCL);
    CHECK_EQ(words[0], 0);  // nothing is left of the first object
    for (int i = 0; i < kWords; ++i) words[i * 3 + 1] = i + round;
    run_self("first", name);
    run_self("second", name);
    for (int i = 0; i < kWords; ++i) {
      CHECK_EQ(words[i * 3], 2 * (i + round) + 3);
      sum = mix(sum, words[i * 3]);
    }
    CHECK_EQ(words[kBytes / 8 - 1], 2);
    CHECK(shm_unlink(name) == 0);
    words[7] = 7;
    CHECK_EQ(words[7], 7);  // the mapping outlives the name
  }
  CHECK_ERRNO(shm_unlink(name), ENOENT);
  say("posix_shm_exec %016llx\n", (unsigned long long)sum);
}
