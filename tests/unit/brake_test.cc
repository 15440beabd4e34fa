// The brake: its decisions, which pages are sampled, and what readers make of the journal.
#include <gtest/gtest.h>

#include "agent/log/brake_rule.h"
#include "recording/log/brakes.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kHz = 3'000'000'000, kMs = kHz / 1000, kStart = 1000 * kHz;
constexpr uint32_t kMax = 2000;

BrakeLevel level(uint64_t word) { return brake_of(word).level; }

TEST(BrakeRule, SlowdownIsTimeByTimeWithoutTheCost) {
  EXPECT_EQ(brake_slowdown(100, 0), 1000u);
  EXPECT_EQ(brake_slowdown(100, 50), 2000u);
  EXPECT_EQ(brake_slowdown(100, 100), 1'000'000u);
  EXPECT_EQ(brake_slowdown(100, 200), 1'000'000u);  // it is an estimate
  EXPECT_EQ(brake_calm(kMax), 1500u);
  EXPECT_EQ(brake_calm(1000), 1000u);
}

TEST(BrakeRule, AFaultCostsMoreThanAJump) {
  EXPECT_GT((BrakeCost{1, 1, 1, 80, 0}.ns(kLeastFaultNs)),
            10 * (BrakeCost{1, 0, 0, 32, 0}.ns(kLeastFaultNs)));
}

TEST(BrakeRule, TightensByOneLevelAtATimeAndNotAtOnce) {
  uint64_t word = brake_tightened(0, kStart, kHz, false);
  EXPECT_EQ(level(word), BrakeLevel::kWrites);
  EXPECT_EQ(brake_tightened(word, kStart + 100 * kMs, kHz, false), word);
  word = brake_tightened(word, kStart + 300 * kMs, kHz, false);
  EXPECT_EQ(level(word), BrakeLevel::kSampled);
  EXPECT_EQ(brake_tightened(word, kStart + 3000 * kMs, kHz, false), word);
}

TEST(BrakeRule, WhereOnlyWritesAreRecordedAnywayTheSampleIsNext) {
  const uint64_t word = brake_tightened(0, kStart, kHz, true);
  EXPECT_EQ(level(word), BrakeLevel::kSampled);
  EXPECT_EQ(level(brake_released(word, kStart + kHz, true)), BrakeLevel::kOff);
}

TEST(BrakeRule, ReleasesAfterASecondOfCalm) {
  uint64_t word = brake_tightened(0, kStart, kHz, false);
  EXPECT_FALSE(brake_releasable(word, kStart + 900 * kMs, kHz));
  word = brake_busy(word, kStart + 900 * kMs);
  EXPECT_EQ(level(word), BrakeLevel::kWrites);
  EXPECT_FALSE(brake_releasable(word, kStart + 1800 * kMs, kHz));
  EXPECT_TRUE(brake_releasable(word, kStart + 1901 * kMs, kHz));
  word = brake_released(word, kStart + 1901 * kMs, false);
  EXPECT_EQ(level(word), BrakeLevel::kOff);
  EXPECT_FALSE(brake_releasable(word, kStart + 9000 * kMs, kHz));
  EXPECT_EQ(brake_busy(word, kStart + 9000 * kMs), word);
}

TEST(BrakeRule, WhatIsReleasedTooSoonIsHeldTwiceAsLong) {
  uint64_t word = 0, now = kStart, held = 0;
  for (int round = 0; round < 14; ++round) {
    word = brake_tightened(word, now, kHz, true);
    held = brake_holds(brake_of(word), kHz);
    EXPECT_EQ(held, kHz << std::min(round, 10)) << round;
    now += held + kMs;
    ASSERT_TRUE(brake_releasable(word, now, kHz));
    word = brake_released(word, now, true);
    now += 300 * kMs;
  }
  word = brake_tightened(word, now + 5 * held, kHz, true);  // after a long calm
  EXPECT_EQ(brake_holds(brake_of(word), kHz), kHz);
}

TEST(BrakeRule, ACounterThatIsBehindChangesNothing) {
  const uint64_t word = brake_tightened(0, kStart, kHz, false);
  EXPECT_EQ(brake_tightened(word, kStart - 1000, kHz, false), word);
  EXPECT_FALSE(brake_releasable(word, kStart - 1000, kHz));
}

TEST(BrakeSample, EachGroupIsInItNowAndThen) {
  for (const uint64_t pages : {1, 2, 15, 16, 256, 257, 100000}) {
    const uint64_t size = sample_group_pages(pages), groups = (pages + size - 1) / size;
    EXPECT_LE(groups, kSampleGroups);
    std::vector<int> seen(groups);
    for (uint64_t second = 0; second < 400; ++second) {
      uint64_t in = 0;
      for (uint64_t group = 0; group < groups; ++group)
        if (sample_has(group, pages, 3, second)) ++in, ++seen[group];
      EXPECT_GE(in, 1u);
      EXPECT_LE(in, groups / kSampleShare + 1);
    }
    for (const int times : seen) EXPECT_GT(times, 0) << pages;
  }
}

// ---- What the journal says of it

using recording::brake_periods;
using recording::BrakePeriod;
using recording::ShmlogReader;
using shmlog::BrakeReason;
using shmlog::JournalType;

class BrakePeriods : public ::testing::Test {
 protected:
  shmrec::testing::ShmlogBuilder log_;
  std::vector<uint8_t> bytes_;
  uint32_t segment_ = log_.add_segment(shmlog::SegmentKind::kMemfd, "ring");
  uint32_t a_ = log_.add_process({.id_high = 1, .pid = 1, .name = "a"});
  uint32_t b_ = log_.add_process({.id_high = 2, .pid = 2, .name = "b"});

  void say(uint32_t process, BrakeLevel level, BrakeReason reason, uint64_t slowdown = 0) {
    log_.add_journal(JournalType::kBrake, process, segment_,
                     {static_cast<uint64_t>(level), slowdown, static_cast<uint64_t>(reason)});
  }
  std::unique_ptr<ShmlogReader> read() {
    bytes_ = log_.build();
    auto reader = ShmlogReader::from_memory(bytes_, "test");
    EXPECT_TRUE(reader);
    return std::move(*reader);
  }
};

TEST_F(BrakePeriods, EndWhenTheLastProcessHasFollowed) {
  say(a_, BrakeLevel::kWrites, BrakeReason::kMeasured, 38000);
  say(a_, BrakeLevel::kWrites, BrakeReason::kFollowed);
  say(b_, BrakeLevel::kWrites, BrakeReason::kFollowed);
  say(b_, BrakeLevel::kSampled, BrakeReason::kMeasured, 9000);
  say(b_, BrakeLevel::kSampled, BrakeReason::kFollowed);
  say(a_, BrakeLevel::kWrites, BrakeReason::kCalm);
  say(a_, BrakeLevel::kOff, BrakeReason::kCalm);
  say(a_, BrakeLevel::kOff, BrakeReason::kFollowed);
  say(b_, BrakeLevel::kOff, BrakeReason::kFollowed);
  const auto log = read();
  const std::vector<BrakePeriod> periods = brake_periods(*log, segment_);
  ASSERT_EQ(periods.size(), 2u);
  EXPECT_EQ(periods[0].level, BrakeLevel::kWrites);
  EXPECT_EQ(periods[0].slowdown, 38000u);
  EXPECT_EQ(periods[0].end_tsc, periods[1].begin_tsc);
  EXPECT_EQ(periods[1].level, BrakeLevel::kSampled);  // b may be at it up to the end
  EXPECT_EQ(periods[1].slowdown, 9000u);
  EXPECT_EQ(periods[1].end_tsc, log->journal().back().entry.tsc);
  EXPECT_EQ(
      brake_note(*log, segment_).find("the segment was braked (limits.maxSlowdown): only writes"),
      0u);
  EXPECT_EQ(recording::brake_note(*log, segment_ + 1), "");
}

TEST_F(BrakePeriods, EndWithTheProcessThatDidNotFollow) {
  say(a_, BrakeLevel::kWrites, BrakeReason::kMeasured, 3000);
  say(b_, BrakeLevel::kWrites, BrakeReason::kFollowed);
  say(a_, BrakeLevel::kOff, BrakeReason::kCalm);
  log_.add_journal(JournalType::kChildExit, a_, 0, {2, 9});  // b was killed
  const auto log = read();
  const std::vector<BrakePeriod> periods = brake_periods(*log, segment_);
  ASSERT_EQ(periods.size(), 1u);
  EXPECT_EQ(periods[0].end_tsc, log->journal().back().entry.tsc);
}

TEST_F(BrakePeriods, WhoseBeginningIsLostBeginBefore) {
  say(a_, BrakeLevel::kOff, BrakeReason::kCalm);
  const auto log = read();
  const std::vector<BrakePeriod> periods = brake_periods(*log, segment_);
  ASSERT_EQ(periods.size(), 1u);
  EXPECT_EQ(periods[0].begin_tsc, 0u);
  EXPECT_EQ(brake_time(*log, periods[0]).find("up to "), 0u);
}

TEST_F(BrakePeriods, GoOnToTheEndOfARunThatEndsBraked) {
  say(a_, BrakeLevel::kSampled, BrakeReason::kMeasured, 3000);
  const auto log = read();
  const std::vector<BrakePeriod> periods = brake_periods(*log, segment_);
  ASSERT_EQ(periods.size(), 1u);
  EXPECT_EQ(periods[0].end_tsc, 0u);
}

}  // namespace
}  // namespace shmrec::agent
