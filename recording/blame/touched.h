// Which bytes of a segment were read and written, how often, and by whom last: what there is to ask
// about.
//
// Counts are of accesses that are in the log; what was overwritten is not among them. Bytes that
// were touched by the same accesses are one range.
//
// Threads: const input; one at a time. Price: one pass over the log.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "recording/run/timeline.h"

namespace shmrec::recording {

struct TouchedRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t reads = 0;  // read/write operations count in both
  uint64_t writes = 0;
  uint32_t last_process = 0;  // who wrote it last, 0: nobody
  uint64_t last_event = 0;
  uint64_t last_pc = 0;
};

// By offset; they do not overlap.
std::vector<TouchedRange> touched_ranges(const ShmlogReader& log, uint32_t segment);

// A table of the first `limit` ranges, and a line for the rest. `writes_only`: of a segment whose
// reads are not in the log.
std::string touched_text(const Timeline& timeline, const std::vector<TouchedRange>& ranges,
                         uint64_t limit, bool writes_only);
nlohmann::json touched_json(const Timeline& timeline, const std::vector<TouchedRange>& ranges);

}  // namespace shmrec::recording
