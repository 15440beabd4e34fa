// The brake's decisions, as functions of numbers: no clock, no memory.
//
// The idea: a thread knows what its records have cost it, and what it has spent in all. Where that
// says that tracing makes it slower than limits.maxSlowdown, the segment that most of its records
// are of is recorded in less detail, for all processes; after a while of calm it is tried again
// with one level more. That comes too soon again and again where the load stays as it is, so the
// time until the next try doubles each time that it did.
//
// Example, maxSlowdown 2: a loop of stores. After 0.1 s its slowdown is 30: writes. After 0.3 s it
// still is: sampled. A second later nothing has been too busy: writes, and 0.1 s later sampled
// again, this time for 2 s, then 4, and so on up to 17 minutes.
//
// Units: TSC readings, ns, slowdowns in thousandths. Context: the agent, and unit tests.
#pragma once

#include "recording/log/shmlog_format.h"

namespace shmrec::agent {

using shmlog::BrakeLevel;

// SegmentEntry::brake in its parts.
struct Brake {
  BrakeLevel level = BrakeLevel::kOff;
  bool released = false;
  uint32_t doublings = 0;
  uint64_t since = 0;  // TSC
};
constexpr uint32_t kMostDoublings = 10;
constexpr Brake brake_of(uint64_t word) {
  return {shmlog::brake_level(word), (word >> 2 & 1) != 0, static_cast<uint32_t>(word >> 3 & 31),
          word >> 8 << 8};
}
constexpr uint64_t brake_word(const Brake& brake) {
  return static_cast<uint64_t>(brake.level) | uint64_t{brake.released} << 2 |
         uint64_t{brake.doublings} << 3 | brake.since >> 8 << 8;
}

// The counters of processors may differ a little.
constexpr uint64_t brake_passed(const Brake& brake, uint64_t now) {
  return now > brake.since ? now - brake.since : 0;
}

// ---- What it costs

// What a thread has been recorded at, since its last chunk: its records, those that C++ made, and
// of these the ones that began with a fault; bytes of log, and pages of it that were used for the
// first time. The prices are those of the mixes `dense` and `bulk` (docs/benchmarks.md), between
// those of different processors; what a fault costs differs most, and is measured (brake.cc).
struct BrakeCost {
  uint64_t records, slow, faults, bytes, pages;
  constexpr uint64_t ns(uint64_t fault_ns) const {
    constexpr uint64_t kRecord = 16, kSlow = 250, kPage = 700, kBytesPerNs = 4;
    return records * kRecord + slow * kSlow + faults * fault_ns + bytes / kBytesPerNs +
           pages * kPage;
  }
};
constexpr uint64_t kFaultNs = 5000, kLeastFaultNs = 800;  // until it is known, and what it may be
constexpr uint64_t kBrakeWindow = 100'000'000;            // ns of a thread's time between two looks

// The cost is an estimate: it may exceed what was spent.
constexpr uint32_t brake_slowdown(uint64_t spent_ns, uint64_t cost_ns) {
  constexpr uint64_t kMost = 1000;
  const uint64_t alone = spent_ns > cost_ns ? spent_ns - cost_ns : 0;
  if (spent_ns >= alone * kMost) return kMost * 1000;
  return static_cast<uint32_t>(spent_ns * 1000 / alone);
}
// Below this a level more may be tried.
constexpr uint32_t brake_calm(uint32_t max_slowdown) { return 1000 + (max_slowdown - 1000) / 2; }

// ---- What to do about it

// How long a level is kept at least before a tighter or a looser one.
constexpr uint64_t brake_settles(uint64_t tsc_hz) { return tsc_hz / 5; }
constexpr uint64_t brake_holds(const Brake& brake, uint64_t tsc_hz) {
  return tsc_hz << brake.doublings;
}
constexpr bool brake_tightest(const Brake& brake) { return brake.level == BrakeLevel::kSampled; }

// One of its threads is too slow. `writes_only`: by the policy. Returns the word unchanged if
// nothing is to be done.
constexpr uint64_t brake_tightened(uint64_t word, uint64_t now, uint64_t tsc_hz, bool writes_only) {
  Brake brake = brake_of(word);
  const uint64_t passed = brake_passed(brake, now);
  const bool set = brake.since != 0;
  if (brake_tightest(brake) || (set && passed < brake_settles(tsc_hz))) return word;
  if (brake.released && passed < 4 * brake_holds(brake, tsc_hz)) {
    if (brake.doublings < kMostDoublings) ++brake.doublings;
  } else if (brake.released) {
    brake.doublings = 0;
  }
  const bool to_writes = brake.level == BrakeLevel::kOff && !writes_only;
  brake.level = to_writes ? BrakeLevel::kWrites : BrakeLevel::kSampled;
  brake.released = false;
  brake.since = now;
  return brake_word(brake);
}

// It is not calm: a release would come too soon.
constexpr uint64_t brake_busy(uint64_t word, uint64_t now) {
  Brake brake = brake_of(word);
  if (brake.level == BrakeLevel::kOff) return word;
  brake.since = now;
  return brake_word(brake);
}

constexpr bool brake_releasable(uint64_t word, uint64_t now, uint64_t tsc_hz) {
  const Brake brake = brake_of(word);
  return brake.level != BrakeLevel::kOff && brake_passed(brake, now) >= brake_holds(brake, tsc_hz);
}

// REQUIRES: brake_releasable
constexpr uint64_t brake_released(uint64_t word, uint64_t now, bool writes_only) {
  Brake brake = brake_of(word);
  const bool to_writes = brake_tightest(brake) && !writes_only;
  brake.level = to_writes ? BrakeLevel::kWrites : BrakeLevel::kOff;
  brake.released = true;
  brake.since = now;
  return brake_word(brake);
}

// ---- Which pages are in the sample

// A segment has up to kSampleGroups groups of neighbouring pages, of which one in kSampleShare is
// recorded for a second at a time, in all processes the same.
constexpr uint64_t kSampleGroups = 256, kSampleShare = 16;
constexpr uint64_t sample_group_pages(uint64_t segment_pages) {
  return segment_pages <= kSampleGroups ? 1 : (segment_pages + kSampleGroups - 1) / kSampleGroups;
}
constexpr bool sample_has(uint64_t group, uint64_t segment_pages, uint32_t segment,
                          uint64_t second) {
  const uint64_t pages = sample_group_pages(segment_pages);
  const uint64_t groups = segment_pages ? (segment_pages + pages - 1) / pages : 1;
  const uint64_t share = groups < kSampleShare ? groups : kSampleShare;
  const uint64_t hash = (second * 0x9E3779B97F4A7C15 + segment) * 0xBF58476D1CE4E5B9;
  return group % share == (hash >> 32) % share;
}

}  // namespace shmrec::agent
