// Starts the command: as the caller would have, plus no_new_privs and the seccomp filter.
//
// The command gets the launcher's signal mask and dispositions as they were at prepare_signals(),
// its descriptors, directory, environment, limits and terminal; nothing is added to any of them.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/filter.h"

namespace shmrec::launcher {

// What the launcher changes about its own signals, to be undone in the command.
class InheritedSignals {
 public:
  // Blocks the supervised signals and makes children reportable. Call once, before spawn().
  InheritedSignals();
  void restore() const;

 private:
  sigset_t mask_{};
  struct sigaction child_ {};
};

struct SpawnOptions {
  std::vector<std::string> command;
  const FilterProgram* filter = nullptr;  // none: the command runs unrecorded
  bool die_with_launcher = false;
};

// A started child that has its filter (or failed to get it) and waits for release() or abandon().
class Child {
 public:
  static Result<Child> spawn(const SpawnOptions& options, const InheritedSignals& signals);
  pid_t pid() const { return pid_; }
  Listener listener;  // of the child's filter; fd is open in the launcher

  // Lets the child execute the command.
  void release();
  // Ends the child, which has executed nothing, and waits for it.
  void abandon();
  // After the child's end: the errno with which its execve failed, 0 if the command was started.
  int start_error();

 private:
  pid_t pid_ = 0;
  UniqueFd socket_;
};

// Exit codes of a command that could not be started, as shells and docker have them.
inline constexpr int kExitNotFound = 127;
inline constexpr int kExitNotExecutable = 126;
int exit_code_of_start_error(int error);

}  // namespace shmrec::launcher
