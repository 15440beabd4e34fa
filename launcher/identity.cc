#include "launcher/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shmrec::launcher {

uint64_t own_pid_namespace() {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

ActAs::ActAs(pid_t pid) : own_user_(getuid()), own_group_(getgid()) {
  // The owner of /proc/PID is the process's effective user and group while it may be traced at all.
  char path[32];
  snprintf(path, sizeof path, "/proc/%d", pid);
  struct stat status;
  if (stat(path, &status) != 0) return;
  if (status.st_uid == own_user_ && status.st_gid == own_group_) return;
  changed_ = true;
  // The group first: the right to change it may hang on the user. What is refused stays as it was,
  // and the kernel then refuses the attachment, which is reported.
  if (setresgid(status.st_gid, -1, -1) != 0 || setresuid(status.st_uid, -1, -1) != 0) return;
}

ActAs::~ActAs() {
  if (!changed_) return;
  // Always permitted: the effective user and group never changed.
  if (setresuid(own_user_, -1, -1) != 0 || setresgid(own_group_, -1, -1) != 0)
    fputs("shmrec: could not return to the launcher's own user\n", stderr);
}

}  // namespace shmrec::launcher
