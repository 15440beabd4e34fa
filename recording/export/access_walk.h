// All accesses of a log, one after the other, for those who hand them to other tools.
//
// They come by chunk, the oldest first, so those of one thread in their order; accesses of
// different threads are not sorted. What did not happen (an access that faulted, or whose thread
// died before it) is left out.
//
// Time: the newest reading of the clock before the access, in the same chunk: at most 1 ms or 64
// accesses of the thread before it (docs/shmlog_format.md).
// Threads: const input; one at a time. Memory: one chunk.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

struct AccessFilter {
  uint32_t segment = 0;  // 0: all
  uint32_t process = 0;  // 0: all
};

struct WalkedAccess {
  const ChunkInfo& chunk;
  const RecordView& record;  // valid during the visit
  Outcome outcome = Outcome::kDone;
  uint64_t tsc = 0;
};

// `visit` returns false to stop. Returns what could not be read.
std::vector<Damage> walk_accesses(const ShmlogReader& log, const AccessFilter& filter,
                                  const std::function<bool(const WalkedAccess&)>& visit);

}  // namespace shmrec::recording
