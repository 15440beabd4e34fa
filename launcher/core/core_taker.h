// Takes cores of processes that a signal is about to end (agent_abi.h, kCallCore), into the run's
// cores/RECORDING-ID.core.
//
// The dying thread waits for its notification's answer, the others are stopped for as long. A
// thread of its own does the work: the launcher's main thread goes on answering everybody else.
//
//     agent               main thread           this thread
//     kCallCore        -> take()             -> stop the others, read, write, let go
//     dies as alone    <-----------------------  answer
//
// Invariants
//  1. Every request is answered, in bounded time: stopping and writing have a limit each, and a
//     launcher that dies answers by dying.
//  2. The process is changed in nothing. What fails costs the core, and is told as a gap.
//  3. A core has its name when it is whole.
// Threads: all members by the owner's; `gap` and `note` are called from finish() and tell_new().
// Trust: the request and all that is read are the workload's.
#pragma once

#include <linux/seccomp.h>
#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "policy/policy.h"

namespace shmrec::launcher {

struct CoreTakerOptions {
  std::filesystem::path run_directory;  // of the run, not of a member of it
  mode_t file_mode = 0600;
  CoreChoice choice;
};

class CoreTaker {
 public:
  struct Told {
    bool taken = false;
    std::string what;  // "core of pid 17 (recording 1234abcd-00ff)"
    std::string how;   // of a taken one its size and time, else why it was not
    pid_t pid = 0;
    std::string name;            // of a taken one's process
    std::filesystem::path file;  // that it is
  };

  explicit CoreTaker(CoreTakerOptions options);
  ~CoreTaker();
  CoreTaker(const CoreTaker&) = delete;
  CoreTaker& operator=(const CoreTaker&) = delete;

  // Answers the request when its core has been taken, or cannot be. `listener`: must stay open.
  void take(int listener, const seccomp_notif& request);

  // What became of requests since the last call.
  std::vector<Told> tell_new();
  // Waits for what was asked for.
  void finish();

 private:
  struct Request {
    int listener;
    seccomp_notif notification;
  };
  void work();
  Told serve(const Request& request);

  const CoreTakerOptions options_;
  UniqueFd folder_;  // from the first request on
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> waiting_;
  std::vector<Told> told_;
  bool busy_ = false;
  bool ends_ = false;
  std::thread thread_;  // last: it uses all others
};

}  // namespace shmrec::launcher
