// What the accesses of one chunk touch: the lines with their versions, the events.
//
// Aborted accesses, and lines that one did not come to, do not count.
// Owner: borrows nothing after read(). Threads: one at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

// A chunk's accesses to a line: those that write, or those that only read.
struct LinePosting {
  uint32_t segment = 0;
  bool writes = false;
  uint64_t line = 0;  // segment offset / kLineBytes
  uint64_t first_version = 0;
  uint64_t last_version = 0;
};

struct ChunkFacts {
  uint64_t first_event = UINT64_MAX;
  uint64_t last_event = 0;
  uint64_t records = 0;
  bool has_between = false;
};

uint64_t line_version(const RecordView& record, uint32_t line);

class ChunkSummary {
 public:
  // `reader` knows what became of the accesses.
  void read(const ShmlogReader& reader, const ChunkCopy& copy);

  const ChunkFacts& facts() const { return facts_; }
  const std::vector<LinePosting>& postings() const { return postings_; }  // in no order
  // Why the walk ended before the chunk's end, nullptr if it did not; and bytes not read.
  const char* damage() const { return damage_; }
  uint64_t damaged_bytes() const { return damaged_bytes_; }

 private:
  void add_record(const RecordView& record);
  void add_line(const RecordView& record, uint64_t line, uint64_t version);
  LinePosting& posting(uint32_t segment, uint64_t line, bool writes);
  uint32_t* find_place(uint32_t segment, uint64_t line, bool writes);
  void grow_table();

  static constexpr size_t kFirstTableSize = 4096;  // a power of two
  static constexpr uint32_t kNone = UINT32_MAX;
  ChunkFacts facts_;
  std::vector<LinePosting> postings_;
  // Hash table of indices into postings_: open addressing, at most half full; this is where
  // building spends its time.
  std::vector<uint32_t> table_ = std::vector<uint32_t>(kFirstTableSize, kNone);
  const char* damage_ = nullptr;
  uint64_t damaged_bytes_ = 0;
};

}  // namespace shmrec::recording
