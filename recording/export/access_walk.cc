#include "recording/export/access_walk.h"

namespace shmrec::recording {
namespace {

using Visit = std::function<bool(const WalkedAccess&)>;

bool walk_chunk(const ShmlogReader& log, const ChunkCopy& copy, const AccessFilter& filter,
                const Visit& visit, std::vector<Damage>& damage) {
  uint64_t tsc = copy.info().header.start_tsc;
  uint32_t at = 0;
  RecordView record;
  while (copy.next(at, record)) {
    if (record.is_clock()) {
      tsc = record.clock_tsc;
      continue;
    }
    if (filter.segment != 0 && record.header.segment != filter.segment) continue;
    const Outcome outcome = log.outcome(copy.info(), record);
    if (outcome == Outcome::kNotDone) continue;
    if (!visit({copy.info(), record, outcome, tsc})) return false;
  }
  if (const char* reason = copy.damage_at(at)) damage.push_back({reason, 1, copy.bytes_after(at)});
  return true;
}

}  // namespace

std::vector<Damage> walk_accesses(const ShmlogReader& log, const AccessFilter& filter,
                                  const Visit& visit) {
  std::vector<Damage> damage = log.damage();
  ChunkCopy copy;
  for (const ChunkInfo& chunk : log.chunks()) {
    if (filter.process != 0 && chunk.header.process != filter.process) continue;
    if (!log.copy_chunk(chunk, copy))
      damage.push_back({"chunk claimed anew while it was read", 1, shmlog::kChunkBytes});
    else if (!walk_chunk(log, copy, filter, visit, damage))
      break;
  }
  return damage;
}

}  // namespace shmrec::recording
