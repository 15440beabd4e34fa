// A child process with nothing inherited, its output captured up to a bound, and an end for sure.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::sidecar::egress {

struct ChildOptions {
  std::vector<std::string> command;      // command[0] is an absolute path
  std::vector<std::string> environment;  // all of it
  std::chrono::milliseconds limit{0};
  std::chrono::milliseconds grace{0};
  size_t max_output = 0;  // bytes kept; what follows is read and dropped
};

struct ChildEnd {
  enum class Why { kEnded, kTimeLimit, kStopped } why = Why::kEnded;
  int status = 0;        // as waitpid gives it
  std::string output;    // standard output and error
  uint64_t dropped = 0;  // bytes of output beyond max_output
};

// Runs the command to its end. An Error: it could not be started.
Result<ChildEnd> run_child(const ChildOptions& options, const std::atomic<bool>& stop);

}  // namespace shmrec::sidecar::egress
