// A sparse index of a log's accesses: which chunks touch a line, and between which versions.
//
// For each (segment, line) and chunk there are at most two postings, one of the accesses that write
// and one of those that only read. A query picks the chunks whose version range can hold the answer
// and searches those, newest first, until nothing older can win. So the price of a question is a
// few chunks (64 KiB each), whatever the size of the log.
//
// A bundle of a large run has its postings with it (recording/index), and only the chunks that a
// question needs are read. Otherwise the index is built in memory, in one pass over all chunks on
// all processors, when a log is opened for a question.
//
// Position: accesses to one line are ordered by (version, reads before the write, event). Versions
// are TSC readings where the segment's order is relaxed.
//
// Owner: borrows the reader, which must outlive it. Threads: const after build().
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "recording/index/chunk_summary.h"
#include "recording/index/stored_index.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

// Names a record: a chunk by its place in ShmlogReader::chunks(), and the offset in it.
struct RecordId {
  uint32_t slot = 0;
  uint32_t at = 0;
  auto operator<=>(const RecordId&) const = default;
};

struct Position {
  uint64_t version = 0;
  bool write = false;
  uint64_t event = 0;
  auto operator<=>(const Position&) const = default;
};

// One access, copied out of the log.
struct Access {
  RecordId id;
  shmlog::RecordKind kind = shmlog::RecordKind::kRead;
  Outcome outcome = Outcome::kDone;
  shmlog::RecordHeader header;
  uint32_t process = 0;
  uint32_t lane = 0;
  int32_t tid = 0;
  std::vector<uint64_t> read_versions;   // per line; empty for a write
  std::vector<uint64_t> write_versions;  // per line; empty for a read
  // Per line, of an access whose place is only known to lie between two: the first it can have; the
  // versions above are the last. Empty for all others.
  std::vector<uint64_t> first_versions;
  bool finished = true;           // false: it may have happened later than its versions say
  std::vector<uint8_t> input;     // bytes read
  std::vector<uint8_t> output;    // bytes written
  std::vector<uint64_t> callers;  // shmlog::caller_word
  uint64_t tsc_low = 0;           // it happened after this reading
  uint64_t tsc_high = 0;          // and before this one; 0: unknown

  bool reads() const { return !read_versions.empty(); }
  bool writes() const { return !write_versions.empty(); }
  uint64_t end() const { return header.offset + header.length; }
  bool covers(uint64_t offset) const { return offset >= header.offset && offset < end(); }
  uint32_t line_index(uint64_t offset) const {
    return static_cast<uint32_t>(offset / shmlog::kLineBytes - header.offset / shmlog::kLineBytes);
  }
  // The first and the last version with which a read can have seen this write of a line, or, of a
  // read, with which a write can have been seen by it. REQUIRES: covers a byte of the line.
  uint64_t earliest(uint64_t offset) const;
  uint64_t latest(uint64_t offset) const;
  // Where this access stands among those to the line of `offset`. REQUIRES: covers a byte of it.
  Position position(uint64_t offset) const;
};

// Bytes of one line, and which accesses to them are wanted.
struct LineQuery {
  uint32_t segment = 0;
  uint64_t begin = 0;  // segment offsets; all in one line
  uint64_t end = 0;
  std::optional<uint64_t> before_version;  // only accesses whose version is smaller
  uint64_t after_version = 0;              // only accesses whose version is larger
  uint32_t process = 0;                    // 0: any
  uint64_t max_event = UINT64_MAX;
  uint64_t max_tsc = UINT64_MAX;  // only accesses that are not known to be later
  bool writes_only = false;
  size_t most = SIZE_MAX;  // of all(): the newest of them
};

class AccessIndex {
 public:
  // Reads every chunk once.
  static std::unique_ptr<AccessIndex> build(const ShmlogReader& reader);
  // Answers are worth nothing if stored->trouble() says something after them.
  static std::unique_ptr<AccessIndex> from_stored(const ShmlogReader& reader,
                                                  std::shared_ptr<const StoredIndex> stored);

  // For each byte of [begin, end) the newest access the query admits, if there is one.
  std::vector<std::optional<RecordId>> newest(const LineQuery& query) const;
  // All accesses the query admits, oldest first.
  std::vector<RecordId> all(const LineQuery& query) const;

  std::optional<Access> load(RecordId id) const;

  // The latest clock that a process is known to have reached by an event; 0: none is known.
  uint64_t clock_at(uint32_t process, uint64_t event) const;

  const ShmlogReader& reader() const { return reader_; }
  uint64_t records() const { return records_; }
  // Are there accesses whose place in the order is only known to lie between two?
  bool has_between() const { return has_between_; }
  // Chunks or parts of chunks that could not be used, beside ShmlogReader::damage().
  const std::vector<Damage>& damage() const { return damage_; }

 private:
  using Posting = StoredPosting;  // chunk(): the slot
  using Slot = ChunkFacts;
  class Builder;
  using Buckets = std::vector<std::vector<Posting>>;

  explicit AccessIndex(const ShmlogReader& reader) : reader_(reader) {}
  static uint64_t key_of(uint32_t segment, uint64_t line);
  size_t bucket_of(uint64_t key) const { return key % buckets_; }
  std::vector<Posting> postings_of(uint32_t segment, uint64_t line) const;
  std::vector<Posting> candidates(const LineQuery& query) const;
  std::shared_ptr<const ChunkCopy> chunk(uint32_t slot) const;
  template <typename Visit>
  void visit_matches(const LineQuery& query, const Posting& posting, Visit visit) const;

  const ShmlogReader& reader_;
  size_t buckets_ = 1;
  std::vector<Buckets> parts_;  // one per builder thread
  std::vector<Slot> slots_;
  std::vector<Damage> damage_;
  uint64_t records_ = 0;
  bool has_between_ = false;
  std::shared_ptr<const StoredIndex> stored_;  // nullptr: parts_ has the postings
  std::vector<uint32_t> slot_of_chunk_;        // of it; UINT32_MAX: not one that is read

  struct CachedChunk {
    uint32_t slot = UINT32_MAX;
    std::shared_ptr<const ChunkCopy> copy;
  };
  mutable std::mutex cache_mutex_;
  mutable std::array<CachedChunk, 64> cache_;
};

}  // namespace shmrec::recording
