// The policy: what of a run is recorded, how much of it is kept, and what happens on trouble. A
// YAML document (docs/policy.md, schema.json) that is read once, merged with the SHMREC_*
// environment and compiled into the shmlog's rule table; nothing reads YAML after that.
//
// Ownership: plain values.
// Units: sizes are bytes, durations milliseconds.
// Trust: policy text is checked completely; every accepted Policy compiles (compile_rules) and
// prints as YAML that reads back as the same Policy.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "recording/log/shmlog_format.h"

namespace shmrec {

using shmlog::Accesses;
using shmlog::Order;
using shmlog::SegmentKind;
using shmlog::SegmentMode;

inline constexpr size_t kMaxPolicyBytes = 256 * 1024;
inline constexpr size_t kMaxRules = 256;
inline constexpr const char* kSystemPolicyFile = "/etc/shmrec/policy.yaml";

enum class Direction { kIn, kOut, kBoth };  // as seen by the recorded program
enum class FailurePolicy { kOpen, kClosed };
enum class LauncherDeath { kContinue, kKill };

// Where something was written. No part of what it says: any two are equal.
struct Position {
  int line = 0;  // 1-based, 0: not from a file
  int column = 0;
  bool operator==(const Position&) const { return true; }
};

// A rule matches a segment if all that is given matches. At least one thing is given.
struct SegmentMatch {
  std::optional<SegmentKind> kind;  // none: a segment of any kind
  std::string name;                 // glob; empty: any name
  std::optional<int32_t> sysv_key;
  std::string executable;  // glob; empty: any executable
  bool operator==(const SegmentMatch&) const = default;
};

struct SegmentRule {
  std::string name;  // for messages; empty: none
  SegmentMatch match;
  SegmentMode mode = SegmentMode::kTrace;
  std::optional<Order> order;          // none: Policy::default_order
  std::optional<Accesses> accesses;    // none: Policy::default_accesses
  std::optional<Direction> direction;  // shadows only
  std::vector<std::string> peers;      // shadows only: globs of unrecorded executables; empty: any
  Position where;
  bool operator==(const SegmentRule&) const = default;
};

struct Limits {
  uint64_t log_bytes = uint64_t{256} << 20;
  uint64_t spool_bytes = uint64_t{4} << 30;
  uint64_t recording_bytes = uint64_t{1} << 30;
  uint32_t max_slowdown = 0;  // in thousandths; 0: tracing may cost what it does
  bool operator==(const Limits&) const = default;
};

// A core is a copy of a process's memory, and what is in it is not redacted.
enum class CoreOccasion {
  kSignal,   // one that dumps core ends the process
  kExit,     // it exits with a status other than 0
  kRequest,  // somebody asks; it runs on
  kNone,
};
enum class CoreMemoryChoice { kStacks, kPrivate, kAll };
struct CoreChoice {
  bool on_signal = true, on_exit = false, on_request = true;
  CoreMemoryChoice memory = CoreMemoryChoice::kStacks;
  uint64_t limit_bytes = uint64_t{64} << 20;  // of one core's memory
  bool operator==(const CoreChoice&) const = default;
};

struct Collect {
  bool binaries = true;
  bool libraries = true;
  bool environment = true;
  bool launcher_log = true;
  CoreChoice core;
  bool operator==(const Collect&) const = default;
};

// The collector in another container that this run is left to, if there is one (docs/run.md).
struct SidecarUse {
  uint64_t wait_ms = 5000;  // how long the start waits for it, where one is to be expected
  bool required = false;    // without it nothing is started
  bool operator==(const SidecarUse&) const = default;
};

struct Redaction {
  std::vector<std::string> environment = default_environment();
  std::vector<std::string> arguments = default_arguments();
  bool operator==(const Redaction&) const = default;

  static std::vector<std::string> default_environment();
  static std::vector<std::string> default_arguments();
};

// What is recorded of each process.
enum class RecordLevel {
  kAccesses,  // those to shared memory
  kReplay,    // all that is needed to execute it again, too
};

struct Policy {
  RecordLevel level = RecordLevel::kAccesses;
  std::vector<SegmentRule> segments;  // the first that matches holds
  SegmentMode default_mode = SegmentMode::kTrace;
  Order default_order = Order::kExact;
  Accesses default_accesses = Accesses::kAll;
  Limits limits;
  Collect collect;
  Redaction redaction;
  SidecarUse sidecar;
  FailurePolicy failure_policy = FailurePolicy::kOpen;
  LauncherDeath on_launcher_death = LauncherDeath::kContinue;
  std::string spool_directory;  // absolute; empty only before load_policy chose one
  std::string file;             // where it came from, for messages; empty: the defaults
  bool operator==(const Policy& other) const;  // all but `file`
};

// Reads a policy document. All mistakes are reported at once, one `FILE:LINE:COL: what; expected
// ...; do ...` a line.
Result<Policy> parse_policy(std::string_view text, std::string_view file);

// The policy in force: `path`, else $SHMREC_POLICY, else `system_file` if it exists, else the
// defaults; then the SHMREC_* variables of `environment` (NAME=VALUE, null-terminated array).
Result<Policy> load_policy(const std::optional<std::string>& path, const char* const* environment,
                           const std::string& system_file = kSystemPolicyFile);

// The whole policy, defaults written out.
std::string to_yaml(const Policy& policy);

// The rule table of the shmlog, in the policy's order.
std::vector<shmlog::PolicyRule> compile_rules(const Policy& policy);

// Fails if the policy asks for what this release cannot do.
Result<> refuse_unsupported(const Policy& policy);

// schema.json, as built in.
std::string_view policy_schema();

// The parser's own tables, for holding schema.json and the documentation against them: keys by
// object
// ("policy", "segment", "match", ...), words by enumeration ("mode", "order", ...).
using NameTable = std::map<std::string, std::vector<std::string>>;
NameTable policy_keys();
NameTable policy_words();
std::vector<std::string> policy_variables();

}  // namespace shmrec
