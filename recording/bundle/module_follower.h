// The files that a run maps as code, told while it goes on: what the journal has gained since the
// last look.
//
// Trust: the workload can write every byte of the log. It is read by pread, the layout is checked
// against the file's size, and a poll takes a bounded number of units; `behind` says that more is
// there. Texts are bounded, and otherwise as the workload wrote them.
// Owner: holds nothing. Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/log/journal_tail.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::recording {

struct MappedModule {
  std::string path;
  uint64_t inode = 0;          // 0: it is what a process was started from, not a mapping
  int32_t pid = 0;             // in its own PID namespace; 0: unknown
  uint64_t pid_namespace = 0;  // 0: unknown
  bool executable = false;     // what the process was started from
};

class ModuleFollower {
 public:
  static constexpr uint32_t kMaxUnitsPerPoll = 16384;

  // What is new. `last`: nothing is waited for any more, entries that are not whole are skipped.
  Result<std::vector<MappedModule>> poll(int log, bool last);
  bool behind() const { return behind_; }
  // Units of the journal that were overwritten before they were looked at. What
  // living processes have mapped is met again further on.
  uint64_t missed() const { return missed_; }

 private:
  Result<> take_layout(int log);
  void take(int log, const TailEntry& found, std::vector<MappedModule>& modules) const;
  void find_process(int log, uint32_t process, MappedModule& module) const;

  shmlog::Area journal_{}, processes_{};
  bool has_layout_ = false;
  uint32_t table_count_ = 0;  // of the process table, as its numbers are placed
  uint64_t next_place_ = 0;
  uint64_t missed_ = 0;
  int patience_ = 0;  // polls that the entry at next_place_ was waited for
  bool behind_ = false;
};

}  // namespace shmrec::recording
