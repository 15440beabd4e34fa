// Which addresses a stub takes for memory that may be traced, outside of the window: the counters
// that the changes of regions leave.
#include <gtest/gtest.h>

#include <cstring>

// After libc's: the agent declares memcpy and others once more, without noexcept.
// clang-format off
#include "agent/memory/outside.h"
#include "agent/memory/regions.h"
#include "agent/memory/window.h"
// clang-format on

namespace shmrec::agent {

bool filtered = false;  // no seccomp filter is there
bool lets_pass(int64_t, const uint64_t*) { return true; }

namespace {

constexpr uint64_t kLow = 0x300000000000, kHigh = 0x321000000000, kGiB = 1 << 30;

// As a stub looks.
bool may_be_traced(uint64_t address) {
  return outside.pages[static_cast<uint16_t>(address >> outside.shift)] != 0;
}

bool all_zero() {
  for (const uint32_t pages : outside.pages)
    if (pages) return false;
  return true;
}

void insert(uint64_t begin, uint64_t bytes) {
  Region region = {};
  region.begin = begin;
  region.end = begin + bytes;
  region.alias = begin;
  region.protection = PROT_READ | PROT_WRITE;
  ASSERT_TRUE(region_insert(region));
}

void remove(uint64_t begin, uint64_t bytes) {
  region_remove(begin, begin + bytes, nullptr, nullptr);
}

class OutsideTest : public testing::Test {
 protected:
  void TearDown() override { remove(0, uint64_t{1} << 47); }
};

TEST_F(OutsideTest, PagesThatAreTracedAreFoundAndTheirNeighboursAreNot) {
  insert(kLow, 2 * kPage);
  insert(kHigh, kPage);
  EXPECT_FALSE(may_be_traced(kLow - 1));
  EXPECT_TRUE(may_be_traced(kLow));
  EXPECT_TRUE(may_be_traced(kLow + 2 * kPage - 1));
  EXPECT_FALSE(may_be_traced(kLow + 2 * kPage));
  EXPECT_TRUE(may_be_traced(kHigh + 8));
  EXPECT_FALSE(may_be_traced(kHigh - kGiB + 64 * kPage));
}

TEST_F(OutsideTest, WhatIsInTheWindowIsNotCounted) {
  const uint64_t window = uint64_t{window_number()} << kWindowShift;
  insert(window, kGiB);
  EXPECT_TRUE(all_zero());
  insert(window - kPage, kPage);
  EXPECT_TRUE(may_be_traced(window - kPage));
}

TEST_F(OutsideTest, PiecesThatGoOneByOneLeaveNothing) {
  insert(kLow, 5 * kPage);
  remove(kLow + 2 * kPage, kPage);
  EXPECT_TRUE(may_be_traced(kLow + kPage));
  EXPECT_FALSE(may_be_traced(kLow + 2 * kPage));
  EXPECT_TRUE(may_be_traced(kLow + 3 * kPage));
  remove(kLow, 2 * kPage);
  remove(kLow + 3 * kPage, 2 * kPage);
  EXPECT_TRUE(all_zero());
}

TEST_F(OutsideTest, StretchesGrowWithWhatIsTracedAndAllOfItIsStillFound) {
  insert(kHigh, kPage);
  insert(kLow, 24 * kGiB);
  for (uint64_t at = 0; at < 24 * kGiB; at += 64 * kPage) ASSERT_TRUE(may_be_traced(kLow + at));
  EXPECT_TRUE(may_be_traced(kHigh));
  uint32_t marked = 0;
  for (const uint32_t pages : outside.pages) marked += pages != 0;
  EXPECT_LE(marked, kOutsideCounters / 16 + 4);
  remove(kLow + kGiB, kGiB);
  EXPECT_FALSE(may_be_traced(kLow + kGiB + kGiB / 2));
  EXPECT_TRUE(may_be_traced(kLow + kGiB - 1));
  remove(kLow, 24 * kGiB);
  EXPECT_TRUE(may_be_traced(kHigh));
  remove(kHigh, kPage);
  EXPECT_TRUE(all_zero());
  insert(kLow, kPage);
  EXPECT_FALSE(may_be_traced(kLow + kPage));
}

}  // namespace
}  // namespace shmrec::agent
