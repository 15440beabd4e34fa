// What the kernel says of a process's seccomp filters, in /proc/PID/status.
#pragma once

#include <sys/types.h>

namespace shmrec::launcher {

struct SeccompStatus {
  int mode = 0;     // 0: none, 1: strict, 2: filters
  int filters = 0;  // how many; 0 where the kernel does not say (before 5.9)
};
// Zeros if it may not be read.
SeccompStatus seccomp_status(pid_t pid);

}  // namespace shmrec::launcher
