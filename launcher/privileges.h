// The launcher's own capabilities while a workload runs. The command keeps exactly what it had.
//
// Effective: only what the table in privileges.cc names, each with its reason.
// Permitted: all that was held at start. The kernel lets a tracer attach only to processes whose
// permitted capabilities it holds itself, and the command has those of the launcher.
#pragma once

#include <string>

#include "base/result.h"

namespace shmrec::launcher {

// Gives up all effective capabilities but the few needed. Returns a line for the log that says
// which remain and why.
Result<std::string> drop_capabilities();

// Makes all permitted capabilities effective again: to write the bundle where the user said.
void regain_capabilities();

// The same for as long as it lives, for the calling thread: to look at a process that has them all.
class RegainedCapabilities {
 public:
  RegainedCapabilities();
  ~RegainedCapabilities();
  RegainedCapabilities(const RegainedCapabilities&) = delete;

 private:
  void* before_;
};

// Names of the effective capabilities of this process, comma separated; "none".
std::string effective_capabilities();

}  // namespace shmrec::launcher
