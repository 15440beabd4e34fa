// Takes cores into the run's cores/RECORDING-ID.core: of processes that are about to end
// (agent_abi.h, kCallCore), and of those that somebody asks for, which run on.
//
// The thread that ends waits for its notification's answer, all others are stopped for as long. A
// thread of its own does the work, one core after the other: the launcher's main thread goes on
// answering everybody else.
//
//     agent               main thread           this thread, and for each core one more
//     kCallCore        -> take()             -> stop the others, read, write, let go
//     ends as alone    <-----------------------  answer
//
// Invariants
//  1. Every request is answered, in bounded time: stopping and writing have a limit each, and a
//     launcher that dies answers by dying.
//  2. The process is changed in nothing. What fails costs the core, and is told as a gap.
//  3. A core has its name when it is whole.
//  4. An exec of a process that runs on does not wait for its core: it gives way.
// Threads: take(), tell_new(), finish() and give_way() by the owner's; take_live() by any. Trust:
// the request and all that is read are the workload's.
#pragma once

#include <linux/seccomp.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/core/one_core.h"
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
    bool ends = false;  // the process does
    std::string what;   // "core of pid 17 (recording 1234abcd-00ff)"
    std::string how;    // of a taken one its size and time, else why it was not
    pid_t pid = 0;      // in the launcher's namespace
    std::string name;   // of the process
    std::string recording;
    std::filesystem::path file;  // that it is
  };

  // REQUIRES: nobody else changes the umask meanwhile (shared_folder.h).
  static Result<std::unique_ptr<CoreTaker>> start(CoreTakerOptions options);
  ~CoreTaker();
  CoreTaker(const CoreTaker&) = delete;
  CoreTaker& operator=(const CoreTaker&) = delete;

  // Answers the request when its core has been taken, or cannot be. `listener`: must stay open.
  void take(int listener, const seccomp_notif& request);
  // Waits until the cores of these have been taken, or cannot be.
  std::vector<Told> take_live(const std::vector<CoreSubject>& subjects);

  // The thread `tid` has to be traced by somebody else: the core of its process is given up. False:
  // it is not being taken.
  bool give_way(pid_t tid);

  // What became of requests since the last call.
  std::vector<Told> tell_new();
  // Waits for what was asked for.
  void finish();

 private:
  struct Request {
    // Of a thread that waits; else a process that runs on.
    int listener = -1;
    seccomp_notif notification{};
    CoreSubject live;
    uint64_t number = 0;
  };
  explicit CoreTaker(CoreTakerOptions options, UniqueFd folder);
  void work();
  Told serve(const Request& request);
  Told serve_waiting(const seccomp_notif& notification);
  Told take_one(const CoreSubject& subject);

  const CoreTakerOptions options_;
  const UniqueFd folder_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> waiting_;
  std::vector<Told> told_;
  std::map<uint64_t, Told> answers_;  // to take_live(), by number
  uint64_t next_number_ = 1;
  bool busy_ = false;
  bool ends_ = false;
  std::atomic<pid_t> live_ = 0;  // whose core is being taken and that runs on
  std::atomic<bool> give_way_ = false;
  std::thread thread_;  // last: it uses all others
};

}  // namespace shmrec::launcher
