// The accesses of one recording, taken out of the log of its run for the agent that replays it
// (agent_abi.h: ReplayAccess).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::replay {

// Those of many recordings of one log, each made once: a recording's are needed for all of its
// descendants. Owner: borrows the log. Threads: one at a time.
class AccessFiles {
 public:
  explicit AccessFiles(const recording::ShmlogReader& log) : log_(log) {}
  // The descriptor, which stays this object's, of a file in memory that holds them by event, but
  // for those with the events of `again`, in order, which were made again. -1: it made none.
  Result<int> of(const std::string& recording, const std::vector<uint64_t>& again);

 private:
  const recording::ShmlogReader& log_;
  std::map<std::string, UniqueFd> made_;
};

}  // namespace shmrec::replay
