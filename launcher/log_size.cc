#include "launcher/log_size.h"

#include <algorithm>

#include "policy/words.h"
#include "recording/log/shmlog_create.h"

namespace shmrec::launcher {
namespace {

constexpr uint64_t kMemoryShare = 8, kLeastLogsShare = 4, kKeptShare = 16, kDiskShare = 2;
constexpr uint64_t kStep = uint64_t{1} << 20;

// What a log may take of so much free memory.
uint64_t share_of(uint64_t free_bytes) {
  if (free_bytes / kLeastLogsShare < recording::kMinLogBytes) return 0;
  return std::max(free_bytes / kMemoryShare, recording::kMinLogBytes);
}

}  // namespace

LogSize choose_log_size(uint64_t wished_bytes, const DiskRoom& spool, const MemoryRoom& memory) {
  LogSize chosen{wished_bytes, spool.in_memory ? memory.free_bytes / kKeptShare : UINT64_MAX, ""};
  const auto cut = [&](uint64_t most, const std::string& reason) {
    if (most >= chosen.bytes) return;
    chosen.bytes = most / kStep * kStep;
    chosen.why = reason;
  };
  if (spool.in_memory)
    cut(share_of(memory.free_bytes),
        "the spool is in memory, which the program needs; " + in_mib(memory.free_bytes) +
            " are free (" + memory.of + "), of which the log takes an eighth, or a quarter if it " +
            "is the smallest");
  cut(spool.free_bytes / kDiskShare, "the spool's file system has " + in_mib(spool.free_bytes) +
                                         " free, and the log takes at most half");
  if (chosen.bytes < recording::kMinLogBytes) chosen.bytes = 0;
  return chosen;
}

LogSize choose_log_size(uint64_t wished_bytes, const std::string& spool) {
  const DiskRoom disk = disk_room(spool);
  return choose_log_size(wished_bytes, disk, disk.in_memory ? memory_room() : MemoryRoom());
}

std::string describe(const LogSize& size, uint64_t wished_bytes) {
  if (size.bytes == 0)
    return "no room for a log of " + format_size(recording::kMinLogBytes) +
           ", the smallest that is of use: " + size.why;
  const std::string has = "the log has " + format_size(size.bytes);
  if (size.why.empty()) return has;
  return has + " of the " + format_size(wished_bytes) + " that the policy allows: " + size.why;
}

}  // namespace shmrec::launcher
