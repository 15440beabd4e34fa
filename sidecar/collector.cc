#include "sidecar/collector.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace shmrec::sidecar {
namespace {

using recording::RunFact;
using recording::RunState;

constexpr std::chrono::milliseconds kLookEvery{1000}, kLookAtMost{100};
// Of one run. A workload that fails in more ways at once has them in fewer bundles.
constexpr size_t kMaxPending = 64, kMaxMade = 64;
constexpr std::chrono::seconds kFirstPause{5}, kLongestPause{300};
constexpr std::chrono::seconds kFinish{15}, kDrain{5};
// Of all runs: what a process is known by takes about 400 bytes, and the workload may make up
// thousands.
constexpr size_t kMaxFollowed = 65536;
constexpr size_t kMaxCommand = 16384;  // bytes kept of a run's command line; there may be 4096 runs
constexpr int64_t kStuckNs = int64_t{30} * 1000000000;

int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

const char* name_of(RunState state) {
  constexpr const char* kNames[] = {"recording", "ended", "lost"};
  return kNames[static_cast<int>(state)];
}

}  // namespace

Collector::Collector(const Config& config, std::string instance, const recording::Spool& spool,
                     Store& store, egress::Queue& queue)
    : config_(config),
      instance_(std::move(instance)),
      started_(rfc3339(Moment::now().wall_ns)),
      spool_(spool),
      store_(store),
      queue_(queue),
      engine_(config.rules),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      readiness_(std::make_unique<Readiness>(config.rules)) {
  engine_.restore(store.list(), Moment::now(), monotonic_ns());
  bundler_ = std::make_unique<Bundler>(
      spool, store, queue, config.retention, config.bundle_bytes,
      [this](const BundleJob& job, const Result<StoredBundle>& outcome) { on_made(job, outcome); },
      [this](const BundleJob& job) { return superseded(job); });
}

Collector::~Collector() { bundler_->stop(); }

void Collector::stop() {
  stop_ = true;
  look();
}

void Collector::look() { eventfd_write(wake_.get(), 1); }

// ---- The loop -----------------------------------------------------------------------------------

void Collector::run() {
  if (inotify_)
    inotify_add_watch(inotify_.get(), spool_.directory().c_str(), IN_CREATE | IN_MOVED_TO);
  while (!stop_) {
    look_at_all();
    wait();
  }
  look_at_all();  // what happened while we were told to stop
  bundler_->finish(kFinish);
  look_at_all();
  if (!queue_.drain(kDrain)) spdlog::warn("bundles still to be sent stay in the store");
}

// Until something changes, or for a second; not more often than every tenth of one.
void Collector::wait() {
  const timespec pause{0, std::chrono::nanoseconds(kLookAtMost).count()};
  nanosleep(&pause, nullptr);
  pollfd wanted[] = {{wake_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
  poll(wanted, std::size(wanted), static_cast<int>((kLookEvery - kLookAtMost).count()));
  eventfd_t count;
  eventfd_read(wake_.get(), &count);
  alignas(inotify_event) char events[4096];
  while (inotify_ && read(inotify_.get(), events, sizeof events) > 0) {
  }
}

void Collector::look_at_all() {
  const auto listing = spool_.list();
  {
    const std::lock_guard lock(problem_mutex_);
    problem_ = listing ? "" : listing.error().message;
  }
  const std::lock_guard lock(mutex_);
  last_look_ns_ = monotonic_ns();
  if (!listing) return;
  forget_vanished(listing->names);
  spool_bytes_ = followed_ = 0;
  for (const auto& [name, run] : runs_)
    followed_ += run.follower ? run.follower->log().processes().size() : 0;
  ++looks_;
  for (const std::string& name : listing->names) {
    Run& run = runs_[name];
    if (run.first_look == 0) {
      run.first_look = looks_;
      run.met = Clock::now();
    }
    look_at(name, run);
    last_look_ns_ = monotonic_ns();  // thousands of runs take long, and are no hang
  }
  count_unreadable();
  look_at_files();
  look_at_readiness();
}

void Collector::forget_vanished(const std::vector<std::string>& names) {
  std::erase_if(runs_, [&](const auto& entry) {
    return !std::binary_search(names.begin(), names.end(), entry.first) && entry.second.jobs == 0;
  });
}

// One that stays damaged is read less and less often: it may be 4 MiB long.
void Collector::identify(const std::string& name, Run& run) {
  const bool is_new = run.identity.name.empty();
  if (!is_new && (run.identity.problem.empty() || Clock::now() < run.identify_at)) return;
  if (auto identity = spool_.identify(name)) run.identity = std::move(*identity);
  run.identity.name = name;
  run.identity.command = {};  // the line is enough
  run.identity.command_line.resize(std::min(run.identity.command_line.size(), kMaxCommand));
  run.identity.command_line.shrink_to_fit();
  run.identify_pause =
      std::clamp<Clock::duration>(run.identify_pause * 2, kLookAtMost, kLongestPause);
  run.identify_at = Clock::now() + run.identify_pause;
  if (run.identity.problem.empty()) {
    spdlog::info("run {}: {}", name, run.identity.command_line);
    tell_policy_mistakes(run.identity);
  }
  if (!is_new) return;
  for (const StoredBundle& bundle : store_.list())
    if (bundle.info.run == name) restore_made(run, bundle);
  const std::string directory = spool_.directory() + "/" + name;
  if (inotify_)
    inotify_add_watch(inotify_.get(), directory.c_str(),
                      IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW);
}

void Collector::look_at(const std::string& name, Run& run) {
  const Clock::time_point begun = Clock::now();
  identify(name, run);
  const auto status = spool_.status(name, Clock::now() - run.met > recording::Spool::kCreation);
  const auto members = spool_.members(name);
  if (!status || !members) {  // it has just gone, or cannot be read: the next look tells
    note_unreadable(name, run);
    return;
  }
  run.status = *status;
  for (const recording::RunMember& member : *members)
    if (member.identity.problem.empty() && run.members.insert(member.identity.name).second)
      tell_policy_mistakes(member.identity);
  spool_bytes_ += status->bytes;
  const bool over = status->state != RunState::kRecording;
  if (over && !run.settled) {  // its last events go to the rules with what is known now
    run.identify_at = {};
    identify(name, run);
  }
  if (!run.follower && status->has_log && !run.settled) run.follower.emplace();
  const bool behind = run.follower && !follow(name, run, *members);
  if (!over) run.settled = false;  // somebody joined it at the last moment
  if (!behind) tell_ends(run, *members, over);
  if (over && !run.settled && !behind) settle(run);
  if (!over) hand_on(run, begun);
  if (!run.settled || run.jobs > 0) return;
  if (run.retry) {
    if (Clock::now() < run.retry_at) return;
    run.retry->not_before = Clock::now();
    if (bundler_->add(*run.retry)) {
      ++run.jobs;
      run.retry.reset();
    }
    return;
  }
  run.follower.reset();
  if (Clock::now() < run.retry_at) return;
  if (run.wanted && note_unreadable(name, run)) return pause(run);
  if (const Result<> removed = spool_.remove(name); !removed) {
    spdlog::error("{}: not removed: {}", name, removed.error().message);
    pause(run);  // whoever made it so must not fill the log
  }
}

// True: something of it may not be read, so that its bundle lacks it. The run stays.
bool Collector::note_unreadable(const std::string& name, Run& run) {
  const std::string path = spool_.unreadable(name);
  if (!path.empty() && path != run.unreadable)
    spdlog::error("run {}: {} may not be read by user {}, group {}: it stays in the spool", name,
                  path == "." ? "it" : path, geteuid(), getegid());
  run.unreadable = path;
  return !path.empty();
}

void Collector::count_unreadable() {
  size_t count = 0;
  std::string first;
  for (const auto& [name, run] : runs_) {
    if (run.unreadable.empty()) continue;
    if (count++ == 0) first = name + (run.unreadable == "." ? "" : "/" + run.unreadable);
  }
  const std::lock_guard lock(problem_mutex_);
  unreadable_runs_ = count;
  unreadable_ = count == 0 ? ""
                           : std::to_string(count) + " runs in the spool may not be read by user " +
                                 std::to_string(geteuid()) + ", group " +
                                 std::to_string(getegid()) + ", the first " + first;
}

std::string Collector::refuse(const std::string& probe, uid_t user) {
  const std::string why = spool_.try_probe(probe);
  constexpr size_t kMaxUsers = 64;
  const std::lock_guard lock(problem_mutex_);
  if (why.empty()) return refused_.erase(user), "";
  ++refusals_;
  const std::string text = "the sidecar of user " + std::to_string(geteuid()) + ", group " +
                           std::to_string(getegid()) + " does not collect what user " +
                           std::to_string(user) + " records: it " + why +
                           "; give the pod a securityContext.fsGroup, or both one runAsUser";
  if (refused_.size() >= kMaxUsers && !refused_.contains(user)) refused_.erase(refused_.begin());
  if (std::exchange(refused_[user], text) != text) spdlog::error("launcher refused: {}", text);
  return text;
}

bool Collector::follow(const std::string& name, Run& run, const Members& members) {
  const auto directory = spool_.open_run(name);
  if (!directory) return false;
  const bool over = run.status.state != RunState::kRecording;
  const size_t before = run.follower->log().processes().size();
  const size_t room = kMaxFollowed - std::min(followed_, kMaxFollowed);
  const size_t most = std::min<size_t>(before + room, recording::LogFollower::kMaxProcesses);
  const auto facts = run.follower->poll(*directory, over, most);
  followed_ += run.follower->log().processes().size() - before;
  if (!facts) return facts.error().bad_input;  // then it has nothing to tell any more
  for (const RunFact& fact : *facts) tell(run, fact, members);
  return !run.follower->behind();
}

void Collector::pause(Run& run) {
  run.pause = std::min<Clock::duration>(
      run.pause == Clock::duration{} ? kFirstPause : run.pause * 2, kLongestPause);
  run.retry_at = Clock::now() + run.pause;
}

// ---- What happened ------------------------------------------------------------------------------

Event Collector::event_of(const Run& run, Event::Type type) const {
  Event event;
  event.type = type;
  event.monotonic_ns = monotonic_ns();
  event.run = run.identity.name;
  name_launcher(run.identity, event);
  return event;
}

// By the clock that the times of the run's facts are of, which is not the wall clock any more if
// somebody has set it since the run began. After a restart of the machine nothing better is to be
// had.
int64_t Collector::known_until(const Run& run) {
  if (!run.bundled) return 0;
  const Moment now = Moment::now();
  if (now.boot_id.empty() || run.bundled->boot_id != now.boot_id ||
      run.identity.boot_id != now.boot_id)
    return run.bundled->wall_ns;
  return run.follower->log().time_at(monotonic_ns() - age_ns(*run.bundled, now));
}

void Collector::name_launcher(const recording::RunIdentity& launcher, Event& event) {
  event.command = launcher.command_line;
  event.executable = launcher.executable;
  event.container = launcher.container;
}

// Whose command and container a fact is about: in a joined run the launcher that told it, else the
// one in whose PID namespace the process is. The first where that does not tell them apart.
const recording::RunIdentity& Collector::launcher_of(const Run& run, const RunFact& fact,
                                                     const Members& members) {
  uint64_t pid_namespace = 0;
  for (const recording::FollowedProcess& process : run.follower->log().processes())
    if (process.process == fact.process) pid_namespace = process.pid_namespace;
  const bool is_firsts = pid_namespace == 0 || pid_namespace == run.identity.pid_namespace;
  for (const recording::RunMember& member : members) {
    const bool told = !fact.launcher.empty() && member.identity.name == fact.launcher;
    const bool holds =
        fact.launcher.empty() && !is_firsts && member.identity.pid_namespace == pid_namespace;
    if (told || holds) return member.identity;
  }
  return run.identity;
}

void Collector::tell(Run& run, const RunFact& fact, const Members& members) {
  if (fact.time_ns != 0 && fact.time_ns <= known_until(run)) return;
  if (fact.type == RunFact::Type::kMark) {
    Event event = event_of(run, Event::Type::kMark);
    name_launcher(launcher_of(run, fact, members), event);
    event.text = fact.text;
    return decide(run, event);
  }
  if (fact.type == RunFact::Type::kOutOfMemory) {
    Event event = event_of(run, Event::Type::kOutOfMemory);
    name_launcher(launcher_of(run, fact, members), event);
    return open_incident(run, event, {.out_of_memory = true});
  }
  const bool ends =
      fact.type == RunFact::Type::kProcessEnded || fact.type == RunFact::Type::kSignal;
  if (!ends || fact.replaced || run.failed[fact.process]) return;
  if (fact.signal == 0 && fact.wait_status == 0) return;
  run.failed[fact.process] = true;
  Event event = event_of(run, fact.signal != 0 ? Event::Type::kSignal : Event::Type::kExit);
  name_launcher(launcher_of(run, fact, members), event);
  event.of_process = true;
  event.number = fact.signal != 0 ? fact.signal : WEXITSTATUS(fact.wait_status);
  Incident incident{.time_ns = fact.time_ns, .process = fact.process, .pid = fact.pid};
  if (const recording::FollowedProcess* process = followed(run, fact.process)) {
    if (!process->executable.empty()) event.executable = process->executable;
    incident.parent = parent_of(run, *process);
    incident.pid_namespace = process->pid_namespace;
  }
  event.kind = kind_of(event, fact.place);
  remember_cause(run, event, incident);
  open_incident(run, event, std::move(incident));
  run.causes.back().limited = !engine_.limited_by().empty();
}

// So that the end of who waited for it is known to be its failure.
void Collector::remember_cause(Run& run, const Event& event, const Incident& incident) {
  if (run.causes.size() == kMaxMade) run.causes.erase(run.causes.begin());
  Incident cause = incident;
  cause.kind = event.kind;
  cause.decision.failure = failure_of(event);
  cause.decision.command = event.command;
  cause.decision.container = event.container;
  run.causes.push_back(std::move(cause));
}

const recording::FollowedProcess* Collector::followed(const Run& run, uint32_t process) const {
  return run.follower ? run.follower->log().find(process) : nullptr;
}

// The one that waits for it: an exec in between makes no other process.
uint32_t Collector::parent_of(const Run& run, const recording::FollowedProcess& process) const {
  constexpr int kMaxExecs = 64;
  const recording::FollowedProcess* parent = followed(run, process.parent);
  for (int i = 0; i < kMaxExecs && parent != nullptr && parent->pid == process.pid; ++i)
    parent = followed(run, parent->parent);
  return parent == nullptr ? 0 : parent->process;
}

void Collector::tell_policy_mistakes(const recording::RunIdentity& launcher) {
  for (const std::string& mistake : launcher.policy_mistakes) {
    ++policy_mistakes_;
    const std::string text = "run " + launcher.name +
                             " is recorded by the defaults, as its policy has mistakes: " + mistake;
    spdlog::warn("{}", text);
    queue_.note(text);
  }
}

// Of a launcher that was killed before it started anything there is no run.json and no process:
// nothing that a bundle could show.
bool Collector::has_begun(const Run& run, const Members& members) {
  if (run.identity.problem.empty() || run.status.wait_status || !members.empty()) return true;
  return run.follower && (!run.follower->log().processes().empty() ||
                          run.follower->log().processes_not_followed() > 0);
}

// Each launcher's end is an event of its own: the run goes on while another's processes do. One
// that is over without a word was lost.
void Collector::tell_ends(Run& run, const Members& members, bool over) {
  if (over && !has_begun(run, members)) {
    if (!run.settled)
      spdlog::warn("run {}: killed before it began, nothing to keep", run.identity.name);
    return;
  }
  if (run.status.wait_status || over)
    tell_end(run, run.identity, run.status.wait_status ? &run.status : nullptr);
  for (const recording::RunMember& member : members)
    if (member.end || over) tell_end(run, member.identity, member.end ? &*member.end : nullptr);
}

void Collector::tell_end(Run& run, const recording::RunIdentity& launcher,
                         const recording::RunStatus* end) {
  const std::string member = &launcher == &run.identity ? "" : launcher.name;
  if (!run.told.insert(member).second) return;
  Event event = event_of(run, Event::Type::kLost);
  name_launcher(launcher, event);
  if (end != nullptr && end->signal) {
    event.type = Event::Type::kSignal;
    event.number = *end->signal;
  } else if (end != nullptr && end->exit_code) {
    event.type = Event::Type::kExit;
    event.number = *end->exit_code;
  }
  spdlog::info("run {}: {} ended: {}", run.identity.name, launcher.command_line, reason_of(event));
  if (is_made_already(run, event)) return;
  Incident incident{.of_end = true};
  if (end != nullptr && run.follower) {
    incident.time_ns = run.follower->log().time_of(end->end_tsc);
    incident.pid = end->command_pid;
    incident.pid_namespace = launcher.pid_namespace;
  }
  incident.decision.failure = failure_of(event);
  incident.decision.command = event.command;
  incident.decision.container = event.container;
  const auto cause = std::find_if(run.causes.begin(), run.causes.end(), [&](const auto& earlier) {
    return same_failure(earlier, incident) &&
           explains(earlier.decision.failure, incident.decision.failure);
  });
  if (cause != run.causes.end()) event.kind = cause->kind;
  if (cause != run.causes.end() && cause->limited) return;  // and said to be
  open_incident(run, event, std::move(incident));
}

void Collector::settle(Run& run) {
  run.settled = true;
  ++settled_[name_of(run.status.state)];
  spdlog::info("run {} is over", run.identity.name);
  run.wanted = !run.pending.empty() || run.bundled;
  if (!run.pending.empty()) bundle_whole(run);
}

// Made before a restart, which came before the run's directory could be removed.
bool Collector::is_made_already(const Run& run, const Event& event) const {
  const std::string reason = reason_of(event);
  const auto stored = store_.list();
  return std::any_of(stored.begin(), stored.end(), [&](const StoredBundle& bundle) {
    return bundle.info.run == run.identity.name && bundle.info.trigger == reason;
  });
}

// What a limit forbids is said, of failures each time: evidence goes with it.
// `again`: of a failure that has its decision, so that no limit is asked for it a second time.
std::optional<Decision> Collector::ask_rules(const Run& run, const Event& event, bool again) {
  std::optional<Decision> decision =
      engine_.on_event(event, again || store_.has_room(config_.retention, bundler_->waiting()));
  if (!engine_.limited_by().empty() && !failure_of(event).empty())
    spdlog::warn(
        "run {}: no bundle for {}: dropped by rule {}: its limit is reached, and the store is full",
        run.identity.name, reason_of(event), engine_.limited_by());
  return decision;
}

void Collector::decide(Run& run, const Event& event) {
  const std::optional<Decision> decision = ask_rules(run, event, false);
  if (!decision) return;
  if (bundler_->add(
          {.decision = *decision, .not_before = Clock::now(), .bytes = run.status.bytes})) {
    ++run.jobs;
    return;
  }
  engine_.withdraw(*decision);
  spdlog::warn("{}: no bundle for {}: too many wait", run.identity.name, decision->reason);
}

// ---- Failures -----------------------------------------------------------------------------------

// Holds it, with those that it is one with.
void Collector::open_incident(Run& run, const Event& event, Incident incident) {
  const bool again = incident.of_end &&
                     std::any_of(run.pending.begin(), run.pending.end(), [&](const auto& earlier) {
                       return same_failure(earlier, incident);
                     });
  std::optional<Decision> decision = ask_rules(run, event, again);
  if (!decision) return;
  incident.decision = std::move(*decision);
  incident.due = Clock::now() + kSettleTime;
  if (incident.time_ns == 0 && run.follower)
    incident.time_ns = run.follower->log().time_at(monotonic_ns());
  if (incident.of_end) {
    take_over(run, incident);
  } else {
    for (Incident& earlier : run.pending) {
      const bool again = !earlier.of_end && earlier.decision.kinds == incident.decision.kinds;
      const bool full = run.pending.size() >= kMaxPending;
      if (!again && !full && !same_chain(earlier, incident)) continue;
      engine_.merge(earlier.decision, incident.decision);
      return;
    }
  }
  run.pending.push_back(std::move(incident));
}

// Failures that a launcher's end is the end of are held no longer.
void Collector::take_over(Run& run, Incident& end) {
  std::erase_if(run.pending, [&](const Incident& earlier) {
    if (!same_failure(earlier, end)) return false;
    engine_.merge(end.decision, earlier.decision);
    return true;
  });
}

// What was held long enough when this look began, of a run that goes on.
void Collector::hand_on(Run& run, Clock::time_point now) {
  std::vector<Incident> held;
  for (Incident& incident : std::exchange(run.pending, {})) {
    const bool due = stop_ || incident.due <= now;
    if (!due || !hand_on(run, incident)) held.push_back(std::move(incident));
  }
  run.pending = std::move(held);
}

// False: too many wait. It is held on.
bool Collector::hand_on(Run& run, Incident incident) {
  incident.id = ++incidents_;
  const BundleJob job{.decision = incident.decision,
                      .not_before = Clock::now(),
                      .bytes = run.status.bytes,
                      .incident = incident.id,
                      .process_failure_ns = incident.of_end ? 0 : incident.time_ns};
  if (!bundler_->add(job)) return false;
  ++run.jobs;
  if (run.made.size() == kMaxMade) run.made.erase(run.made.begin());
  run.made.push_back(std::move(incident));
  return true;
}

// The run is over: one bundle of all that is held, named after the end of the first launcher that
// told one. What waits to be made goes into it, and what stands already and is the same failure
// gives way to it.
void Collector::bundle_whole(Run& run) {
  const auto first = std::find_if(run.pending.begin(), run.pending.end(),
                                  [](const Incident& incident) { return incident.of_end; });
  if (first != run.pending.end()) std::rotate(run.pending.begin(), first, first + 1);
  Decision decision = run.pending.front().decision;
  for (size_t i = 1; i < run.pending.size(); ++i) engine_.merge(decision, run.pending[i].decision);
  BundleJob job{.final = true, .not_before = Clock::now(), .bytes = run.status.bytes};
  for (const BundleJob& waiting : bundler_->take_back(run.identity.name)) {
    engine_.merge(decision, waiting.decision);
    std::erase_if(run.made, [&](const auto& made) { return made.id == waiting.incident; });
    --run.jobs;
  }
  for (Incident& made : run.made) {
    const bool same = std::any_of(run.pending.begin(), run.pending.end(), [&](const auto& end) {
      return end.of_end && same_failure(made, end);
    });
    if (!same) continue;
    engine_.merge(decision, made.decision);
    job.supersedes.push_back(made.id);
  }
  run.pending.clear();
  job.decision = std::move(decision);
  if (bundler_->add(job)) {
    ++run.jobs;
    return;
  }
  run.retry = std::move(job);
  run.retry_at = Clock::now() + kFirstPause;
}

// Names of the bundles that go once this one stands. Asked by the bundler, which makes one after
// another: those that came before it are made.
std::vector<std::string> Collector::superseded(const BundleJob& job) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  const auto run = runs_.find(job.decision.run);
  if (run == runs_.end()) return names;
  for (const Incident& made : run->second.made) {
    const bool wanted =
        std::find(job.supersedes.begin(), job.supersedes.end(), made.id) != job.supersedes.end();
    if (wanted && !made.bundle.empty()) names.push_back(made.bundle);
  }
  return names;
}

// A bundle of a run that was going on when the last sidecar died.
void Collector::restore_made(Run& run, const StoredBundle& bundle) {
  run.bundled = bundle.made;
  if (bundle.process_failure_ns == 0 || run.made.size() == kMaxMade) return;
  Incident made{
      .time_ns = bundle.process_failure_ns, .id = ++incidents_, .bundle = bundle.info.name};
  made.decision = {.rule = bundle.info.rule,
                   .run = bundle.info.run,
                   .reason = bundle.info.trigger,
                   .failure = bundle.failure,
                   .kinds = bundle.kinds,
                   .keep = bundle.info.keep,
                   .command = bundle.command,
                   .container = bundle.container};
  run.made.push_back(std::move(made));
}

void Collector::on_made(const BundleJob& job, const Result<StoredBundle>& outcome) {
  const std::lock_guard lock(mutex_);
  const auto found = runs_.find(job.decision.run);
  if (found != runs_.end()) {
    Run& run = found->second;
    --run.jobs;
    const auto made = std::find_if(run.made.begin(), run.made.end(), [&](const auto& incident) {
      return job.incident != 0 && incident.id == job.incident;
    });
    if (made != run.made.end() && outcome) made->bundle = outcome->info.name;
    if (!outcome && job.final) {  // the evidence stays where it is, until there is room
      run.retry = job;
      pause(run);
    } else if (!outcome && made != run.made.end()) {  // so that the run does not go without it
      made->due = Clock::now() + kFirstPause;
      run.pending.push_back(std::move(*made));
      run.made.erase(made);
    } else if (!outcome) {
      engine_.withdraw(job.decision);
    }
  }
  engine_.count_kept(store_.list());
  look();
}

void Collector::look_at_files() {
  for (const Rule& rule : config_.rules) {
    if (rule.trigger.file.empty()) continue;
    struct stat found {};
    if (stat(rule.trigger.file.c_str(), &found) != 0) found = {};
    const std::pair<int64_t, uint64_t> now{
        int64_t{found.st_mtim.tv_sec} * 1000000000 + found.st_mtim.tv_nsec, found.st_ino};
    const auto [known, is_new] = files_.try_emplace(rule.trigger.file, now);
    if (is_new || known->second == now) continue;
    known->second = now;
    if (found.st_ino == 0) continue;  // it was removed: no touch
    for (auto& [name, run] : runs_) {
      if (run.settled) continue;
      Event event = event_of(run, Event::Type::kFileTouched);
      event.text = rule.trigger.file;
      decide(run, event);
    }
  }
}

void Collector::look_at_readiness() {
  for (const Readiness::Answer& answer : readiness_->take()) {
    for (auto& [name, run] : runs_) {
      if (run.settled) continue;
      Event event = event_of(run, Event::Type::kReadiness);
      event.text = answer.url;
      event.succeeded = answer.ready;
      decide(run, event);
    }
  }
}

std::string Collector::run_to_join() const { return config_.join ? newest_recording() : ""; }

std::string Collector::newest_recording() const {
  const std::lock_guard lock(mutex_);
  // Start times compare only those that were there before us: somebody may set the clock.
  std::string newest;
  std::pair<uint64_t, std::string> latest;
  for (const auto& [name, run] : runs_) {
    const bool joinable =
        run.status.state == RunState::kRecording && run.status.has_log && !run.settled;
    const std::pair start(run.first_look, run.identity.start_time);
    if (!joinable || start < latest) continue;
    newest = name;
    latest = start;
  }
  return newest;
}

// ---- Service ------------------------------------------------------------------------------------

Info Collector::info() const {
  Info info;
  info.version = SHMREC_VERSION;
  info.instance = instance_;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  info.hostname = host;
  info.started = started_;
  info.spool = spool_.directory();
  info.store = store_.directory();
  info.store_bytes = store_.bytes();
  info.store_limit = config_.retention.bytes;
  const std::lock_guard lock(mutex_);
  info.spool_bytes = spool_bytes_;
  return info;
}

void Collector::tell_mistake(const std::string& mistake) {
  spdlog::error("{}", mistake);
  queue_.note(mistake);
  const std::lock_guard lock(problem_mutex_);
  mistakes_.push_back(mistake);
}

Health Collector::health() const {
  Health health;
  const int64_t since = monotonic_ns() - last_look_ns_;
  health.live = last_look_ns_ != 0 && since < kStuckNs;
  {
    const std::lock_guard lock(problem_mutex_);
    health.reason = problem_;
    if (!mistakes_.empty())
      health.remark =
          std::to_string(mistakes_.size()) + " mistakes in the configuration: " + mistakes_.front();
    if (health.reason.empty() && !refused_.empty()) health.reason = refused_.begin()->second;
    if (health.reason.empty()) health.reason = unreadable_;
  }
  if (health.reason.empty()) health.reason = bundler_->last_problem();
  const ControlServer* const control = control_;
  if (health.reason.empty() && control) health.reason = control->problem();
  if (!health.live)
    health.reason =
        "the spool has not been looked at for " + std::to_string(since / 1000000000) + " s";
  health.ready = health.live && health.reason.empty();
  return health;
}

std::vector<ProcessInfo> Collector::processes() const {
  const std::lock_guard lock(mutex_);
  std::vector<ProcessInfo> all;
  for (const auto& [name, run] : runs_) {
    if (!run.follower) continue;
    const bool over = run.status.state != RunState::kRecording;
    for (const recording::FollowedProcess& process : run.follower->log().processes()) {
      ProcessInfo info;
      info.run = name;
      info.id = process.id;
      info.name = process.name;
      info.executable = process.executable;
      info.container = run.identity.container;
      info.pid = process.pid;
      info.state = process_state(process, over);
      if (process.end == recording::FollowedProcess::End::kExited)
        info.exit_code = WEXITSTATUS(process.wait_status);
      if (process.end == recording::FollowedProcess::End::kKilled)
        info.signal = WTERMSIG(process.wait_status);
      info.accesses = process.accesses;
      all.push_back(std::move(info));
    }
  }
  return all;
}

std::vector<BundleInfo> Collector::bundles() const {
  std::vector<BundleInfo> all;
  for (const StoredBundle& bundle : store_.list()) all.push_back(bundle.info);
  return all;
}

Result<OpenedFile> Collector::open_bundle(const std::string& name) const {
  return store_.open_bundle(name);
}

Result<> Collector::remove_bundle(const std::string& name) { return store_.remove(name); }

Result<std::optional<Operation>> Collector::start_bundle(const BundleRequest& request) {
  const std::string name = request.run.empty() ? newest_recording() : request.run;
  const std::lock_guard lock(mutex_);
  const auto found = runs_.find(name);
  if (found == runs_.end() || found->second.settled)
    return Error{request.run.empty()
                     ? "nothing is being recorded"
                     : request.run + ": no such run is being recorded; see /v1/processes"};
  Run& run = found->second;
  Event event = event_of(run, Event::Type::kRequest);
  event.text = request.trigger;
  event.cores = request.cores;
  event.from_spool = request.from_spool;
  std::optional<Decision> decision = engine_.on_event(event);
  if (!decision) return std::optional<Operation>();
  const std::optional<Operation> operation = bundler_->add_request(
      {.decision = *decision, .not_before = Clock::now(), .bytes = run.status.bytes});
  if (operation)
    ++run.jobs;
  else
    engine_.withdraw(*decision);
  return operation;
}

std::optional<Operation> Collector::operation(const std::string& id) const {
  return bundler_->operation(id);
}

std::vector<Metric> Collector::metrics() const {
  std::vector<Metric> all = bundler_->metrics();
  for (Metric& metric : queue_.metrics()) all.push_back(std::move(metric));
  const ControlServer* const control = control_;
  const auto launchers = static_cast<double>(control ? control->launchers() : 0);
  all.push_back({"shmrec_launchers", "Launchers connected.", false, "", {{"", launchers}}});
  {
    const std::lock_guard lock(problem_mutex_);
    all.push_back({"shmrec_launchers_refused_total",
                   "Launchers whose runs the sidecar may not read.",
                   true,
                   "",
                   {{"", double(refusals_)}}});
    all.push_back({"shmrec_runs_unreadable",
                   "Runs in the spool that the sidecar may not read, or not all of them.",
                   false,
                   "",
                   {{"", double(unreadable_runs_)}}});
  }
  all.push_back({"shmrec_store_bytes",
                 "Bytes of stored bundles.",
                 false,
                 "",
                 {{"", double(store_.bytes())}}});
  all.push_back(
      {"shmrec_store_bundles", "Stored bundles.", false, "", {{"", double(store_.list().size())}}});
  {
    const std::lock_guard lock(problem_mutex_);
    all.push_back({"shmrec_configuration_errors",
                   "Mistakes in the sidecar's configuration, which it does without.",
                   false,
                   "",
                   {{"", double(mistakes_.size())}}});
  }
  const std::lock_guard lock(mutex_);
  all.push_back({"shmrec_policy_mistakes_total",
                 "Mistakes in the policies of runs, which were recorded by the defaults.",
                 true,
                 "",
                 {{"", double(policy_mistakes_)}}});
  std::map<std::string, double> states{{"recording", 0}, {"ended", 0}, {"lost", 0}};
  double not_followed = 0, brakes = 0;
  for (const auto& [name, run] : runs_) {
    ++states[name_of(run.status.state)];
    if (!run.follower) continue;
    not_followed += static_cast<double>(run.follower->log().processes_not_followed());
    brakes += static_cast<double>(run.follower->log().brakes());
  }
  all.push_back(
      {"shmrec_runs", "Runs in the spool.", false, "state", {states.begin(), states.end()}});
  all.push_back({"shmrec_processes_not_followed",
                 "Processes of these runs beyond those that are followed.",
                 false,
                 "",
                 {{"", not_followed}}});
  all.push_back({"shmrec_brakes",
                 "How often segments of these runs cost more than limits.maxSlowdown.",
                 false,
                 "",
                 {{"", brakes}}});
  all.push_back({"shmrec_spool_bytes",
                 "Bytes of runs in the spool.",
                 false,
                 "",
                 {{"", double(spool_bytes_)}}});
  all.push_back({"shmrec_runs_settled_total",
                 "Runs that are over.",
                 true,
                 "state",
                 {settled_.begin(), settled_.end()}});
  double limited = 0;
  for (const auto& [rule, count] : engine_.limited()) limited += static_cast<double>(count);
  all.push_back({"shmrec_bundles_limited_total",
                 "Bundles that a rule's limit forbade.",
                 true,
                 "",
                 {{"", limited}}});
  std::map<std::string, uint64_t> dropped = bundler_->dropped();
  for (const auto& [rule, count] : engine_.limited()) dropped[rule] += count;
  all.push_back({"shmrec_bundles_dropped_total",
                 "Bundles dropped for want of room, or not made, by the rule that said so.",
                 true,
                 "rule",
                 {dropped.begin(), dropped.end()}});
  return all;
}

}  // namespace shmrec::sidecar
