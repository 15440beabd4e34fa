#include "sidecar/rules/rule_engine.h"

#include <algorithm>

namespace shmrec::sidecar {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr size_t kMaxFailures = 1024;   // kinds remembered
constexpr size_t kMaxReadiness = 1024;  // runs counted
constexpr int64_t kMaxWindow = INT64_MAX / kSecond;

int64_t nanoseconds(int64_t seconds) { return std::min(seconds, kMaxWindow) * kSecond; }

// Whether `then` lies within the window that ends now.
bool within(int64_t then, int64_t now, int64_t window_s) {
  int64_t age = 0;
  if (__builtin_sub_overflow(now, then, &age)) return false;
  return age < nanoseconds(window_s);
}

void drop_old(std::deque<int64_t>& times, int64_t now, int64_t window_s) {
  while (!times.empty() && !within(times.front(), now, window_s)) times.pop_front();
}

void take_back(std::deque<int64_t>& times, int64_t time) {
  const auto found = std::find(times.begin(), times.end(), time);
  if (found != times.end()) times.erase(found);
}

}  // namespace

RuleEngine::RuleEngine(std::vector<Rule> rules, KeepOptions keep)
    : rules_(std::move(rules)), keep_(keep) {
  for (const Rule& rule : rules_) limited_[rule.name] = 0;
}

// A bundle's age is taken of the better clock (moment.h) and carried over to the monotonic one.
void RuleEngine::restore(const std::vector<StoredBundle>& bundles, const Moment& now,
                         int64_t monotonic_ns) {
  now_ = monotonic_ns;
  for (const StoredBundle& bundle : bundles) {
    int64_t then = 0;
    if (__builtin_sub_overflow(monotonic_ns, age_ns(bundle.made, now), &then)) continue;
    // Which way a request came is not on record: it counts both ways, rather than not at all.
    for (const bool from_spool : {false, true})
      if (limited_.contains(bundle.info.rule))
        fired_[{bundle.info.rule, from_spool}].push_back(then);
    for (const std::string& kind : bundle.kinds) {
      int64_t& seen = failures_.try_emplace(kind, then).first->second;
      seen = std::max(seen, then);
    }
  }
  count_kept(bundles);
  for (auto& [rule, times] : fired_) std::sort(times.begin(), times.end());
}

std::optional<Decision> RuleEngine::on_event(const Event& event, bool room) {
  limited_by_.clear();
  now_ = std::max(now_, event.monotonic_ns);
  const bool readiness = event.type == Event::Type::kReadiness;
  const Rule* chosen = nullptr;
  for (const Rule& rule : rules_) {
    if (!matches(rule, event)) continue;
    // Each rule that watches a URL counts, also behind one that decides.
    const bool strikes = !readiness || readiness_strikes(rule, event);
    if (strikes && chosen == nullptr) chosen = &rule;
  }
  if (chosen == nullptr) return std::nullopt;

  const std::string kind = event.kind.empty() ? kind_of(event, "") : event.kind;
  const bool keep = is_first(kind, now_) && kept_ < (room ? keep_.most_with_room : keep_.most);
  std::deque<int64_t>& times = fired_[{chosen->name, event.from_spool}];
  const bool spared = !kind.empty() && (keep || room);
  if (!within_limit(*chosen, times, now_) && !spared) {
    ++limited_[chosen->name];
    limited_by_ = chosen->name;
    // A loop goes on while it fails, bundles or not. But a first failure that the limit swallowed
    // leaves its place to the next one.
    if (!is_first(kind, now_)) see(kind, now_);
    return std::nullopt;
  }
  Decision decision{.rule = chosen->name,
                    .run = event.run,
                    .reason = reason_of(event),
                    .failure = failure_of(event),
                    .keep = keep,
                    .from_spool = event.from_spool,
                    .cores = event.cores || chosen->cores.value_or(readiness),
                    .egress = chosen->egress,
                    .hooks = chosen->hooks,
                    .command = event.command,
                    .container = event.container,
                    .monotonic_ns = now_};
  if (!kind.empty()) decision.kinds.push_back(kind);
  see(kind, now_);
  if (chosen->limit.count > 0) times.push_back(now_);
  if (decision.keep) ++kept_;
  return decision;
}

void RuleEngine::count_kept(const std::vector<StoredBundle>& bundles) {
  kept_ = static_cast<size_t>(std::count_if(
      bundles.begin(), bundles.end(), [](const StoredBundle& bundle) { return bundle.info.keep; }));
}

void RuleEngine::withdraw(const Decision& decision) {
  take_back(fired_[{decision.rule, decision.from_spool}], decision.monotonic_ns);
  if (!decision.keep) return;
  kept_ -= std::min<size_t>(kept_, 1);
  for (const std::string& kind : decision.kinds) failures_.erase(kind);
}

namespace {

// No names: all.
void unite(std::vector<std::string>& into, const std::vector<std::string>& other) {
  if (into.empty() || other.empty()) return into.clear();
  for (const std::string& name : other)
    if (std::find(into.begin(), into.end(), name) == into.end()) into.push_back(name);
}

}  // namespace

void RuleEngine::merge(Decision& into, const Decision& other) {
  take_back(fired_[{other.rule, other.from_spool}], other.monotonic_ns);
  unite(into.egress, other.egress);
  for (const std::string& hook : other.hooks)
    if (std::find(into.hooks.begin(), into.hooks.end(), hook) == into.hooks.end())
      into.hooks.push_back(hook);
  for (const std::string& kind : other.kinds)
    if (std::find(into.kinds.begin(), into.kinds.end(), kind) == into.kinds.end())
      into.kinds.push_back(kind);
  if (into.keep && other.keep) kept_ -= std::min<size_t>(kept_, 1);
  into.keep |= other.keep;
  into.cores |= other.cores;
}

// Counts failures in a row, and strikes once when they are enough: the next time only after the
// workload was ready again.
bool RuleEngine::readiness_strikes(const Rule& rule, const Event& event) {
  const std::pair<std::string, std::string> key{rule.name, event.run};
  if (event.succeeded) {
    not_ready_.erase(key);
    return false;
  }
  if (!not_ready_.contains(key) && not_ready_.size() >= kMaxReadiness) not_ready_.clear();
  int& failures = not_ready_[key];
  failures = std::min(failures + 1, rule.trigger.readiness->failures + 1);
  return failures == rule.trigger.readiness->failures;
}

bool RuleEngine::within_limit(const Rule& rule, std::deque<int64_t>& times, int64_t now) {
  if (rule.limit.count == 0) return true;
  drop_old(times, now, rule.limit.window_s);
  return times.size() < rule.limit.count;
}

bool RuleEngine::is_first(const std::string& kind, int64_t now) {
  if (kind.empty()) return false;
  const auto seen = failures_.find(kind);
  return seen == failures_.end() || !within(seen->second, now, keep_.window_s);
}

void RuleEngine::see(const std::string& kind, int64_t now) {
  if (kind.empty()) return;
  if (!failures_.contains(kind) && failures_.size() >= kMaxFailures) {
    failures_.erase(
        std::min_element(failures_.begin(), failures_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
  failures_[kind] = now;
}

}  // namespace shmrec::sidecar
