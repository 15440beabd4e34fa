// One failure, as it is put together from what is told of it: a process dies of a signal, its
// parent ends with 128 and the signal's number, the launcher writes end.json, the last lock goes.
// One failure makes one bundle.
//
// Owner: the collector, one list of each run. Pure: times are handed in, so that no test depends on
// how fast a machine is.
//
// Invariants
//  1. What a process tells is held for kSettleTime, and is handed on only by a look that began
//     after that and found the run still going. So whether the end of the run comes in time does
//     not depend on when the bundler gets to run.
//  2. The end of a launcher takes over the failures that it is the end of (same_failure), also one
//     whose bundle stands already: that bundle goes once the end's stands.
//  3. Times are of the run's own clock (LogFollower::time_at) where it tells them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "sidecar/rules/rule_engine.h"

namespace shmrec::sidecar {

// A process that crashes often takes its run along: one bundle of the whole is better than two.
inline constexpr std::chrono::seconds kSettleTime{2};
// After which an end is another failure, even if its number is that of the process.
inline constexpr std::chrono::seconds kSameFailure{60};

struct Incident {
  Decision decision;
  bool of_end = false;         // a launcher's: its command has ended, or it is lost
  bool out_of_memory = false;  // seen by the launcher, of a process that is not known
  int64_t time_ns = 0;         // of the failure; 0: unknown
  uint32_t process = 0;        // its number in the log, 0: unknown
  uint32_t parent = 0;
  int32_t pid = 0;             // of_end: the command's
  uint64_t pid_namespace = 0;  // that `pid` counts in; 0: unknown
  std::chrono::steady_clock::time_point due;
  std::string kind;      // kind_of; of those that no rule may have wanted
  bool limited = false;  // a rule's limit forbade its bundle
  uint64_t id = 0;       // of the job that makes its bundle
  std::string bundle;    // that was made of it; "": none yet
};

// "signal 11" and "exit 139", "exit 3" and "exit 3": how those end who wait for one that failed.
bool explains(const std::string& failure, const std::string& end);

// Whether a launcher's end is that of an earlier failure of one of its processes. REQUIRES:
// end.of_end.
bool same_failure(const Incident& earlier, const Incident& end);

// Whether a process's failure is told once more by a later one: its parent ends as it did, or the
// launcher saw the kernel kill it.
bool same_chain(const Incident& earlier, const Incident& later);

}  // namespace shmrec::sidecar
