#include "recording/index/chunk_summary.h"

#include <algorithm>

namespace shmrec::recording {
namespace {

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  return x;
}

uint64_t hash_of(uint32_t segment, uint64_t line) {
  return mix(line + uint64_t{segment} * 0xD6E8FEB86659FD93u);
}

}  // namespace

uint64_t line_version(const RecordView& record, uint32_t line) {
  return record.writes() ? record.write_version(line) : record.read_version(line);
}

void ChunkSummary::read(const ShmlogReader& reader, const ChunkCopy& copy) {
  facts_ = {};
  postings_.clear();
  std::fill(table_.begin(), table_.end(), kNone);
  uint32_t at = 0;
  RecordView record;
  while (copy.next(at, record)) {
    if (!record.is_clock() && reader.outcome(copy.info(), record) != Outcome::kNotDone)
      add_record(record);
  }
  damage_ = copy.damage_at(at);
  damaged_bytes_ = damage_ != nullptr ? copy.bytes_after(at) : 0;
}

void ChunkSummary::add_record(const RecordView& record) {
  facts_.first_event = std::min(facts_.first_event, record.header.event);
  facts_.last_event = std::max(facts_.last_event, record.header.event);
  ++facts_.records;
  facts_.has_between = facts_.has_between || record.between();
  const uint64_t line = record.header.offset / shmlog::kLineBytes;
  for (uint32_t i = 0; i < record.lines(); ++i) {
    // The version is filled in before the line is touched; an access that was cut short lacks the
    // rest.
    const uint64_t version = line_version(record, i);
    if (version != 0) add_line(record, line + i, version);
  }
}

void ChunkSummary::add_line(const RecordView& record, uint64_t line, uint64_t version) {
  LinePosting& of_line = posting(record.header.segment, line, record.writes());
  if (of_line.last_version == 0) of_line.first_version = of_line.last_version = version;
  of_line.first_version = std::min(of_line.first_version, version);
  of_line.last_version = std::max(of_line.last_version, version);
}

// Made if it is new, with version 0.
LinePosting& ChunkSummary::posting(uint32_t segment, uint64_t line, bool writes) {
  if (postings_.size() * 2 >= table_.size()) grow_table();
  uint32_t* place = find_place(segment, line, writes);
  if (*place == kNone) {
    *place = static_cast<uint32_t>(postings_.size());
    postings_.push_back({segment, writes, line, 0, 0});
  }
  return postings_[*place];
}

uint32_t* ChunkSummary::find_place(uint32_t segment, uint64_t line, bool writes) {
  const size_t mask = table_.size() - 1;
  size_t at = (hash_of(segment, line) >> 20 ^ static_cast<size_t>(writes)) & mask;
  const auto is_other = [&](const LinePosting& known) {
    return known.line != line || known.segment != segment || known.writes != writes;
  };
  while (table_[at] != kNone && is_other(postings_[table_[at]])) at = (at + 1) & mask;
  return &table_[at];
}

void ChunkSummary::grow_table() {
  table_.assign(table_.size() * 2, kNone);
  for (uint32_t i = 0; i < postings_.size(); ++i)
    *find_place(postings_[i].segment, postings_[i].line, postings_[i].writes) = i;
}

}  // namespace shmrec::recording
