// Which control groups account for the memory of a process.
#pragma once

#include <string>
#include <vector>

namespace shmrec {

struct MemoryGroup {
  bool unified = false;  // version 2
  std::string root;      // directory of the hierarchy
  std::string path;      // of the group below it, as the host has it: begins with '/'
};

// From a file such as /proc/self/cgroup, for hierarchies that are mounted below `root`.
std::vector<MemoryGroup> memory_groups(const std::string& membership, const std::string& root);

}  // namespace shmrec
