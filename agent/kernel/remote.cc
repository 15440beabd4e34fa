#include "agent/kernel/remote.h"

#include <linux/mman.h>

#include "agent/log/log.h"
#include "agent/memory/regions.h"

namespace shmrec::agent {

RemoteMemory::RemoteMemory(int32_t pid) : pid_(pid), base_(process_agent_base(pid)) {}

RemotePiece RemoteMemory::piece(uint64_t at, uint64_t bytes, bool write) const {
  RemotePiece piece = {at, bytes, false, 0, 0};
  Region region;
  if (!base_ || !region_next_remote(pid_, base_, at, &region)) return piece;
  const uint64_t reach = region.begin > at ? region.begin : region.end;
  piece.bytes = min(bytes, reach - at);
  const bool may = write ? region.protection & PROT_WRITE : region.protection != PROT_NONE;
  if (region.begin > at || !may) return piece;
  piece.traced = true;
  piece.segment = region.segment;
  piece.offset = region.segment_offset + (at - region.begin);
  piece.address = region.alias + (at - region.begin);
  return piece;
}

bool RemoteMemory::any_traced(uint64_t at, uint64_t bytes, bool write) const {
  for (uint64_t done = 0; base_ && done < bytes;) {
    const RemotePiece next = piece(at + done, bytes - done, write);
    if (next.traced) return true;
    done += next.bytes;
  }
  return false;
}

}  // namespace shmrec::agent
