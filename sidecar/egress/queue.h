// Which bundle still has to go to which destination, and the thread that sends.
//
// Invariants
// 1. A bundle that add() accepted is sent to each of its destinations at least once, or given up
//    loudly (log, metric): across restarts and kill -9, for what is to be sent is on disk first
//    (job_file.h) and taken off only afterwards.
// 2. A destination that fails waits for its next time; the others go on. (One that is slow does
//    hold them up, for as long as its own time limits let it: there is one thread.)
// 3. Steps of the wall clock change nothing while we run: waiting is by the monotonic clock. Across
//    a restart a stored time is trusted for at most the longest pause.
// 4. Bounded: when max_jobs are waiting, add() refuses. The oldest are kept, because the first
//    failure of a crash loop is the one that explains it.
// Threads: all functions from any thread. add() writes and syncs small files, nothing else waits
// but drain().
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "sidecar/egress/destination.h"
#include "sidecar/egress/job_file.h"
#include "sidecar/service.h"

namespace shmrec::sidecar::egress {

// The pause after the nth failure is random between half and all of first_pause * 2^(n-1), at most
// longest_pause, but never shorter than the other side asked for, as far as longest_asked.
struct RetryPolicy {
  std::chrono::milliseconds first_pause = std::chrono::seconds(5);
  std::chrono::milliseconds longest_pause = std::chrono::minutes(10);
  std::chrono::milliseconds longest_asked = std::chrono::hours(1);
  unsigned max_attempts = 20;  // in about two hours
};

// Without what the other side asks for. `random` in [0, 1).
std::chrono::milliseconds pause_after(const RetryPolicy& policy, unsigned failures, double random);

struct QueueOptions {
  std::filesystem::path store;
  size_t max_jobs = 256;
  RetryPolicy retry;
  Log log;
};

class Queue {
 public:
  // Takes up what the last life left, and starts the thread.
  static Result<std::unique_ptr<Queue>> open(
      QueueOptions options, std::vector<std::unique_ptr<Destination>> destinations);
  ~Queue();  // stop()

  // To the destinations of these names, or to all. One that waits already is not added again.
  // REQUIRES: bundle.path is in the store and named bundle.name.
  Result<> add(const Bundle& bundle, const std::vector<std::string>& destinations = {});
  // To all destinations that show such.
  void note(const std::string& text);
  // Whether a bundle waits for a destination: retention may want to spare it.
  bool waits(const std::string& bundle_name) const;
  size_t size() const;
  // Tries all that waits once more, now, and returns when that is done or the time is over: for the
  // end of the pod. True if nothing is left to be sent.
  bool drain(std::chrono::milliseconds limit);
  // Ends the attempt that is under way and the thread. What waits stays on disk.
  void stop();
  std::vector<Metric> metrics() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    Job job;
    Destination* to = nullptr;
    Clock::time_point due;
  };
  struct Counts {
    uint64_t sent = 0, failed = 0, given_up = 0, bytes = 0;
  };
  using Jobs = std::list<Waiting>;

  Queue(QueueOptions options, std::vector<std::unique_ptr<Destination>> destinations,
        JobFiles files);
  Result<> load();
  void resume(Job job);
  Result<> add_to(Destination& destination, const Bundle& bundle);
  Destination* find(const std::string& name) const;
  bool is_waiting(const std::string& bundle, const std::string& destination) const;
  Jobs::iterator next();
  bool any_due() const;
  void run();
  void attempt(std::unique_lock<std::mutex>& lock, Jobs::iterator waiting);
  void tell_others(const Waiting& waiting);
  void succeeded(const Waiting& waiting);
  bool failed(Waiting& waiting, const Error& error);
  void log(LogLevel level, const std::string& text) const;

  const QueueOptions options_;
  const std::vector<std::unique_ptr<Destination>> destinations_;
  JobFiles files_;            // a job's file: by add() before it is in jobs_, then by the thread
  std::mutex add_mutex_;      // one add() at a time; taken before mutex_
  mutable std::mutex mutex_;  // guards what follows, except stop_ and thread_
  std::condition_variable changed_;
  Jobs jobs_;  // the thread alone changes and takes away elements
  std::map<const Destination*, uint64_t> last_turn_;
  uint64_t turns_ = 0;
  std::map<std::string, Counts> counts_;  // by kind
  uint64_t refused_ = 0;                  // by add()
  bool busy_ = false;                     // an attempt is under way
  std::minstd_rand random_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace shmrec::sidecar::egress
