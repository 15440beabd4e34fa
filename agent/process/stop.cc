#include "agent/process/stop.h"

#include "agent/kernel/syscalls.h"
#include "agent/memory/native.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

namespace {

void give_back(uint64_t begin, uint64_t end) {
  MapsLock lock;
  native_remove(begin, end);
  region_remove(
      begin, end,
      [](const Region& piece, void*) {
        sys(__NR_mprotect, piece.begin, piece.end - piece.begin, piece.protection);
      },
      nullptr);
}

}  // namespace

void stop_tracing(Process* process, shmlog::DegradedReason reason, const char* why) {
  if (why) stream_end(process, why);
  if (why) {
    process->entry->degraded = static_cast<uint32_t>(reason);
    coverage(process, why, reason);
  }
  if (!process->lives_in_parent) give_back(0, ~0ull);
}

void stop_tracing_range(const Process* process, uint64_t begin, uint64_t end,
                        shmlog::DegradedReason reason, const char* why) {
  stream_end(process, why);
  coverage(process, why, reason);
  give_back(begin, end);
}

}  // namespace shmrec::agent
