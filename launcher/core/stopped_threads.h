// The threads of a process that is recorded, stopped for the moment of a core.
//
// Nobody waits for them by waitpid: the launcher's main thread reaps whatever the process's
// children and tracees report, so a stop is seen by asking the kernel for the registers.
//
// Invariants
//  1. When this object is gone every thread that was stopped runs on: with the signal that it was
//     about to get, or stopped by its user as it was before. A system call that it was in waits on.
//  2. stop() returns within its time; what has not stopped by then is left out.
//  3. The kernel lets go what is left, stopped or not, when the thread that called stop() ends.
// Threads: one alone, the tracer of all of them, which must end soon after. It acts for the
// process's user (ActAs).
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "base/result.h"

namespace shmrec::launcher {

struct StoppedThread {
  pid_t tid = 0;
  user_regs_struct registers{};
  std::vector<unsigned char> vector_state;  // XSAVE area as NT_X86_XSTATE has it; empty: unknown
};

class StoppedThreads {
 public:
  // All threads of `pid` but `without` (0: all). An error: the first of them could not be attached,
  // or another thread of the launcher has raised `give_way`.
  static Result<StoppedThreads> stop(pid_t pid, pid_t without, std::chrono::milliseconds limit,
                                     const std::atomic<bool>& give_way);
  ~StoppedThreads();
  StoppedThreads(StoppedThreads&&) = default;
  StoppedThreads& operator=(StoppedThreads&&) = delete;

  const std::vector<StoppedThread>& threads() const { return stopped_; }
  // Threads that did not stop in time, or could not be attached.
  size_t missing() const { return missing_; }

 private:
  StoppedThreads() = default;
  Result<> attach_new(pid_t pid, pid_t without);
  void look();

  std::vector<pid_t> attached_;  // and not seen stopped yet
  std::vector<StoppedThread> stopped_;
  size_t missing_ = 0;
};

}  // namespace shmrec::launcher
