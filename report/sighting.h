// One access as the report keeps it: what a row of a table needs, in a fixed size.
//
// Units: time in ticks of the log's clock since the survey's first (survey.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "recording/log/shmlog_format.h"

namespace shmrec::report {

struct Sighting {
  uint32_t process = 0;
  uint32_t segment = 0;
  uint64_t time = 0;
  uint64_t event = 0;
  uint64_t pc = 0;
  uint64_t offset = 0;
  uint64_t version = 0;  // of its first line
  uint32_t length = 0;
  uint16_t syscall = 0;  // number + 1, 0: an instruction
  bool reads = false, writes = false;
  uint8_t value_bytes = 0;  // of `value`: the first of what was written, or read
  uint8_t callers = 0;
  std::array<uint8_t, 16> value = {};
  std::array<uint64_t, shmlog::kMaxCallers> caller_words = {};

  uint64_t line() const { return offset / shmlog::kLineBytes; }
  uint64_t last_byte() const { return offset + length - 1; }
};

// Of one line by its versions, which is exact; else by the clock, which is coarse.
inline bool is_newer(const Sighting& a, const Sighting& b) {
  if (a.segment == b.segment && a.line() == b.line() && a.version != b.version)
    return a.version > b.version;
  if (a.time != b.time) return a.time > b.time;
  return a.event > b.event;
}

// Some processes, the first few by name.
struct ProcessSet {
  static constexpr uint8_t kNamed = 4;
  std::array<uint32_t, kNamed> named = {};
  uint8_t count = 0;
  bool more = false;

  void add(uint32_t process) {
    if (std::find(named.begin(), named.begin() + count, process) != named.begin() + count) return;
    if (count < kNamed)
      named[count++] = process;
    else
      more = true;
  }
  void merge(const ProcessSet& other) {
    for (uint8_t i = 0; i < other.count; ++i) add(other.named[i]);
    more = more || other.more;
  }
};

}  // namespace shmrec::report
