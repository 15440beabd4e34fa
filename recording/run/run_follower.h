// What happens in a run, told piece by piece while it goes on: for one who looks once a second at
// many runs, and for whom reading the whole log each time would be too dear.
//
// A poll reads the log's header, the entries of processes that have not ended, and the journal from
// where the last poll stopped; and the new lines of each launcher's events.jsonl. All by pread,
// none of it mapped. Trust: the workload can write every byte of both files at any time. The layout
// is taken once and checked against the file's size; counts are clamped to it; a poll handles a
// bounded number of units and bytes, and `behind` says that more is there. Texts are printable and
// bounded. Owner: no descriptor is kept between polls: a spool may hold thousands of runs. What
// lies under the run's name then is what is followed. Threads: one at a time for one follower.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/log/journal_tail.h"
#include "recording/log/shmlog_format.h"
#include "recording/run/pid_lookup.h"

namespace shmrec::recording {

struct RunFact {
  enum class Type {
    kProcessStarted,  // text: executable
    kProcessEnded,    // wait_status, or `replaced`
    kSignal,          // signal: a fatal one is about to kill
    kChildExit,       // pid, wait_status: somebody reaped a child that need not be recorded
    kMark,            // text: name
    kOutOfMemory,     // the launcher saw the kernel kill a child for want of memory
  };
  Type type = Type::kMark;
  uint32_t process = 0;  // entry of the process table, 0: unknown
  int32_t pid = 0;
  int64_t time_ns = 0;  // by LogFollower::time_at, 0: unknown
  int wait_status = 0;
  int signal = 0;
  bool replaced = false;  // execve succeeded: the pid goes on as another recording
  std::string place;      // of kSignal: "MODULE+0xOFFSET" in the file, "" if it is in none
  std::string text;
  // Who told: "" the log or the run's first launcher, else the name of one that joined
  // (members/NAME).
  std::string launcher;
};

struct FollowedProcess {
  enum class End { kNone, kExited, kKilled, kReplaced, kUnknown };
  uint32_t process = 0;  // its number (ProcessEntry::number)
  std::string id;        // "%08x-%04x"
  std::string name, executable;
  int32_t pid = 0;
  uint32_t parent = 0;         // number of the one that it was forked or exec'd from, 0: unknown
  uint64_t pid_namespace = 0;  // that `pid` counts in, 0: unknown
  End end = End::kNone;
  int wait_status = 0;    // of kExited and kKilled
  int fatal_signal = 0;   // it said that this signal is about to kill it
  uint64_t accesses = 0;  // as of the last poll
};

// "running", "exited", "killed", "replaced"; "unknown" if the run is over and nobody saw its end.
std::string process_state(const FollowedProcess& process, bool run_over);

// The log's part. `poll` takes the descriptor each time, so that it can be used on any file.
class LogFollower {
 public:
  static constexpr uint32_t kMaxProcesses = 16384;     // more are counted, not followed
  static constexpr uint32_t kMaxUnitsPerPoll = 16384;  // of the journal: 1 MiB

  // What is new. `last`: the run is over, so that nothing will be taken back any more. Processes
  // beyond `most` are passed over, most of them for good.
  Result<std::vector<RunFact>> poll(int log, bool last, size_t most = kMaxProcesses);
  // Somebody else (a launcher) saw a process end.
  void note_exit(const PidSeen& seen, int wait_status, std::vector<RunFact>& facts);

  // A time of CLOCK_MONOTONIC of the boot that the run is of, as nanoseconds since the epoch: as
  // the wall clock would say it if nobody had set it since the run began. 0: unknown.
  int64_t time_at(int64_t monotonic_ns) const;
  int64_t time_of(uint64_t tsc) const;     // likewise, of a time by the log's clock
  bool behind() const { return behind_; }  // more is there than a poll takes: poll again
  const std::vector<FollowedProcess>& processes() const { return processes_; }  // by entry
  const FollowedProcess* find(uint32_t process) const;  // by its number; nullptr: not followed
  uint64_t processes_not_followed() const { return not_followed_; }
  uint64_t brakes() const { return brakes_; }  // how often a segment's brake was set or tightened
  // Units of the journal that were overwritten before a poll came to them:
  // starts, ends and marks in them are not told. Processes that still run are
  // told from the table.
  uint64_t journal_missed() const { return journal_missed_; }
  uint64_t accesses() const;

 private:
  // What a poll saw of a process's end: believed when a later poll sees it again, for an execve
  // that fails takes back what was written before it.
  struct Seen {
    uint64_t start_tsc = 0;
    uint32_t start_kind = 0;
    uint32_t exit_known = 0;
    int wait_status = 0;
    bool confirmed = false;
    bool announced = false;  // as started
    bool settled = false;    // its end is told; its entry is not read again
  };

  Result<> take_layout(int log, const shmlog::Header& header);
  void read_processes(int log, uint32_t next, size_t most);
  void read_block(int log, uint32_t begin, uint32_t end, size_t most);
  void see(uint32_t slot, const shmlog::ProcessEntry& entry, size_t most);
  void forget_former(uint32_t slot, uint32_t number);
  void read_journal(int log, uint64_t head, std::vector<RunFact>& facts);
  void retry_holes(int log, bool last, std::vector<RunFact>& facts);
  uint32_t take_entry(int log, uint64_t place, std::vector<RunFact>& facts);
  void take(const shmlog::JournalEntry& entry, std::string text, std::vector<RunFact>& facts);
  void announce_silent(std::vector<RunFact>& facts);
  void settle(bool last, std::vector<RunFact>& facts);
  void end(size_t place, FollowedProcess::End end, int wait_status, uint64_t tsc,
           std::vector<RunFact>& facts);
  std::optional<size_t> newest_of(const PidSeen& seen) const;
  FollowedProcess* find(uint32_t process);
  void map_module(const shmlog::JournalEntry& entry, const std::string& path);
  void forget_modules();
  std::string place_of(uint32_t process, uint64_t pc) const;

  // Of the code that a process has mapped; what it maps there later comes behind.
  struct Module {
    uint64_t begin = 0, end = 0, offset = 0;  // of `begin`, in the file
    uint32_t name = 0;
  };

  bool has_layout_ = false;
  bool behind_ = false;
  std::unordered_map<uint32_t, std::vector<Module>> modules_;  // by process
  std::vector<std::string> module_names_;
  std::map<std::string, uint32_t> module_name_at_;
  size_t module_count_ = 0, modules_refused_ = 0;
  shmlog::Area process_table_{}, journal_{};
  uint64_t start_tsc_ = 0, start_realtime_ns_ = 0, start_monotonic_ns_ = 0, tsc_hz_ = 0;
  uint32_t table_count_ = 0;  // of the process table, as its numbers are placed
  uint64_t next_place_ = 0;
  uint64_t journal_missed_ = 0;
  std::map<uint64_t, int> holes_;  // places whose entry is not written yet: polls left to wait
  std::vector<FollowedProcess> processes_;
  std::vector<Seen> seen_;                                   // of the same places
  std::unordered_map<uint32_t, size_t> by_entry_;            // by number: place in both
  std::map<uint32_t, size_t> at_slot_;                       // by place in the table
  std::unordered_map<int32_t, std::vector<size_t>> by_pid_;  // newest last
  uint32_t next_new_ = 1;                                    // numbers below have been met
  uint64_t passed_over_ = 0;
  uint64_t not_followed_ = 0;
  uint64_t brakes_ = 0;
};

// A launcher's part: the exits in events.jsonl, and how often it saw memory run out.
class EventsFollower {
 public:
  struct Exit {
    int32_t pid = 0;
    int wait_status = 0;
    uint64_t tsc = 0;  // 0: unknown
  };
  std::vector<Exit> poll(int events);
  bool behind() const { return behind_; }
  uint64_t out_of_memory() const { return out_of_memory_; }  // lines so far

 private:
  void take_line(std::string_view line, std::vector<Exit>& exits);
  uint64_t at_ = 0;
  std::string rest_;         // of a line that is not whole
  bool skips_line_ = false;  // it is too long to be an exit
  bool behind_ = false;
  uint64_t out_of_memory_ = 0;
};

// The log and all its launchers, for a run directory.
class RunFollower {
 public:
  // `run`: see Spool::open_run. An Error with bad_input: there is no log, or what is there is none;
  // without: it could not be read this time. `most`: as for LogFollower.
  Result<std::vector<RunFact>> poll(const UniqueFd& run, bool run_over,
                                    size_t most = LogFollower::kMaxProcesses);
  bool behind() const { return log_.behind() || launchers_behind(); }
  const LogFollower& log() const { return log_; }

 private:
  // In its own directory: that of the run, or one in members/.
  struct Launcher {
    EventsFollower events;
    std::optional<uint64_t> pid_namespace;  // 0: unknown
  };
  struct Told {
    std::string launcher;
    uint64_t pid_namespace = 0;
    std::vector<EventsFollower::Exit> exits;
    bool out_of_memory = false;
  };
  void poll_launchers(int run, std::vector<Told>& told);
  void poll_launcher(const std::string& name, int directory, std::vector<Told>& told);
  bool launchers_behind() const;

  LogFollower log_;
  std::map<std::string, Launcher> launchers_;  // "" the first; at most Spool::kMaxMembers others
};

}  // namespace shmrec::recording
