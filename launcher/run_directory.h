// The directory of one run in the spool: what the launcher writes down besides the log.
//
//   run.json      before the start: what is run, where, under which policy
//   events.jsonl  appended while it runs: execs, exits, what was not recorded
//   end.json      last, on an orderly end
//   launcher.log, run.shmlog
//
// Invariants
//  1. Arguments and environment are redacted before they are written.
//  2. A spool with the setgid bit is shared with its group, as a pod's volume is with fsGroup: the
//     group may do with run directories and files what their owner may. So may the group of a
//     sidecar that could not read them otherwise. In any other, the owner alone may.
//  3. A line of events.jsonl is written by one write(2): death leaves at most the last one cut.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "launcher/exec_info.h"
#include "policy/policy.h"

namespace shmrec::launcher {

struct Gap {
  std::string what;
  std::string why;
  auto operator<=>(const Gap&) const = default;
};

struct CommandEnd {
  pid_t pid = 0;
  int status = 0;  // as waitpid gives it
  int exit_code = 0;
  uint64_t tsc = 0;  // when it was seen
};

// Makes the spool if need be. Fails if it is a default one that is not this user's.
Result<> prepare_spool(const std::string& spool);

class RunDirectory {
 public:
  // Makes NAME-TIME-PID in the spool, or in the members of the run `join` there. `policy` must
  // outlive the object. REQUIRES: prepare_spool(spool).
  // `group`: the sidecar's, if it reads by that alone (spool_probe.h).
  static Result<RunDirectory> create(const Policy& policy, const std::string& spool,
                                     const std::string& join,
                                     const std::vector<std::string>& command,
                                     std::optional<gid_t> group = {});

  const std::filesystem::path& path() const { return path_; }
  std::string run() const;     // name in the spool
  std::string member() const;  // name in the joined run, "" if it is a run of its own
  // Of a run of its own.
  std::filesystem::path log_path() const { return path_ / "run.shmlog"; }
  const std::vector<Gap>& gaps() const { return gaps_; }
  mode_t file_mode() const { return file_mode_; }  // of all files in it

  // `log_size`: how large the log is and why, "" if it is another's.
  Result<> write_start(uint64_t run_id, const std::vector<std::string>& command,
                       const std::string& log_size,
                       const std::vector<std::string>& policy_mistakes);
  void write_exec(pid_t pid, const ExecInfo& exec, bool recorded);
  void write_exit(pid_t pid, int status);
  void write_gap(const std::string& what, const std::string& why);  // each pair once
  void write_oom(uint64_t count);  // processes that the kernel killed for want of memory
  void tell_lost_lines();          // as a gap, if some could not be written
  Result<> write_end(const CommandEnd& end);

  void remove();

 private:
  void append(const std::string& line);
  const std::vector<std::string>& redacted_environment(const std::vector<std::string>& environment);

  const Policy* policy_ = nullptr;
  std::filesystem::path path_;
  std::string joined_;
  mode_t file_mode_ = 0600;
  UniqueFd events_;
  bool torn_ = false;  // the last line was not written whole
  uint64_t lost_lines_ = 0;
  std::string lost_why_;
  std::vector<Gap> gaps_;
  std::set<Gap> known_gaps_;
  std::vector<std::string> last_environment_;
  std::vector<std::string> last_redacted_;
};

// "2026-01-31T08:15:00.123456789Z"
std::string wall_clock();

}  // namespace shmrec::launcher
