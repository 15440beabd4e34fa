#include "sidecar/egress/queue.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <tuple>

#include "recording/run/text.h"

namespace shmrec::sidecar::egress {
namespace {

using std::chrono::milliseconds;

int64_t wall_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

std::string what(const Job& job) {
  return recording::printable(job.bundle.name) + " to " + job.destination;
}

}  // namespace

milliseconds pause_after(const RetryPolicy& policy, unsigned failures, double random) {
  milliseconds pause = std::min(policy.first_pause, policy.longest_pause);
  for (unsigned i = 1; i < failures && pause < policy.longest_pause; ++i) {
    pause = std::min(pause * 2, policy.longest_pause);
  }
  return milliseconds(static_cast<int64_t>(static_cast<double>(pause.count()) * (1 + random) / 2));
}

Queue::Queue(QueueOptions options, std::vector<std::unique_ptr<Destination>> destinations,
             JobFiles files)
    : options_(std::move(options)),
      destinations_(std::move(destinations)),
      files_(std::move(files)),
      random_(std::random_device{}()) {
  for (const auto& destination : destinations_) counts_[destination->kind()];
}

Result<std::unique_ptr<Queue>> Queue::open(QueueOptions options,
                                           std::vector<std::unique_ptr<Destination>> destinations) {
  for (size_t i = 0; i < destinations.size(); ++i) {
    const std::string& name = destinations[i]->name;
    if (!is_destination_name(name)) {
      return Error{"destination \"" + recording::printable(name) +
                   "\": a name has 1 to 24 letters, digits, '_' and '-'"};
    }
    for (size_t j = 0; j < i; ++j) {
      if (destinations[j]->name == name) return Error{"two destinations are called " + name};
    }
  }
  auto files = JobFiles::open(options.store);
  if (!files) return files.error();
  std::unique_ptr<Queue> queue(
      new Queue(std::move(options), std::move(destinations), std::move(*files)));
  const Result<> loaded = queue->load();
  if (!loaded) return loaded.error();
  // Signals are for the program's main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  queue->thread_ = std::thread([raw = queue.get()] { raw->run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return queue;
}

Queue::~Queue() { stop(); }

void Queue::stop() {
  stop_ = true;
  {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

Result<> Queue::load() {
  std::vector<std::string> skipped;
  auto jobs = files_.read_all(skipped);
  if (!jobs) return jobs.error();
  for (const std::string& text : skipped) log(LogLevel::kWarning, ".egress/" + text);
  for (Job& job : *jobs) resume(std::move(job));
  return Unit{};
}

void Queue::resume(Job job) {
  Destination* to = find(job.destination);
  if (to == nullptr) {
    // Perhaps a slip in the configuration: the job waits for a life that knows the destination.
    if (!open_source(job.bundle).gone) {
      log(LogLevel::kWarning, what(job) + ": there is no such destination any more");
    } else {
      files_.remove(job);
    }
    return;
  }
  const milliseconds longest = std::max(options_.retry.longest_pause, options_.retry.longest_asked);
  const int64_t now = std::max<int64_t>(wall_ms(), 0);
  const int64_t next = std::max(job.next_unix_ms, now);
  const milliseconds pause(std::min<int64_t>(next - now, longest.count()));
  jobs_.push_back({std::move(job), to, Clock::now() + pause});
}

Destination* Queue::find(const std::string& name) const {
  for (const auto& destination : destinations_) {
    if (destination->name == name) return destination.get();
  }
  return nullptr;
}

bool Queue::is_waiting(const std::string& bundle, const std::string& destination) const {
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const Waiting& waiting) {
    return waiting.job.bundle.name == bundle && waiting.job.destination == destination;
  });
}

Result<> Queue::add(const Bundle& bundle, const std::vector<std::string>& names) {
  if (!is_bundle_name(bundle.name)) {
    return Error{"\"" + recording::printable(bundle.name) + "\": not a bundle's name"};
  }
  std::vector<Destination*> to;
  for (const auto& destination : destinations_) {
    if (names.empty()) to.push_back(destination.get());
  }
  for (const std::string& name : names) {
    to.push_back(find(name));
    if (to.back() == nullptr) return Error{"there is no destination " + recording::printable(name)};
  }
  const std::lock_guard one_at_a_time(add_mutex_);
  for (Destination* destination : to) {
    const Result<> added = add_to(*destination, bundle);
    if (!added) return added;
  }
  return Unit{};
}

Result<> Queue::add_to(Destination& destination, const Bundle& bundle) {
  {
    const std::lock_guard lock(mutex_);
    if (is_waiting(bundle.name, destination.name)) return Unit{};
    if (jobs_.size() >= options_.max_jobs) {
      ++refused_;
      return Error{bundle.name + ": not sent, " + std::to_string(jobs_.size()) +
                       " bundles wait already; it stays in the store",
                   false};
    }
  }
  const Job job{bundle, destination.name, 0, 0};
  const Result<> written = files_.write(job);
  const std::lock_guard lock(mutex_);
  // On a full or read-only store sending is still worth trying; only a restart would forget it.
  if (!written) log(LogLevel::kError, what(job) + ": not durable: " + written.error().message);
  jobs_.push_back({job, &destination, Clock::now()});
  changed_.notify_all();
  return Unit{};
}

bool Queue::waits(const std::string& bundle_name) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const Waiting& waiting) {
    return waiting.job.bundle.name == bundle_name;
  });
}

size_t Queue::size() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

// Of those that are due the one whose destination had its turn longest ago, else the next to be
// due.
Queue::Jobs::iterator Queue::next() {
  const auto now = Clock::now();
  const auto rank = [&](const Waiting& waiting) {
    const bool due = waiting.due <= now;
    return std::tuple(!due, due ? last_turn_[waiting.to] : 0, waiting.due);
  };
  return std::min_element(jobs_.begin(), jobs_.end(),
                          [&](const Waiting& a, const Waiting& b) { return rank(a) < rank(b); });
}

bool Queue::any_due() const {
  return std::any_of(jobs_.begin(), jobs_.end(),
                     [now = Clock::now()](const Waiting& waiting) { return waiting.due <= now; });
}

void Queue::note(const std::string& text) {
  for (const auto& destination : destinations_) destination->note(text);
}

bool Queue::drain(milliseconds limit) {
  const auto end = Clock::now() + limit;
  std::unique_lock lock(mutex_);
  // The attempt under way moves its own time afterwards.
  changed_.wait_until(lock, end, [this] { return !busy_ || stop_; });
  for (Waiting& waiting : jobs_) waiting.due = std::min(waiting.due, Clock::now());
  changed_.notify_all();
  changed_.wait_until(lock, end, [this] { return stop_ || (!busy_ && !any_due()); });
  return jobs_.empty();
}

void Queue::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const auto waiting = next();
    if (waiting == jobs_.end()) {
      changed_.wait(lock);
    } else if (waiting->due > Clock::now()) {
      // A copy: the element may be gone when the wait looks at the time again.
      const auto due = waiting->due;
      changed_.wait_until(lock, due);
    } else {
      attempt(lock, waiting);
    }
  }
}

// The lock is let go while sending and while files are written.
void Queue::attempt(std::unique_lock<std::mutex>& lock, Jobs::iterator waiting) {
  busy_ = true;
  last_turn_[waiting->to] = ++turns_;
  lock.unlock();
  const Result<> sent = waiting->to->send(waiting->job.bundle, stop_);
  if (sent) tell_others(*waiting);
  lock.lock();
  bool done = true;
  if (sent) {
    succeeded(*waiting);
  } else if (stop_) {
    done = false;  // our doing, not the destination's: the next life tries anew
  } else {
    done = failed(*waiting, sent.error());
  }
  lock.unlock();
  const bool kept = done ? files_.remove(waiting->job) : stop_ || files_.write(waiting->job).ok();
  lock.lock();
  if (!kept) log(LogLevel::kWarning, what(waiting->job) + ": its file in .egress is out of date");
  if (done) jobs_.erase(waiting);
  busy_ = false;
  changed_.notify_all();
}

void Queue::tell_others(const Waiting& waiting) {
  for (const auto& other : destinations_) {
    if (other.get() != waiting.to) other->placed(waiting.job.bundle, waiting.to->place());
  }
}

void Queue::succeeded(const Waiting& waiting) {
  Counts& counts = counts_[waiting.to->kind()];
  ++counts.sent;
  counts.bytes += waiting.job.bundle.bytes;
  const std::string& place = waiting.to->place();
  log(LogLevel::kInfo, what(waiting.job) + ": sent" + (place.empty() ? "" : ", " + place));
}

// True if it is given up.
bool Queue::failed(Waiting& waiting, const Error& error) {
  Job& job = waiting.job;
  const Retry& retry = waiting.to->retry();
  Counts& counts = counts_[waiting.to->kind()];
  ++counts.failed;
  ++job.attempts;
  const std::string attempt = "attempt " + std::to_string(job.attempts);
  if (!retry.useful || job.attempts >= options_.retry.max_attempts) {
    ++counts.given_up;
    log(LogLevel::kError, what(job) + ": given up after " + attempt + ": " + error.message);
    return true;
  }
  const double random = std::uniform_real_distribution<>(0, 1)(random_);
  const milliseconds pause = std::max(pause_after(options_.retry, job.attempts, random),
                                      std::min(retry.at_least, options_.retry.longest_asked));
  waiting.due = Clock::now() + pause;
  job.next_unix_ms = wall_ms() + pause.count();
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(pause).count();
  log(LogLevel::kWarning, what(job) + ": " + attempt + " failed, next in " +
                              std::to_string(seconds) + " s: " + error.message);
  return false;
}

std::vector<Metric> Queue::metrics() const {
  struct Row {
    const char* name;
    const char* help;
    uint64_t Counts::*member;
  };
  static constexpr Row kRows[] = {
      {"shmrec_egress_sent_total", "Bundles sent to a destination", &Counts::sent},
      {"shmrec_egress_failed_total", "Attempts to send that failed", &Counts::failed},
      {"shmrec_egress_given_up_total", "Bundles that a destination did not get", &Counts::given_up},
      {"shmrec_egress_bytes_total", "Bytes of bundles sent", &Counts::bytes},
  };
  const std::lock_guard lock(mutex_);
  std::vector<Metric> result;
  for (const Row& row : kRows) {
    Metric metric{row.name, row.help, true, "destination", {}};
    for (const auto& [kind, counts] : counts_) {
      metric.values.emplace_back(kind, static_cast<double>(counts.*row.member));
    }
    result.push_back(std::move(metric));
  }
  result.push_back({"shmrec_egress_refused_total",
                    "Bundles that the full queue did not take",
                    true,
                    "",
                    {{"", static_cast<double>(refused_)}}});
  result.push_back({"shmrec_egress_waiting",
                    "Bundles that wait for a destination",
                    false,
                    "",
                    {{"", static_cast<double>(jobs_.size())}}});
  return result;
}

void Queue::log(LogLevel level, const std::string& text) const {
  if (options_.log) options_.log(level, text);
}

}  // namespace shmrec::sidecar::egress
