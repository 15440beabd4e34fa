#include "launcher/oom.h"

#include <fstream>
#include <optional>
#include <vector>

#include "base/control_groups.h"

namespace shmrec::launcher {
namespace {

std::optional<uint64_t> read_count(const std::string& path) {
  std::ifstream file(path);
  std::string key;
  uint64_t count = 0;
  while (file >> key) {
    if (key == "oom_kill" && file >> count) return count;
    std::getline(file, key);
  }
  return std::nullopt;
}

// Where the counter may be, best first. A container often sees its own group mounted at the root,
// while /proc/self/cgroup gives the path as the host has it.
std::vector<std::string> candidates(const std::string& membership, const std::string& root) {
  std::vector<std::string> paths;
  for (const MemoryGroup& group : memory_groups(membership, root))
    for (const std::string& path : {group.path, std::string()})
      paths.push_back(group.root + path +
                      (group.unified ? "/memory.events" : "/memory.oom_control"));
  return paths;
}

}  // namespace

OomCounter::OomCounter(const std::string& membership, const std::string& root) {
  for (const std::string& path : candidates(membership, root)) {
    const std::optional<uint64_t> count = read_count(path);
    if (!count) continue;
    path_ = path;
    last_ = *count;
    return;
  }
}

uint64_t OomCounter::rise() {
  if (path_.empty()) return 0;
  const uint64_t now = read_count(path_).value_or(last_);
  const uint64_t risen = now > last_ ? now - last_ : 0;
  last_ = now;
  return risen;
}

}  // namespace shmrec::launcher
