// How often the kernel has killed for want of memory in the launcher's own control group, as far as
// that can be seen from inside of a container: `oom_kill` of memory.events (v2) or
// memory.oom_control (v1). The kernel counts before it kills, so whoever learns of the death finds
// the count risen.
#pragma once

#include <cstdint>
#include <string>

namespace shmrec::launcher {

class OomCounter {
 public:
  explicit OomCounter(const std::string& membership = "/proc/self/cgroup",
                      const std::string& root = "/sys/fs/cgroup");

  // By how much it has risen since construction, or the last call. 0 if it cannot be seen.
  uint64_t rise();

  const std::string& path() const { return path_; }  // "": there is none to be seen

 private:
  std::string path_;
  uint64_t last_ = 0;
};

}  // namespace shmrec::launcher
