// When a segment was recorded in less detail than the policy says (limits.maxSlowdown), and why.
//
// A period begins when a process sets the brake, and ends when the last process that follows it has
// said that it records in full again, or has ended: each changes its own mappings at an event of
// its own. Source: the journal's entries of type brake, which a log that wraps may have lost; then
// the segment's entry says at least how often.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

struct BrakePeriod {
  shmlog::BrakeLevel level = shmlog::BrakeLevel::kOff;  // the loosest that a process may be at
  uint64_t begin_tsc = 0;                               // 0: before what the log still tells
  uint64_t end_tsc = 0;                                 // 0: to the end of the log
  uint64_t slowdown = 0;  // that was measured, in thousandths; 0: it goes on from one before
};

// Oldest first, without gaps between those that belong together.
std::vector<BrakePeriod> brake_periods(const ShmlogReader& log, uint32_t segment);

// "writes only" or "a sample of pages, writes only"
const char* brake_words(shmlog::BrakeLevel level);
// "from 0.213 s to 1.400 s"
std::string brake_time(const ShmlogReader& log, const BrakePeriod& period);
// "tracing made it 38.0 times as slow (limits.maxSlowdown: 2.0)"
std::string brake_cause(const ShmlogReader& log, uint64_t slowdown);
// What of the segment may not be in the log, for who asks about it: one line, "" if all is.
std::string brake_note(const ShmlogReader& log, uint32_t segment);

}  // namespace shmrec::recording
