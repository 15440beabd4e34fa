// mremap of shared memory: grow, shrink, move, move to a fixed address, duplicate with old_size 0.
#include "victim.h"

static void check_words(const volatile uint32_t* words, int count, uint32_t factor) {
  for (int i = 0; i < count; ++i) CHECK_EQ(words[i * 37], i * factor);
}

static void add_in_child(void* words) {
  for (int i = 0; i < 50; ++i) ((volatile uint32_t*)words)[i * 37] += i;
}

int main(void) {
  int fd = make_file("data", 8 * kPage);
  uint32_t* words =
      mmap((void*)0x340000000000, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(words != MAP_FAILED);
  for (int i = 0; i < 50; ++i) words[i * 37] = i * 3;
  // In place: the room behind is free.
  CHECK(mremap(words, 2 * kPage, 4 * kPage, 0) == words);
  words[3 * kPage / 4] = 33;
  // Not in place: something is in the way.
  void* obstacle = mmap((char*)words + 4 * kPage, kPage, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(obstacle != MAP_FAILED);
  CHECK_ERRNO(mremap(words, 4 * kPage, 8 * kPage, 0), ENOMEM);
  uint32_t* moved = mremap(words, 4 * kPage, 8 * kPage, MREMAP_MAYMOVE);
  CHECK(moved != MAP_FAILED && moved != words);
  check_words(moved, 50, 3);
  CHECK_EQ(moved[3 * kPage / 4], 33);
  moved[7 * kPage / 4 + 1] = 71;
  uint64_t value;
  CHECK_EQ(pread(fd, &value, 8, 7 * kPage), 8);
  CHECK_EQ(value, 71ull << 32);
  // To a fixed place that holds another shared mapping, which is thereby unmapped.
  uint32_t* target = map_shared(8 * kPage);
  target[0] = 999;
  uint32_t* fixed = mremap(moved, 8 * kPage, 8 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target);
  CHECK(fixed == target);
  check_words(fixed, 50, 3);
  // A piece from the middle.
  uint32_t* middle = mremap((char*)fixed + 2 * kPage, 2 * kPage, 2 * kPage,
                            MREMAP_MAYMOVE | MREMAP_FIXED, (void*)0x341000000000);
  CHECK_EQ((uint64_t)middle, 0x341000000000);
  CHECK_EQ(middle[kPage / 4], 33);
  CHECK_EQ(msync((char*)fixed + 2 * kPage, kPage, MS_ASYNC), -1);
  CHECK_EQ(errno, ENOMEM);
  CHECK_EQ(fixed[7 * kPage / 4 + 1], 71);
  // Duplicate.
  uint32_t* twin = mremap(fixed, 0, 2 * kPage, MREMAP_MAYMOVE);
  CHECK(twin != MAP_FAILED && twin != fixed);
  check_words(twin, 50, 3);
  ((volatile uint32_t*)twin)[5] = 555;
  CHECK_EQ(((volatile uint32_t*)fixed)[5], 555);
  wait_ok(child(add_in_child, twin));
  check_words(fixed, 50, 4);
  // Shrink, by mremap.
  CHECK(mremap(fixed, 2 * kPage, kPage, 0) == fixed);
  CHECK_EQ(((volatile uint32_t*)fixed)[37], 4);
  CHECK_ERRNO(madvise((char*)fixed + kPage, kPage, MADV_NORMAL), ENOMEM);
  CHECK_ERRNO(mremap((char*)twin + 1, kPage, kPage, MREMAP_MAYMOVE), EINVAL);
  CHECK_ERRNO(mremap(twin, 2 * kPage, kPage, MREMAP_FIXED, fixed), EINVAL);
  CHECK_ERRNO(mremap(obstacle + kPage, kPage, 2 * kPage, MREMAP_MAYMOVE), EFAULT);
  // Anonymous shared memory too.
  uint32_t* anonymous = map_shared(2 * kPage);
  anonymous[3] = 3;
  uint32_t* anonymous_moved =
      mremap(anonymous, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, (void*)0x342000000000);
  CHECK_EQ((uint64_t)anonymous_moved, 0x342000000000);
  CHECK_EQ(anonymous_moved[3], 3);
  anonymous_moved[kPage / 4] = 1;
  say("mremap_forms %u %u\n", fixed[37 * 20], middle[kPage / 4]);
}
