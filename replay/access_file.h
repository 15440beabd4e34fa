// The accesses of one recording, taken out of the log of its run for the agent that replays it
// (agent_abi.h: ReplayAccess).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::replay {

// A file in memory, which holds them by event. Empty: it made none.
Result<UniqueFd> make_access_file(const recording::ShmlogReader& log, const std::string& recording);

}  // namespace shmrec::replay
