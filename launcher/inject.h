// Puts the agent into new process images: a transient ptrace attachment around each execve.
//
//   notification of execve   attach(): SEIZE with TRACEEXEC, INTERRUPT; the caller answers CONTINUE
//   stop EVENT_EXEC          the image is loaded: read what was exec'd, plant a stub at its first
//                            instruction that maps the agent's pages, let it run
//   stop SIGTRAP             the stub is done: write the agent's pages, restore the planted bytes,
//                            continue in the agent, DETACH
// A failed execve meets the INTERRUPT instead of EVENT_EXEC and is detached with its own errno.
//
// Invariants
//  1. No call waits for a tracee: the owner feeds wait statuses into on_wait() in any order, for
//     any number of execs at once.
//  2. Whatever goes wrong after attach(), the tracee ends up detached, running, with its own
//     memory, registers and signal mask; or it is dead (killed, if Settings say so).
//  3. While the stub runs all signals are blocked in the tracee, so none is lost or runs a handler.
// Threads: attach() and on_wait() on one thread, the tracer. The owner waits with __WALL.
// Trust: everything read from the tracee is the workload's.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/agent_abi.h"
#include "base/result.h"
#include "launcher/exec_info.h"
#include "policy/policy.h"

namespace shmrec::launcher {

// An image file, checked. Refers to `bytes`.
class AgentImage {
 public:
  static Result<AgentImage> open(std::span<const unsigned char> bytes);
  const agent::ImageHeader& header() const { return header_; }
  // What goes to segment `index` of an image at candidate `zone` of agent::kBases: a part of the
  // image if nothing in it moves, else made when it is first asked for. Lives as long as the image.
  std::span<const unsigned char> segment(size_t zone, uint32_t index);

 private:
  static constexpr size_t kZones = sizeof(agent::kBases) / sizeof(agent::kBases[0]);
  agent::ImageHeader header_{};
  std::span<const unsigned char> bytes_;
  std::array<std::vector<std::vector<unsigned char>>, kZones> moved_;
};

struct ExecReport {
  enum class Outcome {
    kInjected,    // the agent runs
    kUnrecorded,  // the new image runs without it; `why` says why
    kFailed,      // execve failed, or was given up by the process
    kDied,        // killed meanwhile
  };
  Outcome outcome = Outcome::kFailed;
  pid_t pid = 0;
  std::string why;
  ExecInfo exec;        // filled if the exec succeeded and the image could be read
  int wait_status = 0;  // kDied
};

class Injector {
 public:
  struct Settings {
    AgentImage image;
    uint64_t log_bytes = 0;
    bool kill_unrecorded = false;  // failurePolicy: closed
    uint32_t launcher = 0;         // recording::MemberLock::number()
    bool seccomp_alone = false;    // the launcher itself runs behind a seccomp filter
    CoreChoice cores;              // of those that end
    agent::Level level = agent::Level::kAccesses;
    bool checksums = false;  // at level replay
    pid_t command = 0;       // the launcher's child; what it adopts beside are orphans
  };
  explicit Injector(Settings settings);

  // Begins with a thread that waits in execve. `killable`: its wait ignores signals (Listener), so
  // it can be interrupted before the answer; otherwise the caller must call interrupt() after it.
  // `filtered`: it has seccomp filters of its own, which let the agent start. Returns 0, or the
  // errno of what refused.
  int attach(pid_t tid, bool killable, bool filtered = false);
  void interrupt(pid_t tid);

  // Takes a status that waitpid gave for `pid`. `mine`: it was about a tracee, and the owner must
  // not use it for anything else. `report`: the exec is over.
  struct Handled {
    bool mine = false;
    std::optional<ExecReport> report;
  };
  Handled on_wait(pid_t pid, int status);

  // No tracee. The launcher must not end before: a planted stub kills a process without tracer.
  bool idle() const { return tracees_.empty(); }

 private:
  enum class Phase { kSeized, kMapping };
  struct Tracee {
    Phase phase = Phase::kSeized;
    user_regs_struct registers{};  // at EVENT_EXEC
    uint64_t word = 0;             // the planted bytes' original
    size_t zone = 0;               // candidate of agent::kBases that is being tried
    sigset_t mask{};
    bool filtered = false;         // see attach()
    bool stopped_by_user = false;  // swallowed a SIGSTOP: send it again
    ExecInfo exec;
  };

  Handled on_exec(pid_t pid);
  Handled on_mapped(pid_t pid, Tracee& tracee);
  Handled on_other_stop(pid_t pid, Tracee& tracee, int status);
  std::string plant_stub(pid_t pid, Tracee& tracee);
  std::string map_zone(pid_t pid, Tracee& tracee, size_t first);
  std::string write_image(pid_t pid, const Tracee& tracee);
  bool restore(pid_t pid, const Tracee& tracee, uint64_t rip);
  Handled detach(pid_t pid, const Tracee& tracee, ExecReport::Outcome outcome, std::string why,
                 int signal = 0);
  Handled finish(pid_t pid, ExecReport::Outcome outcome, std::string why = {}, int status = 0);

  Settings settings_;
  std::unordered_map<pid_t, Tracee> tracees_;
};

}  // namespace shmrec::launcher
