// The seccomp filter of a workload: which syscalls the launcher is asked about.
//
// execve, execveat       ask, unless the sixth argument is agent::kExecUnrecorded
// fcntl(-1, command, hello)  ask: the agent in a new image wants the log
// io_uring_setup, userfaultfd  ask, so that the launcher can refuse them and say so
// io_uring_enter, io_uring_register  ENOSYS
// everything else, and everything from 32-bit code  allow
//
// libseccomp compiles it, but seccomp(2) installs it: libseccomp 2.5 knows no WAIT_KILLABLE_RECV.
// tests/unit/launcher_test.cc runs the program it emits through an interpreter.
//
// All but exec and fcntl is decided by the syscall's number alone, so the kernel caches the answer.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"

namespace shmrec::launcher {

using FilterProgram = std::vector<sock_filter>;

Result<FilterProgram> build_filter();

struct Listener {
  int fd = -1;            // -1: installation failed with `error`
  int error = 0;          // errno
  bool killable = false;  // a notified syscall is interrupted by fatal signals only (kernel 5.19)
};

// Installs the filter on the calling thread and all it starts. Allocates nothing: made for use
// between fork and exec. REQUIRES: no_new_privs is set, or CAP_SYS_ADMIN is held.
Listener install_filter(const FilterProgram& program);

// What errno `error` of install_filter means and what to do about it.
const char* explain_install_error(int error);

}  // namespace shmrec::launcher
