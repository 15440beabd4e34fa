#include "base/control_groups.h"

#include <fstream>

namespace shmrec {
namespace {

bool lists(const std::string& controllers, const std::string& wanted) {
  return ("," + controllers + ",").find("," + wanted + ",") != std::string::npos;
}

}  // namespace

std::vector<MemoryGroup> memory_groups(const std::string& membership, const std::string& root) {
  std::vector<MemoryGroup> groups;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // ID:CONTROLLERS:PATH
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty())
      groups.push_back({true, root, path});
    else if (lists(controllers, "memory"))
      groups.push_back({false, root + "/memory", path});
  }
  return groups;
}

}  // namespace shmrec
