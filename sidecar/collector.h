// The collector: looks at the spool, decides by the rules, has bundles made, and removes runs that
// are dealt with.
//
// One look takes each run's state from the spool (files and a lock: no PID is shared with the
// workload) and the facts that are new in its log. What is told of one failure becomes one bundle
// (incident.h). A run that is over is settled once: its last event goes to the rules; when its
// bundles stand, or none was wanted, its directory goes. So a directory that is there at the start
// has not been dealt with, and looking again is right after any death.
//
// Owner: borrows spool, store and queue; owns the bundler.
// Threads: run() on one; all else from any.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "recording/run/run_follower.h"
#include "recording/run/spool.h"
#include "sidecar/bundler.h"
#include "sidecar/config.h"
#include "sidecar/control.h"
#include "sidecar/incident.h"
#include "sidecar/readiness.h"
#include "sidecar/service.h"

namespace shmrec::sidecar {

class Collector : public Service {
 public:
  Collector(const Config& config, std::string instance, const recording::Spool& spool, Store& store,
            egress::Queue& queue);
  ~Collector() override;

  // Until stop(). Then makes what is due, as far as the grace period allows.
  void run();
  // Both may be called from a signal handler.
  void stop();
  void look();  // soon: something has changed

  // The run that a launcher starting now should join, "" for one of its own.
  std::string run_to_join() const;
  // Something that was configured cannot be done, and is done without: for whoever looks at us.
  void tell_mistake(const std::string& mistake);
  // Why runs of this user could not be collected, "" if they can (Spool::try_probe). From any
  // thread.
  std::string refuse(const std::string& probe, uid_t user);
  // What metrics() and health() say of it. Borrowed as long as they are asked.
  void set_control(const ControlServer& control) { control_ = &control; }

  Info info() const override;
  Health health() const override;
  std::vector<ProcessInfo> processes() const override;
  std::vector<BundleInfo> bundles() const override;
  Result<OpenedFile> open_bundle(const std::string& name) const override;
  Result<> remove_bundle(const std::string& name) override;
  Result<std::optional<Operation>> start_bundle(const BundleRequest& request) override;
  std::optional<Operation> operation(const std::string& id) const override;
  std::vector<Metric> metrics() const override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Run {
    recording::RunIdentity identity;
    recording::RunStatus status;
    std::optional<recording::RunFollower> follower;
    Clock::time_point identify_at;  // run.json was missing or damaged
    Clock::duration identify_pause{};
    uint64_t first_look = 0;  // that met it, and when that was
    Clock::time_point met;
    std::optional<Moment> bundled;  // a bundle of before our start holds what happened until then
    bool settled = false;
    size_t jobs = 0;  // bundles to be made of it
    // When to try again what failed although the run was settled: its last bundle, its removal.
    Clock::time_point retry_at;
    std::optional<BundleJob> retry;
    Clock::duration pause{};
    std::map<uint32_t, bool> failed;  // processes whose end is told
    std::set<std::string> told;       // launchers whose end is: "" the first, members by name
    std::string unreadable;           // what of it may not be read
    bool wanted = false;              // a bundle of the whole was
    std::vector<Incident> pending;    // failures that are held
    std::vector<Incident> made;       // that were handed on, of processes; the oldest go
    std::set<std::string> members;    // members whose policy's mistakes are told
    std::vector<Incident> causes;     // processes that failed, whatever the rules say; likewise
  };

  using Members = std::vector<recording::RunMember>;
  void wait();
  void look_at_all();
  void look_at(const std::string& name, Run& run);
  void identify(const std::string& name, Run& run);
  static int64_t known_until(const Run& run);
  // False: it could not be read, or not to its end; look again before it is taken for settled.
  bool follow(const std::string& name, Run& run, const Members& members);
  void tell(Run& run, const recording::RunFact& fact, const Members& members);
  static bool has_begun(const Run& run, const Members& members);
  void tell_ends(Run& run, const Members& members, bool over);
  void tell_end(Run& run, const recording::RunIdentity& launcher, const recording::RunStatus* end);
  void settle(Run& run);
  static void pause(Run& run);  // until it is tried again
  Event event_of(const Run& run, Event::Type type) const;
  static const recording::RunIdentity& launcher_of(const Run& run, const recording::RunFact& fact,
                                                   const Members& members);
  static void name_launcher(const recording::RunIdentity& launcher, Event& event);
  void decide(Run& run, const Event& event);
  void open_incident(Run& run, const Event& event, Incident incident);
  void take_over(Run& run, Incident& end);
  static void remember_cause(Run& run, const Event& event, const Incident& incident);
  std::optional<Decision> ask_rules(const Run& run, const Event& event, bool again);
  void hand_on(Run& run, Clock::time_point now);
  bool hand_on(Run& run, Incident incident);
  void bundle_whole(Run& run);
  std::vector<std::string> superseded(const BundleJob& job);
  void restore_made(Run& run, const StoredBundle& bundle);
  const recording::FollowedProcess* followed(const Run& run, uint32_t process) const;
  uint32_t parent_of(const Run& run, const recording::FollowedProcess& process) const;
  void tell_policy_mistakes(const recording::RunIdentity& launcher);
  void look_at_files();
  void look_at_readiness();
  void on_made(const BundleJob& job, const Result<StoredBundle>& outcome);
  std::string newest_recording() const;
  bool is_made_already(const Run& run, const Event& event) const;
  void forget_vanished(const std::vector<std::string>& names);
  bool note_unreadable(const std::string& name, Run& run);
  void count_unreadable();

  const Config config_;
  const std::string instance_, started_;
  const recording::Spool& spool_;
  Store& store_;
  egress::Queue& queue_;
  std::atomic<const ControlServer*> control_ = nullptr;

  // Of the last look. Probes must not wait for a look under way: its length is the workload's.
  mutable std::mutex problem_mutex_;
  std::string problem_, unreadable_;
  size_t unreadable_runs_ = 0;
  std::map<uid_t, std::string> refused_;  // users whose last launcher was, and why
  uint64_t refusals_ = 0;
  std::vector<std::string> mistakes_;  // in the configuration

  mutable std::mutex mutex_;  // guards what follows, up to the blank line
  std::map<std::string, Run> runs_;
  uint64_t looks_ = 0, incidents_ = 0;
  RuleEngine engine_;
  std::map<std::string, std::pair<int64_t, uint64_t>> files_;  // of triggers: time, inode
  uint64_t spool_bytes_ = 0;
  size_t followed_ = 0;                      // processes in all followers
  std::map<std::string, uint64_t> settled_;  // by how runs ended
  uint64_t policy_mistakes_ = 0;

  UniqueFd wake_, inotify_;
  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> last_look_ns_ = 0;
  std::unique_ptr<Readiness> readiness_;
  std::unique_ptr<Bundler> bundler_;
};

}  // namespace shmrec::sidecar
