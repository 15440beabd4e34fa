// The features that recording needs, each with a way to try it. Shown by doctor.
//
// Every attempt runs in a forked child of its own (doctor.cc): it may change what it likes.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace shmrec::launcher {

struct Attempt {
  bool ok = false;
  std::string detail;  // what was seen, or what failed and how
};

struct Probe {
  const char* name;
  bool needed;  // false: recording works without it, less well
  Attempt (*attempt)();
  const char* remedy;  // what to change if it fails
};

std::span<const Probe> probes();

// Not in the table because it has arguments: the spool can take a log. Says how large one will be,
// of `log_bytes` that are wished.
Attempt try_spool(const std::string& directory, uint64_t log_bytes);
inline constexpr const char* kSpoolRemedy =
    "choose a directory with space by --spool or SHMREC_SPOOL; in a container mount a volume there "
    "(emptyDir, -v), also if the root file system is read-only; or lower limits.logSize in the "
    "policy";

}  // namespace shmrec::launcher
