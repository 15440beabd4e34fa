// The launcher's identity: its PID namespace, and acting with that of a process whose user differs
// from the launcher's.
//
// The kernel lets a tracer attach if its *real* user and group are those of all three of the
// target. A launcher that runs as root with CAP_SETUID but without CAP_SYS_PTRACE (a container's
// default) therefore takes the target's real user for the moment of the attachment. Effective and
// saved user stay, so file access and capabilities do not change.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace shmrec::launcher {

// The inode of the launcher's PID namespace, 0 if it cannot be seen.
uint64_t own_pid_namespace();

// While alive, the real user and group of the calling thread, and of no other, are those of `pid`,
// if they differed and it was permitted.
class ActAs {
 public:
  explicit ActAs(pid_t pid);
  ~ActAs();
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;

 private:
  bool changed_ = false;
  uid_t own_user_ = 0;
  gid_t own_group_ = 0;
};

}  // namespace shmrec::launcher
