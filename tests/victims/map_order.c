// One file mapped before and after fork, shared and private at once, twice in one process.
#include "victim.h"

enum { kBytes = 2 * kPage };

struct Shared {
  volatile int turn;
  volatile uint32_t values[64];
};

static int fd;
static struct Shared* before;

static void other(void* unused) {
  (void)unused;
  struct Shared* after =
      mmap((void*)0x330000000000, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(after != MAP_FAILED);
  await_value(&before->turn, 1);
  for (int i = 0; i < 64; ++i) after->values[i] = before->values[i] * 2;
  after->turn = 2;
  await_value(&before->turn, 3);
  CHECK(munmap(before, kBytes) == 0);
  for (int i = 0; i < 64; ++i) after->values[i] += 5;
}

int main(void) {
  fd = make_file("data", kBytes);
  before = map_fd(fd, kBytes, PROT_READ | PROT_WRITE);
  pid_t pid = child(other, NULL);
  for (int i = 0; i < 64; ++i) before->values[i] = i;
  // A private mapping follows the file until it is written.
  struct Shared* copy = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(copy != MAP_FAILED);
  CHECK_EQ(copy->values[9], 9);
  struct Shared* after = map_fd(fd, kBytes, PROT_READ | PROT_WRITE);
  before->turn = 1;
  await_value(&after->turn, 2);
  CHECK_EQ(copy->values[9], 18);
  copy->values[9] = 1;
  after->values[9] = 100;
  CHECK_EQ(copy->values[9], 1);
  CHECK_EQ(before->values[9], 100);
  CHECK(munmap(before, kBytes) == 0);
  after->turn = 3;
  wait_ok(pid);
  uint64_t sum = 0;
  for (int i = 0; i < 64; ++i) {
    CHECK_EQ(after->values[i], i == 9 ? 105 : 2 * i + 5);
    sum = mix(sum, after->values[i]);
  }
  say("map_order %016llx\n", (unsigned long long)sum);
}
