// A bundle opened in gdb: the core of one recording (core_session.h), and the commands of
// share/commands.py.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::debugger {

struct GdbOptions {
  std::string bundle;
  std::string recording;  // ID, pid or name; "": of those that left a core, the one that died first
  std::vector<std::string> arguments;  // for gdb
};

// Runs gdb to its end. Returns its exit code.
Result<int> run_gdb(const GdbOptions& options);

}  // namespace shmrec::debugger
