#include "sidecar/bundler.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "recording/bundle/bundle.h"
#include "recording/run/core_request.h"
#include "recording/run/text.h"

namespace shmrec::sidecar {

Bundler::Bundler(const recording::Spool& spool, Store& store, egress::Queue& queue,
                 RetentionLimits retention, uint64_t max_bytes, Done done, Superseded superseded)
    : spool_(spool),
      store_(store),
      queue_(queue),
      retention_(retention),
      max_bytes_(max_bytes),
      done_(std::move(done)),
      superseded_(std::move(superseded)),
      thread_([this] { work(); }) {}

Bundler::~Bundler() { stop(); }

void Bundler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool Bundler::add(BundleJob job) {
  const std::lock_guard lock(mutex_);
  if (stop_ || jobs_.size() >= kMaxJobs) return false;
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

std::vector<BundleJob> Bundler::take_back(const std::string& run) {
  const std::lock_guard lock(mutex_);
  std::vector<BundleJob> taken;
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    const bool wanted = job->decision.run == run && job->operation.empty();
    if (wanted) taken.push_back(*job);
    job = wanted ? jobs_.erase(job) : std::next(job);
  }
  return taken;
}

Operation& Bundler::remember(const std::string& id) {
  const auto known = std::find_if(operations_.begin(), operations_.end(),
                                  [&](const Operation& operation) { return operation.id == id; });
  if (known != operations_.end()) return *known;
  if (operations_.size() == kMaxOperations) operations_.pop_front();
  operations_.push_back({});
  operations_.back().id = id;
  operations_.back().started = rfc3339(Moment::now().wall_ns);
  return operations_.back();
}

std::optional<Operation> Bundler::add_request(BundleJob job) {
  const std::lock_guard lock(mutex_);
  const auto requests = std::count_if(
      jobs_.begin(), jobs_.end(), [](const BundleJob& other) { return !other.operation.empty(); });
  if (stop_ || static_cast<size_t>(requests) >= kMaxRequests || jobs_.size() >= kMaxJobs)
    return std::nullopt;
  job.operation = std::to_string(next_operation_++);
  const Operation operation = remember(job.operation);
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return operation;
}

std::optional<Operation> Bundler::operation(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  for (const Operation& known : operations_)
    if (known.id == id) return known;
  return std::nullopt;
}

size_t Bundler::waiting() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size() + busy_;
}

void Bundler::finish(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  hurry_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, limit, [this] { return jobs_.empty() && !busy_; });
}

std::string Bundler::last_problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

std::list<BundleJob>::iterator Bundler::choose(std::list<BundleJob>& jobs, Clock::time_point now,
                                               bool hurry) {
  auto chosen = jobs.end();
  for (auto job = jobs.begin(); job != jobs.end(); ++job) {
    if (!hurry && job->not_before > now) continue;
    if (job->not_before + kPatience < now) return job;
    if (chosen == jobs.end() || job->bytes < chosen->bytes) chosen = job;
  }
  return chosen;
}

void Bundler::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const auto due = choose(jobs_, Clock::now(), hurry_);
    if (due == jobs_.end()) {
      changed_.wait_for(lock, std::chrono::milliseconds(100));
      continue;
    }
    const BundleJob job = std::move(*due);
    jobs_.erase(due);
    busy_ = true;
    lock.unlock();
    const Result<StoredBundle> outcome = make(job);
    conclude(job, outcome);
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

// They go on afterwards. What cannot be had costs the core, not the bundle; launchers write into
// the run what they could not take.
void Bundler::take_cores(const std::string& run) const {
  constexpr std::chrono::seconds kPatience{60};
  const auto asked = recording::ask_for_cores(spool_.directory() + "/" + run, {}, kPatience);
  if (!asked) return spdlog::warn("no cores of {}: {}", run, asked.error().message);
  const auto taken = std::count_if(asked->cores.begin(), asked->cores.end(),
                                   [](const recording::AskedCore& core) { return core.taken; });
  spdlog::info("cores of {}: {} of {} processes, from {} launchers", run, taken,
               asked->cores.size(), asked->launchers);
  for (const std::string& problem : asked->problems)
    spdlog::warn("cores of {}: a launcher: {}", run, problem);
}

Result<StoredBundle> Bundler::make(const BundleJob& job) {
  const Decision& decision = job.decision;
  if (decision.cores) take_cores(decision.run);
  recording::CreateBundleOptions options;
  options.output = store_.incoming();
  options.trigger = decision.reason;
  options.foreign = true;
  options.max_bytes = max_bytes_;
  const auto made = recording::create_bundle(spool_.directory() + "/" + decision.run, options);
  if (!made) return made.error();
  BundleFacts facts;
  facts.run = decision.run;
  facts.trigger = decision.reason;
  facts.rule = decision.rule;
  facts.keep = decision.keep;
  facts.command = decision.command;
  facts.container = decision.container;
  facts.failure = decision.failure;
  facts.kinds = decision.kinds;
  facts.process_failure_ns = job.process_failure_ns;
  facts.supersedes = superseded_(job);
  return store_.adopt(*made, facts);
}

void Bundler::conclude(const BundleJob& job, const Result<StoredBundle>& outcome) {
  if (outcome) {
    const BundleInfo& info = outcome->info;
    spdlog::info("bundle {} of {} bytes: {}", info.name, info.bytes,
                 recording::printable(info.trigger));
    const egress::Bundle bundle{store_.directory() / info.name,
                                info.name,
                                info.bytes,
                                info.sha256,
                                info.run,
                                info.trigger,
                                info.rule,
                                info.created};
    const Result<> queued = queue_.add(bundle, job.decision.egress);
    if (!queued) spdlog::error("{}: not sent: {}", info.name, queued.error().message);
    enforce_retention();
  } else {
    spdlog::error("no bundle of {}: {}", job.decision.run, outcome.error().message);
  }
  {
    const std::lock_guard lock(mutex_);
    ++(outcome ? made_ : failed_);
    problem_ = outcome ? "" : outcome.error().message;
    if (!job.operation.empty()) {
      Operation& operation = remember(job.operation);
      operation.state = outcome ? Operation::State::kSucceeded : Operation::State::kFailed;
      (outcome ? operation.bundle : operation.error) =
          outcome ? outcome->info.name : outcome.error().message;
    }
  }
  done_(job, outcome);
}

void Bundler::enforce_retention() {
  const Result<RetentionPlan> plan = store_.enforce(retention_, Moment::now());
  if (!plan) return spdlog::error("retention: {}", plan.error().message);
  if (!plan->unmet.empty()) spdlog::warn("retention: {}", plan->unmet);
  for (const auto& [name, rule] : plan->drops)
    spdlog::warn("bundle {} dropped by rule {}: the store is full", name, rule);
  const std::lock_guard lock(mutex_);
  for (const auto& [name, rule] : plan->drops) ++dropped_[rule];
}

std::map<std::string, uint64_t> Bundler::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

std::vector<Metric> Bundler::metrics() const {
  const std::lock_guard lock(mutex_);
  return {{"shmrec_bundles_made_total",
           "Bundles tried, by outcome.",
           true,
           "outcome",
           {{"made", static_cast<double>(made_)}, {"failed", static_cast<double>(failed_)}}},
          {"shmrec_bundles_waiting",
           "Bundles to be made.",
           false,
           "",
           {{"", static_cast<double>(jobs_.size() + busy_)}}}};
}

}  // namespace shmrec::sidecar
