// Reads a shared-memory log: tables, journal, chunks and the records in them.
//
// What it opens may be complete, cut off at any byte, torn by kill -9, still being written, or
// hostile. The reader trusts none of it: every offset and count is checked against the bytes that
// are there, tables are copied once at opening, a chunk is copied before it is parsed, and whatever
// cannot be used is left out and counted with its reason (damage()). Only a missing or foreign
// header is an error.
//
// Owner: open() maps the file and owns the mapping; from_memory() borrows the caller's bytes.
// Threads: const after opening, may be shared.
// Limits: a file that is made shorter while it is mapped raises SIGBUS; logs never shrink.
// Format: docs/shmlog_format.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::recording {

// Something that was found unusable and left out.
struct Damage {
  std::string reason;
  uint64_t count = 0;
  uint64_t bytes = 0;
};

// What is kept in memory of a log: all of it, or what its maker cannot make without bound.
struct ReadChoice {
  uint64_t journal_types = UINT64_MAX;  // bits of JournalType
  uint64_t journal_bytes =
      UINT64_MAX;         // of their entries; the others are counted: journal_left_out
  bool chunks = true;     // else they are only checked
  bool in_parts = false;  // they are not in the file, and not looked for
  // Where their headers come from, if not from memory: looking at each would map all of a log.
  std::function<shmlog::ChunkHeader(uint64_t at)> chunk_header = {};
};

// A table entry with the number by which the rest of the log names it: its place in the table, but
// for processes and segments (ProcessEntry::number, SegmentEntry::number).
template <typename T>
struct Numbered {
  uint32_t index = 0;
  T entry;
};

struct JournalItem {
  uint64_t place = 0;  // JournalEntry::place: entries are ordered by it
  shmlog::JournalEntry entry;
  std::string text;
};

struct ChunkInfo {
  uint32_t index = 0;  // in the file
  shmlog::ChunkHeader header;
};

// The chunks of a log of which only what lies before them is in the file (recording/index).
// Threads: read() from any.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  // All of the chunk's bytes; false if they cannot be had.
  virtual bool read_chunk(uint32_t index, std::span<uint8_t> into) const = 0;
};

// One access or clock inside a chunk's copy; valid while that copy is. A short record is seen as
// the long one that says the same: only `bytes` and header.commit tell them apart.
struct RecordView {
  shmlog::RecordHeader header;  // of a clock record only `commit` is set
  shmlog::RecordKind kind = shmlog::RecordKind::kRead;
  shmlog::RecordState state = shmlog::RecordState::kNone;
  uint32_t at = 0;     // offset in the chunk
  uint32_t bytes = 0;  // whole record
  uint64_t clock_tsc = 0;
  const uint8_t* body = nullptr;        // versions, then values; null: not an access
  const uint8_t* callers_at = nullptr;  // in the record, or in its place

  bool is_clock() const { return kind == shmlog::RecordKind::kClock; }
  bool reads() const { return shmlog::kind_reads(kind); }
  bool writes() const { return shmlog::kind_writes(kind); }
  bool between() const { return shmlog::kind_is_between(kind); }
  bool has_two_values() const { return reads() && writes(); }
  uint32_t lines() const { return shmlog::lines_touched(header.offset, header.length); }
  uint64_t read_version(uint32_t line) const;   // REQUIRES: line < lines()
  uint64_t write_version(uint32_t line) const;  // the same as read_version unless kReadThenWrite
  // The earliest place in the line's order. REQUIRES: between(). The versions above are the latest
  // place, or this one if the access was not finished.
  uint64_t first_version(uint32_t line) const;
  std::span<const uint8_t> input() const;   // bytes read; empty for a write
  std::span<const uint8_t> output() const;  // bytes written; empty for a read
  std::vector<uint64_t> callers() const;    // shmlog::caller_word

 private:
  const uint8_t* values() const;
};

// A copy of one chunk and a walk over its records: accesses and clocks. Places are passed over.
class ChunkCopy {
 public:
  const ChunkInfo& info() const { return info_; }
  // The next record from `at` on (0: the first), or false at the end of the usable records.
  bool next(uint32_t& at, RecordView& record) const;
  // Why the walk stopped at `at` before the zero word that ends a chunk; nullptr if it did not.
  const char* damage_at(uint32_t at) const;
  uint32_t bytes_after(uint32_t at) const { return static_cast<uint32_t>(bytes_.size()) - at; }

 private:
  friend class ShmlogReader;
  bool ends_at(uint32_t at) const;
  const char* parse(uint32_t at, RecordView& record) const;
  const char* parse_long(RecordView& record) const;
  const char* parse_place(RecordView& record) const;
  const char* parse_short(RecordView& record) const;
  ChunkInfo info_;
  std::vector<uint8_t> bytes_;
};

// Whether the access that a record announces happened.
enum class Outcome {
  kDone,
  kPartial,   // the lines that have a version were done, its thread died before the others
  kInferred,  // its thread died in it, holding a stripe: an atomic operation that happened, or a
              // store that may have happened to the lines that have a version
  kInFlight,  // as kInferred, but nobody has needed the stripe since, or it is happening now; the
              // new value of an atomic operation is not known
  kNotDone,
};

class ShmlogReader {
 public:
  static Result<std::unique_ptr<ShmlogReader>> open(const std::string& path);
  // The file is as long as the log, and has it up to its chunks. `heads`: of all chunks that were
  // ever used.
  static Result<std::unique_ptr<ShmlogReader>> open_in_parts(
      const std::string& path, const std::vector<ChunkInfo>& heads,
      std::shared_ptr<const ChunkSource> chunks);
  // `bytes` must outlive the reader. `name` stands for the path in messages.
  static Result<std::unique_ptr<ShmlogReader>> from_memory(std::span<const uint8_t> bytes,
                                                           const std::string& name,
                                                           const ReadChoice& choice = {});
  ~ShmlogReader();
  ShmlogReader(const ShmlogReader&) = delete;
  ShmlogReader& operator=(const ShmlogReader&) = delete;

  const shmlog::Header& header() const { return header_; }
  uint64_t loss(shmlog::Loss loss) const { return header_.losses[static_cast<uint32_t>(loss)]; }
  const std::vector<Damage>& damage() const { return damage_; }
  uint64_t journal_left_out() const {
    return journal_left_out_;
  }  // for want of choice.journal_bytes
  // Records that are known to be missing, for whatever reason.
  bool history_lost() const;

  const std::vector<shmlog::PolicyRule>& rules() const { return rules_; }
  const std::vector<Numbered<shmlog::ProcessEntry>>& processes() const { return processes_; }
  const std::vector<Numbered<shmlog::LaneEntry>>& lanes() const { return lanes_; }
  const std::vector<Numbered<shmlog::SegmentEntry>>& segments() const { return segments_; }
  const std::vector<Numbered<shmlog::UsageEntry>>& usage() const { return usage_; }
  const std::vector<JournalItem>& journal() const { return journal_; }
  const std::vector<ChunkInfo>& chunks() const { return chunks_; }  // by ticket, oldest first

  const shmlog::ProcessEntry* process(uint32_t index) const;  // nullptr if there is none
  const shmlog::SegmentEntry* segment(uint32_t index) const;
  uint64_t stripe_word(uint32_t segment, uint64_t offset) const;  // 0 if the stripes are not there

  // Copies the chunk. False if it has been claimed anew since opening (a live log that wraps).
  // False too if its bytes cannot be had, or are not those of the chunk.
  bool copy_chunk(const ChunkInfo& chunk, ChunkCopy& copy) const;
  // The chunk that these bytes are, which must be kChunkBytes. False if it was not in use.
  static bool copy_chunk(uint32_t index, std::span<const uint8_t> bytes, ChunkCopy& copy);

  // What became of a record of kind other than kClock, by its state, its versions and its stripes.
  Outcome outcome(const ChunkInfo& chunk, const RecordView& record) const;

  double seconds_since_start(uint64_t tsc) const;

 private:
  ShmlogReader(std::span<const uint8_t> bytes, bool owns_mapping);
  static Result<std::unique_ptr<ShmlogReader>> open_file(const std::string& path,
                                                         const ReadChoice& choice);
  Result<> load(const std::string& name, const ReadChoice& choice);
  void load_tables();
  void load_journal(const ReadChoice& choice);
  void load_old_journal(uint32_t units, const ReadChoice& choice);
  void load_journal_ring(uint32_t units, const ReadChoice& choice);
  const shmlog::JournalEntry* ring_entry(uint32_t unit, uint32_t units,
                                         std::vector<uint8_t>& copy) const;
  void keep_journal(const shmlog::JournalEntry& entry, const uint8_t* text,
                    const ReadChoice& choice, uint64_t& kept);
  void load_chunks(const ReadChoice& choice);
  void add_chunk(const ChunkInfo& chunk, bool keep);
  void sort_chunks();
  template <typename T>
  uint32_t usable_entries(const shmlog::Area& area, uint32_t limit, const char* what);
  template <typename T>
  void load_table(const shmlog::Area& area, uint32_t next, const char* what,
                  std::vector<Numbered<T>>& into);
  void add_damage(const std::string& reason, uint64_t count, uint64_t bytes);

  std::span<const uint8_t> bytes_;
  bool owns_mapping_;
  shmlog::Header header_;
  std::vector<Damage> damage_;
  std::vector<shmlog::PolicyRule> rules_;
  std::vector<Numbered<shmlog::ProcessEntry>> processes_;
  std::vector<Numbered<shmlog::LaneEntry>> lanes_;
  std::vector<Numbered<shmlog::SegmentEntry>> segments_;
  std::vector<Numbered<shmlog::UsageEntry>> usage_;
  std::vector<JournalItem> journal_;
  uint64_t journal_left_out_ = 0;
  std::vector<ChunkInfo> chunks_;
  std::shared_ptr<const ChunkSource> source_;  // nullptr: they are in the file
};

// Text of a fixed field up to its first NUL.
template <size_t N>
std::string fixed_text(const char (&field)[N]) {
  size_t length = 0;
  while (length < N && field[length] != '\0') ++length;
  return std::string(field, length);
}

}  // namespace shmrec::recording
