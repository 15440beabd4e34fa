#include "launcher/oom.h"

#include <fstream>
#include <optional>
#include <vector>

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

bool lists(const std::string& controllers, const std::string& wanted) {
  return ("," + controllers + ",").find("," + wanted + ",") != std::string::npos;
}

// Where the counter may be, best first. A container often sees its own group mounted at the root,
// while /proc/self/cgroup gives the path as the host has it.
std::vector<std::string> candidates(const std::string& membership, const std::string& root) {
  std::vector<std::string> paths;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // ID:CONTROLLERS:PATH
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      for (const std::string& group : {path, std::string()})
        paths.push_back(root + group + "/memory.events");
    } else if (lists(controllers, "memory")) {
      for (const std::string& group : {path, std::string()})
        paths.push_back(root + "/memory" + group + "/memory.oom_control");
    }
  }
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
