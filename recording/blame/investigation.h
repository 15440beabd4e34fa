// The search behind an answer of blame: which accesses it lists, and in which order.
//
// An Investigation is of one question: some bytes of a segment, a recording (or none) and a time.
// Its find_*, trace_* and add_* collect accesses; ordered_rows gives them. blame.h says what an
// answer shows; access_index.h finds accesses by place and version.
//
// Owner: borrows all that it is given. Threads: one at a time.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "recording/blame/access_index.h"
#include "recording/blame/locate.h"

namespace shmrec::recording {

// Of accesses to a line that are counted and not shown. A lock can have millions.
inline constexpr uint64_t kMostCounted = 500;
inline constexpr int kMaxInputSteps = 64;  // read-modify-writes followed backwards for one byte

inline uint8_t byte_at(const std::vector<uint8_t>& bytes, const Access& access, uint64_t offset) {
  return bytes[offset - access.header.offset];
}

class Investigation {
 public:
  Investigation(const LocateContext& context, const Location& location, uint32_t process,
                uint64_t event)
      : index_(context.index), location_(location), process_(process), event_(event) {}

  // Newest access by the recording to each byte, at or before the time.
  void find_last_accesses();
  // Where reads are not in the log: the newest write to each byte, by any recording, that was made
  // by `tsc`. What the recording itself wrote counts by its event.
  void find_last_writes(uint64_t tsc);
  bool never_accessed() const { return last_.empty(); }

  // The chain behind each byte.
  void trace_back();
  // The write that gave each byte its current value, and who read that value.
  void trace_forward();
  // Who wrote each byte last, whoever that was.
  void find_last_writers();
  // Every access, by `process` (0: any); of a line at least the newest `limit`.
  void find_all(uint32_t process, uint64_t limit);
  // What others wrote to bytes after the recording's last access to them: what is there in the end.
  void find_later();
  // The newest `count` writes to the bytes that are older than what is already listed.
  void add_history(uint64_t count);
  // Readers whose bytes differ from those of the write before them, and the bytes.
  const std::map<RecordId, std::set<uint64_t>>& unrecorded() const { return unrecorded_; }
  std::vector<RecordId> ordered_rows() { return ordered(rows_); }
  std::vector<RecordId> ordered_later() { return ordered(later_); }
  const std::vector<std::string>& notes() const { return notes_; }
  const Access* load(RecordId id);
  // Was it too much to find all?
  bool more() const { return more_; }

 private:
  std::vector<std::pair<uint64_t, uint64_t>> pieces() const;

  LineQuery line_query(uint64_t begin, uint64_t end) const;
  // The newest accesses that the query admits, `wanted` or more; not all if there are many.
  std::vector<RecordId> newest(LineQuery query, uint64_t wanted, bool& more) const;
  void note(const std::string& text);
  void trace_byte(uint64_t byte, RecordId last);
  std::optional<RecordId> newer(uint64_t byte, const std::optional<RecordId>& a,
                                const std::optional<RecordId>& b);
  // Of the writes that `query` admits the newest before `id` that is not the recording's own after
  // the event.
  std::optional<RecordId> not_later(uint64_t byte, std::optional<RecordId> id, LineQuery query);
  // Where what the access found in `byte` came from. Writes by descriptor have no exact place in
  // the order of a line: where the newest write before the access does not explain what it found,
  // one that may have come before it counts; for all that this one explains, so that the bytes of a
  // value keep together.
  std::optional<RecordId> source_of(uint64_t byte, const Access& access);
  // What explains those asked bytes of the line of `byte` that the newest writes do not.
  std::set<RecordId> find_others(uint64_t byte, const Access& access);
  // The newest write that can have come before the access and left what it found.
  std::optional<RecordId> other_source(uint64_t byte, const Access& access,
                                       const std::optional<RecordId>& before);
  // Did this write leave in `byte` what the access found there?
  bool wrote(const std::optional<RecordId>& id, uint64_t byte, const Access& access);
  // The newest write to `byte` before the access read it (or, a plain write, replaced it).
  std::optional<RecordId> write_before(uint64_t byte, const Access& access);
  // Only asked bytes matter.
  void clip(LineQuery& query) const;
  void compare_values(uint64_t byte, RecordId write_id, RecordId read_id, const Access& read);
  void note_unexplained(uint64_t byte, const Access& access);
  // Writes to asked bytes after the last accesses that are in no row.
  uint64_t writes_between();
  void add_readers(uint64_t byte, RecordId write_id);
  // Accesses that read `byte` after the write of `version` and up to the next write to it.
  std::vector<RecordId> readers_of(uint64_t byte, uint64_t version);
  // The smallest version among listed rows in the line piece: history lies before it.
  std::optional<uint64_t> oldest_version(uint64_t begin, uint64_t end);
  std::vector<RecordId> ordered(const std::set<RecordId>& ids);

  struct LineWrites {
    uint64_t begin = 0;
    std::vector<std::optional<RecordId>> writes;
  };

  const AccessIndex& index_;
  const Location& location_;
  uint32_t process_;
  uint64_t event_;
  std::map<uint64_t, RecordId> last_;
  std::set<RecordId> rows_;
  std::set<RecordId> later_;
  std::map<RecordId, std::set<uint64_t>> unrecorded_;
  std::map<std::pair<RecordId, uint64_t>, LineWrites> sources_;
  std::map<std::pair<RecordId, uint64_t>, std::set<RecordId>> others_;
  std::set<RecordId> placed_early_;  // before what their latest version says
  std::map<RecordId, std::optional<Access>> loaded_;
  std::vector<std::string> notes_;
  bool more_ = false;
};

}  // namespace shmrec::recording
