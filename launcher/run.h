// `shmrec run`: starts a command, records it and its descendants, leaves a bundle.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace shmrec::launcher {

inline constexpr int kExitLauncherFailed = 125;  // as env, timeout and docker have it

struct RunOptions {
  std::span<const unsigned char> agent_image;  // agent/pack/image.h
  std::vector<std::string> command;
  std::optional<std::string> policy_file;
  std::string spool;        // empty: the policy's
  std::string output;       // bundle file or directory; empty: the current directory
  bool on_failure = false;  // a bundle only if the command failed
  bool keep_spool = false;  // keep the run directory beside the bundle
  bool wait_all = false;    // wait for all processes of the workload, not for the command alone
  bool strict = false;      // as failurePolicy: closed, whatever the policy says
  std::optional<RecordLevel> level;  // none: as the policy says
  bool checksums = false;            // with hashes of memory
  bool slow = false;                 // patch nothing: each access faults
  bool quiet = false;                // no report at the end; errors are still said
};

// Returns the exit code: the command's, 128+n if signal n killed it, 126 or 127 if it could not be
// started. If the policy says to refuse then: 2 for a mistake in it, 125 if shmrec itself failed.
int run(const RunOptions& options);

}  // namespace shmrec::launcher
