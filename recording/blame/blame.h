// Who is to blame for a value: the accesses that led to what a recording saw in shared memory.
//
// The answer starts from the last access by the recording to each asked byte, at or before the
// asked time. If that is a read, what it read comes from the newest write before it in the order of
// the line, by any recording; if that write itself read (an atomic add, a compare-and-swap), its
// input is followed in the same way until a plain write. If the recording's last access is a write,
// it is shown with the write it replaced. Nothing is shown for a byte that the recording never
// touched. Where only writes are recorded (accesses: writes), the answer starts from the newest
// write to each byte by anybody: exact at the end, before it by the clock. Asked about the end,
// what others wrote after its last access is shown in rows of their own: it is what the memory
// holds, and not what the recording saw.
//
// Order of rows: for accesses to one line the order of versions, which is exact where the segment's
// order is. Accesses to different lines are ordered by the coarse clock, as far as lines and lanes
// allow. A read whose bytes differ from those of the write before it has an `unrecorded writer` row
// in between.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/blame/access_index.h"
#include "recording/blame/code_finder.h"
#include "recording/blame/locate.h"
#include "recording/blame/symbols.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

// A time in a recording: an event, and for display the pc there.
struct TimeInRecording {
  uint64_t event = UINT64_MAX;  // UINT64_MAX: the end
};

// "end", "2,822", "2822:0x5618d2d15c61". The pc is not needed and only checked for its form.
Result<TimeInRecording> parse_time(const std::string& text);
// "2,822:0x5618d2d15c61"
std::string format_time(uint64_t event, uint64_t pc);

struct BlameQuery {
  std::string where;
  std::string recording;  // ID, pid or name; empty: chosen, see below
  TimeInRecording time;
  std::optional<uint64_t> length;  // empty: what WHERE or the last access says
  uint64_t history = 0;            // earlier writes to show, newest first to be counted
  bool forward = false;            // who read the value, instead of where it came from
  bool last = false;  // who wrote last, of all recordings: none is asked about, nor a time
  bool all = false;   // every access, reads too, by all recordings or by the one that is named
  std::optional<ValueType> type;  // how values are read; empty: as WHERE says
  uint64_t limit = UINT64_MAX;    // rows
};

inline constexpr uint64_t kWholeHistory = UINT64_MAX;
inline constexpr uint64_t kMaxBlameBytes = 65536;

// Of an access its code, too, if the recording is known.
struct BlameRow : CodeSite {
  bool later = false;              // a write after the last access of the recording asked about
  bool unrecorded_writer = false;  // then only `value` and `segment` are set
  Access access;
  const Recording* recording = nullptr;  // nullptr: the process table does not know it
  bool current = false;                  // by the recording that was asked about
  uint64_t value_offset = 0;             // segment offset of the first byte below
  std::vector<uint8_t> value;            // asked bytes as written, or as read by a read
  std::vector<uint8_t> old_value;        // of a read/write: as read
};

struct BlameAnswer {
  Location location;                     // with its length settled
  std::string segment;                   // label
  bool writes_only = false;              // its reads are not in the log
  const Recording* recording = nullptr;  // asked about; nullptr: nobody accessed the bytes
  TimeInRecording time;
  std::vector<BlameRow> rows;      // oldest first
  uint64_t left_out = 0;           // rows beyond the limit, as far as they were counted; the last
                                   // of the notes is about them
  ValueType type;                  // how values are read
  std::vector<std::string> notes;  // what the reader of the rows must know
};

class Blame {
 public:
  Blame(const AccessIndex& index, const Timeline& timeline, Symbols& symbols)
      : context_{index, timeline, symbols} {}

  // Without query.recording: of the recordings that map WHERE and accessed it, the one that failed
  // first, else the one that accessed it last (subject.h).
  Result<BlameAnswer> ask(const BlameQuery& query) const;

 private:
  LocateContext context_;
};

}  // namespace shmrec::recording
