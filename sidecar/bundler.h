// Makes bundles of runs, one after another, on a thread of its own: reads the spool, writes the
// store, hands on to egress, keeps the retention limits.
//
// Owner: borrows spool, store and queue. Threads: every function from any thread.
// Invariants
//  1. A job ends exactly once: done() is called with its outcome, from the bundler's thread.
//  2. Of those that are due the smallest run is first, so that a large one keeps nobody waiting but
//     by the bundle under way; and one that has been due for kPatience, so that the small ones do
//     not keep the large waiting for ever.
//  3. Bounded: at most kMaxJobs wait, and kMaxRequests of people; the last kMaxOperations are
//     remembered.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "recording/run/spool.h"
#include "sidecar/egress/queue.h"
#include "sidecar/rules/rule_engine.h"
#include "sidecar/service.h"
#include "sidecar/store/store.h"

namespace shmrec::sidecar {

struct BundleJob {
  Decision decision;
  bool final = false;     // of a run that is over
  std::string operation;  // "" : nobody asked
  std::chrono::steady_clock::time_point not_before;
  uint64_t bytes = 0;                // of the run: how long it will take
  uint64_t incident = 0;             // whose bundle it is (Incident::id), 0: nobody's
  int64_t process_failure_ns = 0;    // BundleFacts::process_failure_ns
  std::vector<uint64_t> supersedes;  // incidents whose bundles go once this one stands
};

class Bundler {
 public:
  static constexpr size_t kMaxJobs = 64, kMaxRequests = 4, kMaxOperations = 256;
  static constexpr std::chrono::minutes kPatience{1};
  using Done = std::function<void(const BundleJob& job, const Result<StoredBundle>& outcome)>;
  // Which bundles a job's gives reason to remove.
  using Superseded = std::function<std::vector<std::string>(const BundleJob& job)>;

  Bundler(const recording::Spool& spool, Store& store, egress::Queue& queue,
          RetentionLimits retention, uint64_t max_bytes, Done done, Superseded superseded);
  ~Bundler();  // stop()

  // The job to be made at `now`, or the end. `hurry`: all are due.
  static std::list<BundleJob>::iterator choose(std::list<BundleJob>& jobs,
                                               std::chrono::steady_clock::time_point now,
                                               bool hurry);
  // False: too many wait.
  bool add(BundleJob job);
  // Takes back the jobs of a run that have not begun and that nobody asked for.
  std::vector<BundleJob> take_back(const std::string& run);
  // The operation of a request, or nothing: busy.
  std::optional<Operation> add_request(BundleJob job);
  std::optional<Operation> operation(const std::string& id) const;

  size_t waiting() const;
  // Makes what waits without further delay; returns when all is made or the time is over.
  void finish(std::chrono::milliseconds limit);
  void stop();  // lets the job under way end

  std::map<std::string, uint64_t> dropped() const;
  std::string last_problem() const;  // "" after a success
  std::vector<Metric> metrics() const;

 private:
  using Clock = std::chrono::steady_clock;
  void work();
  void take_cores(const std::string& run) const;
  Result<StoredBundle> make(const BundleJob& job);
  void enforce_retention();
  void conclude(const BundleJob& job, const Result<StoredBundle>& outcome);
  Operation& remember(const std::string& id);

  const recording::Spool& spool_;
  Store& store_;
  egress::Queue& queue_;
  const RetentionLimits retention_;
  const uint64_t max_bytes_;  // of the files in one bundle
  const Done done_;
  const Superseded superseded_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<BundleJob> jobs_;
  std::deque<Operation> operations_;
  uint64_t made_ = 0, failed_ = 0;
  // By rule: bundles that retention has dropped.
  std::map<std::string, uint64_t> dropped_{
      {"retention.age", 0}, {"retention.bytes", 0}, {"retention.count", 0}, {"retention.free", 0}};
  uint64_t next_operation_ = 1;
  std::string problem_;
  bool busy_ = false, hurry_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace shmrec::sidecar
