#include "launcher/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace shmrec::launcher {
namespace {

// As the kernel has it, for this thread: libc would change all of them.
bool set_real(long number, unsigned id) { return syscall(number, id, -1, -1) == 0; }

}  // namespace

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
  if (set_real(SYS_setresgid, status.st_gid)) set_real(SYS_setresuid, status.st_uid);
}

ActAs::~ActAs() {
  if (!changed_) return;
  // Always permitted: the effective user and group never changed.
  if (!set_real(SYS_setresuid, own_user_) || !set_real(SYS_setresgid, own_group_))
    fputs("shmrec: could not return to the launcher's own user\n", stderr);
}

}  // namespace shmrec::launcher
