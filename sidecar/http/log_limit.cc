#include "sidecar/http/log_limit.h"

#include <spdlog/spdlog.h>

namespace shmrec::sidecar {
namespace {

constexpr size_t kShownBytes = 200;

std::string with_commas(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

}  // namespace

// REQUIRES: mutex_ is held.
void LogLimit::close(size_t kind, Clock::time_point now) {
  Window& window = windows_[kind];
  if (window.withheld > 0) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(now - window.start).count();
    spdlog::warn("{}: ... and {} more {} in {} s", name_, with_commas(window.withheld),
                 kind == 0 ? "without an answer" : "answers of " + std::to_string(kind) + "xx",
                 seconds);
  }
  window = {now};
}

bool LogLimit::take(size_t kind, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Window& window = windows_[kind];
  if (now - window.start >= kWindow) close(kind, now);
  if (window.lines < kLines) return ++window.lines;
  window.withheld++;
  total_++;
  return false;
}

void LogLimit::tell(bool all, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  for (size_t kind = 0; kind < kKinds; kind++)
    if (all || now - windows_[kind].start >= kWindow) close(kind, now);
}

uint64_t LogLimit::withheld() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

std::string for_log(const std::string& text) {
  return text.size() <= kShownBytes ? text : text.substr(0, kShownBytes) + "...";
}

}  // namespace shmrec::sidecar
