// Asking the launchers of a run for cores of their processes, which then run on: the socket
// cores.sock in each one's directory (docs/spool.md).
//
// Trust: whoever can write the run directory can answer in a launcher's place. The socket is opened
// beneath the directory and through no link, what it says has a limit in time and size, and texts
// are handed out printable.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::recording {

inline constexpr const char* kCoreSocket = "cores.sock";

struct AskedCore {
  int64_t pid = 0;  // in the launcher's PID namespace
  std::string name, recording;
  bool taken = false;
  std::string how;  // its size and the pause, or why there is none
};

struct AskedCores {
  size_t launchers = 0;  // that were there to be asked
  std::vector<AskedCore> cores;
  std::vector<std::string> problems;  // of launchers that gave no answer
};

// Of all processes of the run, or the one with this pid. `run_directory`: may be a hostile one's.
// The error: the directory cannot be opened.
Result<AskedCores> ask_for_cores(const std::string& run_directory, std::optional<pid_t> pid,
                                 std::chrono::milliseconds limit);

// The address of a socket in an open folder, however long its path is.
sockaddr_un socket_address(int folder, const std::string& name);

}  // namespace shmrec::recording
