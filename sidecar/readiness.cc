#include "sidecar/readiness.h"

#include <algorithm>

#include "sidecar/http/ask.h"

namespace shmrec::sidecar {
namespace {

constexpr size_t kMaxAnswers = 1000;
constexpr std::chrono::seconds kMaxPatience{5};

}  // namespace

Result<ReadinessUrl> parse_readiness_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const bool plain =
      url.starts_with(kScheme) && url.size() > kScheme.size() &&
      std::all_of(url.begin(), url.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!plain)
    return Error{"readiness URL '" + url +
                 "'; expected http://HOST[:PORT][/PATH]; https is not asked"};
  const size_t slash = url.find('/', kScheme.size());
  if (slash == kScheme.size()) return Error{"readiness URL '" + url + "' has no host"};
  return ReadinessUrl{url.substr(0, slash), slash == std::string::npos ? "/" : url.substr(slash)};
}

Readiness::Readiness(const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    if (!rule.trigger.readiness) continue;
    const ReadinessProbe& wanted = *rule.trigger.readiness;
    const bool known = std::any_of(probes_.begin(), probes_.end(),
                                   [&](const Probe& probe) { return probe.url == wanted.url; });
    if (known) continue;
    Result<ReadinessUrl> parts = parse_readiness_url(wanted.url);
    if (!parts) continue;
    probes_.push_back({wanted.url, *parts, std::chrono::seconds(wanted.period_s), {}});
  }
  if (!probes_.empty()) thread_ = std::thread([this] { work(); });
}

Readiness::~Readiness() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::vector<Readiness::Answer> Readiness::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(answers_, {});
}

bool Readiness::ask(const Probe& probe) {
  const auto patience = std::min(probe.period, kMaxPatience);
  Question question{.url = probe.parts.origin + probe.parts.path};
  question.connect = question.whole = patience;
  question.take = [](int, std::string_view) { return false; };  // nobody wants the body
  const auto status = sidecar::ask(question);
  return status && *status >= 200 && *status < 400;
}

void Readiness::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const auto due = std::min_element(probes_.begin(), probes_.end(),
                                      [](const Probe& a, const Probe& b) { return a.due < b.due; });
    if (std::chrono::steady_clock::now() < due->due) {
      changed_.wait_until(lock, due->due);
      continue;
    }
    due->due = std::chrono::steady_clock::now() + due->period;
    lock.unlock();
    const bool ready = ask(*due);
    lock.lock();
    if (answers_.size() < kMaxAnswers) answers_.push_back({due->url, ready});
  }
}

}  // namespace shmrec::sidecar
