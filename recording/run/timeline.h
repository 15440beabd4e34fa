// The run as recordings: who was started by whom, what was mapped where and when, how each ended.
//
// Built from the process table and the journal. A forked process inherits its
// parent's modules and segments as they were at the fork's place in the
// journal, until it lists its own; exec starts from nothing. The journal keeps
// a map until it is unmapped, covered by a later one, or not in a later list of
// all maps.
//
// Owner: borrows the reader. Threads: const after construction.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recording/log/shmlog_reader.h"
#include "recording/run/pid_lookup.h"

namespace shmrec::recording {

// A module (executable mapping of a file) or a piece of a segment in an address space.
struct Mapping {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t offset = 0;   // in the file or the segment, of `begin`
  uint32_t segment = 0;  // 0: a module
  uint32_t protection = 0;
  std::string path;  // of a module
};

// By begin; never overlapping.
class AddressSpace {
 public:
  void map(Mapping mapping);
  void unmap(uint64_t begin, uint64_t end);
  void protect(uint64_t begin, uint64_t end, uint32_t protection);
  const Mapping* find(uint64_t address) const;
  const std::map<uint64_t, Mapping>& mappings() const { return mappings_; }

 private:
  void split(uint64_t at);
  std::map<uint64_t, Mapping> mappings_;
};

struct Recording {
  uint32_t process = 0;  // entry in the process table
  std::string id;        // "%08x-%04x"
  std::string name;
  std::string executable;  // path, "" if the journal does not tell
  int32_t pid = 0;
  int32_t parent_pid = 0;
  uint64_t pid_namespace = 0;  // that both count in, 0: unknown
  uint32_t parent = 0;         // process entry, 0: unknown
  shmlog::StartKind start_kind = shmlog::StartKind::kExec;
  std::optional<int> signal;     // that ended it
  std::optional<int> exit_code;  // if it exited
  bool became_another = false;   // execve succeeded: its pid goes on as another recording
  bool ended = false;            // false: still running, or killed without a word
  shmlog::DegradedReason degraded = shmlog::DegradedReason::kNone;
  uint64_t start_tsc = 0;
  uint64_t end_tsc = 0;  // 0: unknown
  uint64_t events = 0;
  uint64_t accesses = 0;
  size_t journal_begin = 0;  // index of its first journal item
  uint64_t maps_from = 0;    // place in the journal: of its maps before, some were given up
};

std::string recording_id(uint32_t high, uint32_t low);

class Timeline {
 public:
  explicit Timeline(const ShmlogReader& reader);

  const ShmlogReader& reader() const { return reader_; }
  const std::vector<Recording>& recordings() const { return recordings_; }  // in order of start
  const Recording* by_process(uint32_t process) const;                      // nullptr if unknown
  // By ID, a unique prefix of one (4 characters or more), pid or name. An ambiguous one is an error
  // that lists the candidates.
  Result<const Recording*> find(const std::string& id_or_name) const;

  // The address space of a recording when its event number was `event` (UINT64_MAX: at its end).
  AddressSpace address_space(const Recording& recording, uint64_t event) const;

  // The events, in order, with which what lies at any of these addresses may have changed: between
  // two of them all is as address_space() says for the first.
  std::vector<uint64_t> changes_at(const Recording& recording,
                                   const std::vector<uint64_t>& addresses) const;

  // All pieces of segments it ever had mapped, inherited ones first.
  std::vector<Mapping> segments_mapped(const Recording& recording) const;

  // Somebody saw a process end with a wait status: its newest recording gets it, unless that said
  // itself how it ends.
  void note_exit(const PidSeen& seen, int wait_status);

  // Names under which a segment was mapped later, beside that in its entry; the oldest first.
  std::vector<std::string> other_names(uint32_t segment) const;

 private:
  struct Step {      // a journal item of one process
    size_t item;     // index in reader().journal()
    uint64_t event;  // full event number; before version 3 the journal keeps the low half
  };
  void add_recording(const Numbered<shmlog::ProcessEntry>& numbered);
  void add_steps();
  size_t first_step(const std::vector<Step>& steps, size_t before_item, uint64_t event,
                    bool* listed) const;
  void apply(AddressSpace& space, const JournalItem& item) const;
  void build_space(AddressSpace& space, const Recording& recording, size_t before_item,
                   uint64_t event) const;

  const ShmlogReader& reader_;
  std::vector<Recording> recordings_;
  std::map<uint32_t, size_t> by_process_;
  std::map<uint32_t, std::vector<Step>> steps_;
  PidLookup by_pid_;
};

}  // namespace shmrec::recording
