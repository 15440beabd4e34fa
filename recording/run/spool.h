// The spool, seen by one who collects it (docs/spool.md): which runs are there, what each is, and
// whether it goes on. What happened in a run's log since the last look is run_follower.h's.
//
// Trust: the workload can write all of the spool. Everything is opened relative to a held
// descriptor, never through a symbolic link, and nothing but regular files is read; sizes, counts
// and times have limits. Texts are handed out printable. A run may vanish between any two calls,
// which is an Error that names it; so is want of descriptors or memory, which says nothing about
// the run: it is neither over nor without members for that. Cost: status() is for polling: a few
// system calls and 8 bytes of the log. Nothing is mapped: reading a hole of a sparse file through a
// mapping would charge its page to the reader. Threads: any, after open().
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::recording {

enum class RunState {
  kRecording,  // a launcher or a recorded process lives
  kEnded,      // all are gone, and end.json says how the command ended
  kLost,       // all are gone, and nobody said how (SIGKILL, out of memory, the machine's death)
};

struct SpoolListing {
  std::vector<std::string> names;  // by name
  uint64_t ignored = 0;            // entries whose names no launcher makes
  bool truncated = false;          // more runs are there than a listing holds
};

// What run.json says; it does not change once it is whole.
struct RunIdentity {
  std::string name;
  std::string problem;  // why what follows is empty: missing, damaged, not yet written; "": nothing
  std::string run_id;
  std::vector<std::string> command;
  std::string command_line;  // the same as one text
  std::string executable, cwd, hostname, boot_id, start_time;
  std::string container, pod, pod_namespace, node;
  std::vector<std::string> policy_mistakes;  // the first ones
  int64_t launcher_pid = 0;                  // in the launcher's PID namespace
  uint64_t pid_namespace = 0;                // that one's inode, 0: unknown
};

struct RunStatus {
  RunState state = RunState::kRecording;
  bool has_log = false;  // the log is there and complete enough to be followed
  // Certain: the log is held by nobody, or end.json is there. That a launcher was killed while its
  // processes live on cannot be seen here; its connection to the sidecar tells it.
  bool launcher_gone = false;
  std::string end_time;
  std::optional<int> wait_status;  // of the command
  std::optional<int> exit_code;    // that of `shmrec run`
  std::optional<int> signal;       // that ended the command
  int32_t command_pid = 0;         // in the launcher's PID namespace, 0: unknown
  uint64_t end_tsc = 0;            // when that was known, by the log's clock; 0: unknown
  uint64_t bytes = 0;              // blocks on disk
};

// A launcher that joined the run of another (docs/spool.md).
struct RunMember {
  RunIdentity identity;          // `name`: of its directory in members/
  std::optional<RunStatus> end;  // once its end.json is there
};

class Spool {
 public:
  static constexpr size_t kMaxRuns = 4096;
  static constexpr size_t kMaxMembers = 256;

  static Result<Spool> open(const std::string& directory);

  const std::string& directory() const { return directory_; }
  // Whether a launcher could have made a run of this name: letters, digits, "._+-", no dot first.
  static bool valid_name(const std::string& name);

  Result<SpoolListing> list() const;
  Result<RunIdentity> identify(const std::string& name) const;
  // `long_known`: the caller has known it for kCreation or more. Only then can a run that is not
  // made whole yet be over: its launcher died meanwhile. The files' times do not tell, for somebody
  // may have set the clock.
  static constexpr std::chrono::seconds kCreation{60};  // a launcher makes its log in less
  Result<RunStatus> status(const std::string& name, bool long_known) const;
  // Those that joined, by name; none if the run is one launcher's own.
  Result<std::vector<RunMember>> members(const std::string& name) const;
  // The run's directory, for run_follower.h.
  Result<UniqueFd> open_run(const std::string& name) const;
  // Reads a directory that a launcher has made as its runs will be, and removes it as they will be.
  // "" or why not, for a person.
  std::string try_probe(const std::string& name) const;
  // Something in the run that may not be read, as a path in it; "" if there is none. What a bundle
  // lacks for that is only in the run.
  std::string unreadable(const std::string& name) const;
  // Removes the run directory and all in it, holding its log's lock, so that nobody joins it
  // meanwhile. One that is gone already is no error; one that somebody records into is.
  Result<> remove(const std::string& name) const;

 private:
  std::string directory_;
  UniqueFd fd_;
};

// Whether a call failed for want of descriptors or memory, which says nothing about a file.
bool is_shortage(int error);

// A regular file in `directory`, for reading; errno says why not (ELOOP: a symbolic link; EINVAL:
// no regular file).
UniqueFd open_untrusted(int directory, const char* name);

// What the run.json in a launcher's directory says. Its `name` is left empty.
RunIdentity read_identity(int directory);
// The same from its text.
RunIdentity parse_identity(const std::string& text);
// Fills in what the text of an end.json says; false if it is not whole.
bool parse_end(const std::string& text, RunStatus& status);

}  // namespace shmrec::recording
