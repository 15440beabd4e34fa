// Where a question is about: from what a person writes (WHERE) to bytes of a segment, as seen by
// one recording at one time.
//
//   0x7f61b0794118       an address in the recording
//   /ring+0x118, 2+280   a segment, by label, name, path or number, and an offset
//   &ring[2].value       an expression over the recording's global variables (expression.h)
//   libfoo.so:&ring[2]   the same, over those of one library
//
// A pointer in traced memory has the value that the recording last saw there; one in its static
// data that which was seen when the process was looked at (pointers_seen.h). What was not seen is
// not guessed: the error lists what is mapped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/blame/access_index.h"
#include "recording/blame/symbols.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

struct Location {
  uint32_t segment = 0;
  uint64_t offset = 0;
  uint64_t length = 0;             // 0: not known from WHERE
  std::vector<std::string> notes;  // what was assumed
  ValueType type;                  // of what WHERE names, if it says so
  bool operator==(const Location& other) const {
    return segment == other.segment && offset == other.offset && length == other.length;
  }
};

// How a segment is called in output and in WHERE: its path or /NAME, "memfd:NAME", "sysv:KEY",
// "anon#NUMBER".
std::string segment_label(uint32_t index, const shmlog::SegmentEntry* segment);

// True if `where` names a segment, so that no recording is needed to resolve it.
bool names_segment(const std::string& where);

struct LocateContext {
  const AccessIndex& index;
  const Timeline& timeline;
  Symbols& symbols;
};

// The clock when the recording had that event, as far as its log and journal tell: not later. Of
// UINT64_MAX when it ended; UINT64_MAX if that is not known.
uint64_t clock_by(const LocateContext& context, const Recording& recording, uint64_t event);

// The number of the segment that a person calls so: label, name, last part of a path, or number.
// The error lists what there is, as places to ask about with this offset.
Result<uint32_t> find_segment(const Timeline& timeline, const std::string& name,
                              uint64_t offset = 0);

Result<Location> locate_in_segments(const LocateContext& context, const std::string& where);
Result<Location> locate_in_recording(const LocateContext& context, const std::string& where,
                                     const Recording& recording, uint64_t event);

}  // namespace shmrec::recording
