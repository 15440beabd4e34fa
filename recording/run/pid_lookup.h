// Which recording a process number meant: numbers are used again, and containers that share a log
// each have their own (ProcessEntry::pid_namespace).
//
// Owner: copies what it needs. Threads: const.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

// Who saw a process end, and when: 0 for what is not known.
struct PidSeen {
  int32_t pid = 0;
  uint64_t pid_namespace = 0;  // that `pid` counts in
  uint64_t tsc = 0;            // it had started before
};

class PidLookup {
 public:
  explicit PidLookup(const ShmlogReader& log);

  // The process entry of the newest recording that fits, 0 if there is none.
  uint32_t find(const PidSeen& seen) const;

 private:
  struct Candidate {
    uint64_t start_tsc, pid_namespace;
    uint32_t process;
  };
  std::map<int32_t, std::vector<Candidate>> by_pid_;  // in order of start
};

}  // namespace shmrec::recording
