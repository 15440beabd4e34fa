// Rules: when which run is made a bundle of, and what is done with it.
//
// A rule is filter + trigger + actions + limit. An event is held against the rules in their order;
// the first whose filter and trigger match decides, even if its limit then says no: a limit that
// passed the event on to the next rule would be none.
// Texts of events come from the workload. Globs: policy/glob.h; '*' goes over '/' in all but the
// executable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::sidecar {

// All that is given must match. Empty: matches everything.
struct Filter {
  std::string command;     // glob over the run's command line
  std::string executable;  // glob over the executable's path: the process's, else the run's
  std::string container;   // glob over the container's name
};

struct ReadinessProbe {
  std::string url;
  int failures = 3;  // in a row
  int64_t period_s = 10;
};

// Any that is given triggers. At least one is.
struct Trigger {
  std::vector<int> exit_statuses;
  bool exit_nonzero = false;
  std::vector<int> signals;
  bool any_signal = false;
  bool any_process = false;  // exits and signals of any recorded process, not the run's end alone
  bool lost = false;         // all are gone, nobody said how: SIGKILL or out of memory
  bool out_of_memory = false;
  std::string mark;  // glob
  std::string file;  // path, exactly
  std::optional<ReadinessProbe> readiness;
  bool request = false;  // HTTP, `shmrec trigger`
};

// At most `count` bundles in any `window_s` seconds. 0: no limit. Requests that come by way of the
// spool count apart: whoever can write there must not use up what is for people.
struct RateLimit {
  uint32_t count = 0;
  int64_t window_s = 0;
};

struct Rule {
  std::string name;
  Filter filter;
  Trigger trigger;
  std::vector<std::string> egress;  // names of destinations the bundle is sent to
  std::vector<std::string> hooks;   // names of programs that are run with it
  // Take cores of all recorded processes that live, before. Not given: if readiness was lost, as
  // only the stacks tell why.
  std::optional<bool> cores;
  RateLimit limit;
};

// What is wrong with a rule, naming it and the member; all names must differ.
Result<> check_rules(const std::vector<Rule>& rules);

// Something that happened, with the facts of its run.
struct Event {
  enum class Type {
    kExit,         // number: exit status
    kSignal,       // number: signal that ended it
    kLost,         // the run is over, and nobody said how
    kOutOfMemory,  // the container's memory limit struck
    kMark,         // text: name
    kFileTouched,  // text: path
    kReadiness,    // text: URL; succeeded
    kRequest,      // text: for a person, "on demand"
  };
  Type type = Type::kRequest;
  bool of_process = false;   // kExit, kSignal: of a recorded process, not of the run's command
  int64_t monotonic_ns = 0;  // when, by a clock that nobody sets
  std::string run, command, executable, container;
  int number = 0;
  bool succeeded = false;
  // Of a failure: its kind (kind_of), if more is known of it than the event says, else "".
  std::string kind;
  bool cores = false;       // kRequest: asked for
  bool from_spool = false;  // kRequest: over the control socket, which recorded programs reach too
  std::string text;
};

// Whether the rule's filter and trigger match, readiness aside: that needs a history.
bool matches(const Rule& rule, const Event& event);

// Equal for equal failures of one command: "signal 6", "exit 3", "lost", "out of memory",
// "not ready"; "" if the event is no failure. The same words as in the store.
std::string failure_of(const Event& event);

// What tells failures apart, "" if it is none: container, program, how it ended, and where: "app:
// signal 11 of /bin/worker at worker+0x1180". `place`: of a death by a signal, in the file that
// holds the code; "" for a status, for SIGKILL, and where the log does not tell.
std::string kind_of(const Event& event, const std::string& place);

// Why a bundle is made, for a person: "signal 6 (SIGABRT) of /bin/worker".
std::string reason_of(const Event& event);

}  // namespace shmrec::sidecar
