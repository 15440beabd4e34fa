#include "launcher/seccomp_status.h"

#include <fstream>
#include <string>

namespace shmrec::launcher {

SeccompStatus seccomp_status(pid_t pid) {
  SeccompStatus status;
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string name; file >> name; file.ignore(1 << 16, '\n')) {
    if (name == "Seccomp:") file >> status.mode;
    if (name == "Seccomp_filters:") file >> status.filters;
  }
  return status;
}

}  // namespace shmrec::launcher
