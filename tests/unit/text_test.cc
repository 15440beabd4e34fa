// Replacing code that threads may be executing: which bytes are there at each moment. Another
// thread reads them meanwhile, all at once.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

// After libc's: the agent declares memcpy and others once more, without noexcept.
// clang-format off
#include "agent/patches/text.h"
// clang-format on

namespace shmrec::agent {

bool filtered = false;
bool lets_pass(int64_t, const uint64_t*) { return true; }
bool safe_copy(void* to, const void* from, size_t bytes, Fault*) {
  memcpy(to, from, bytes);
  return true;
}

namespace {

constexpr uint32_t kCount = 5;
constexpr uint64_t kMask = (uint64_t{1} << 8 * kCount) - 1;
// mov (%rdi), %eax; lock incl (%rdi); and a jump.
constexpr uint8_t kOld[8] = {0x8B, 0x07, 0xF0, 0xFF, 0x07};
constexpr uint8_t kNew[8] = {0xE9, 0x11, 0x06, 0x1F, 0x22};
constexpr Arrivals kArrivals = {0b00101, 0b01000};

uint64_t word_of(const uint8_t* bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word & kMask;
}
uint8_t byte(uint64_t word, uint32_t at) { return static_cast<uint8_t>(word >> 8 * at); }
bool stops(uint64_t word, uint32_t at) { return byte(word, at) == kBreakpoint; }
// Bytes 1 and 4, where no thread can arrive.
bool between_is(uint64_t word, const uint8_t* bytes) {
  return byte(word, 1) == bytes[1] && byte(word, 4) == bytes[4];
}

class Text : public testing::Test {
 protected:
  void SetUp() override {
    page_ = static_cast<uint8_t*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(page_, MAP_FAILED);
    memcpy(code(), kOld, sizeof kOld);
    ASSERT_EQ(mprotect(page_, 4096, PROT_READ | PROT_EXEC), 0);
  }
  void TearDown() override { munmap(page_, 4096); }

  uint8_t* code() const { return page_ + 1024; }
  bool replace(const uint8_t* from, const uint8_t* to, bool alone) {
    return text_replace(reinterpret_cast<uint64_t>(code()), from, to, kCount, kArrivals, alone);
  }
  uint64_t now() const {
    return __atomic_load_n(reinterpret_cast<uint64_t*>(code()), __ATOMIC_RELAXED) & kMask;
  }

  // All that was there while the bytes were replaced, there and back, until there was `enough` or
  // for some seconds.
  template <typename Enough>
  std::set<uint64_t> watch(Enough enough) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::atomic<bool> over = false, seen_enough = false;
    std::set<uint64_t> seen;
    std::thread watcher([&] {
      while (!over)
        if (seen.insert(now()).second) seen_enough = enough(seen);
    });
    while (!seen_enough && std::chrono::steady_clock::now() < end)
      EXPECT_TRUE(replace(kOld, kNew, false) && replace(kNew, kOld, false));
    over = true;
    watcher.join();
    return seen;
  }

  uint8_t* page_ = nullptr;
};

TEST_F(Text, IsReplacedAtOnceWhereThereIsOneThread) {
  ASSERT_TRUE(replace(kOld, kNew, true));
  EXPECT_EQ(now(), word_of(kNew));
}

TEST_F(Text, IsReplacedAndPutBack) {
  ASSERT_TRUE(replace(kOld, kNew, false));
  EXPECT_EQ(now(), word_of(kNew));
  ASSERT_TRUE(replace(kNew, kOld, false));
  EXPECT_EQ(now(), word_of(kOld));
}

TEST_F(Text, WhereThreadsArriveIsStoppedInOrderBeforeWhatTheyExecuteChanges) {
  // With the bytes between of either kind: nothing stopped, the first, the second instruction, too,
  // and behind its prefix, too.
  const auto enough = [](const std::set<uint64_t>& seen) { return seen.size() >= 8; };
  const std::set<uint64_t> seen = watch(enough);
  EXPECT_TRUE(enough(seen)) << seen.size();
  for (const uint64_t word : seen) {
    const bool old = between_is(word, kOld), made = between_is(word, kNew);
    SCOPED_TRACE(testing::Message() << std::hex << word);
    EXPECT_TRUE(old || made || (stops(word, 0) && stops(word, 2) && stops(word, 3)));
    EXPECT_TRUE(!stops(word, 3) || stops(word, 2));
    EXPECT_TRUE(!stops(word, 2) || stops(word, 0));
    for (const uint32_t at : {0, 2, 3})
      EXPECT_TRUE(stops(word, at) || byte(word, at) == (old ? kOld : kNew)[at]);
  }
}

}  // namespace
}  // namespace shmrec::agent
