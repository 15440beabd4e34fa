// Which lines were accessed most, and which of these by several writers, in bounded memory.
//
// A table of lines with their counts. When it is full, the half that was accessed least is
// forgotten: a line that is hot over the run stays; one that comes back begins anew. So counts are
// never too high, and what was forgotten of a line is not more than missed().
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "report/sighting.h"

namespace shmrec::report {

class LineTable {
 public:
  struct Line {
    uint32_t segment = 0;  // 0: none
    uint64_t line = 0;     // offset / kLineBytes
    uint64_t reads = 0, writes = 0;
    ProcessSet writers;
    uint64_t accesses() const { return reads + writes; }
  };

  // `most`: lines to keep. REQUIRES: a power of two, 4 or more.
  explicit LineTable(size_t most = size_t{1} << 14);

  // REQUIRES: segment is not 0.
  void add(uint32_t segment, uint64_t line, uint32_t process, bool reads, bool writes);

  std::vector<Line> hottest(size_t count) const;
  // Those with two writers or more, the most written first.
  std::vector<Line> contested(size_t count) const;
  // The most accesses that were forgotten of any one line at a time; 0: the table has all lines.
  uint64_t missed() const { return missed_; }

 private:
  Line& find(uint32_t segment, uint64_t line);
  void forget_half();

  size_t most_;
  std::vector<Line> slots_;  // twice as many: a hash table with linear probing
  size_t used_ = 0;
  uint64_t missed_ = 0;
};

}  // namespace shmrec::report
