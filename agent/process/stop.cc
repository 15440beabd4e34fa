#include "agent/process/stop.h"

#include "agent/kernel/syscalls.h"
#include "agent/memory/native.h"

namespace shmrec::agent {

void stop_tracing(Process* process, shmlog::DegradedReason reason, const char* why) {
  if (why) {
    process->entry->degraded = static_cast<uint32_t>(reason);
    coverage(process, why, reason);
  }
  if (process->lives_in_parent) return;
  MapsLock lock;
  native_remove(0, ~0ull);
  region_remove(
      0, ~0ull,
      [](const Region& piece, void*) {
        sys(__NR_mprotect, piece.begin, piece.end - piece.begin, piece.protection);
      },
      nullptr);
}

}  // namespace shmrec::agent
