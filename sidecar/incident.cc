#include "sidecar/incident.h"

#include <cstdlib>
#include <optional>

namespace shmrec::sidecar {
namespace {

constexpr int kSignalBase = 128;  // what shells add to the number of a signal

std::optional<int> number_behind(const std::string& text, const std::string& word) {
  if (!text.starts_with(word)) return std::nullopt;
  return std::atoi(text.c_str() + word.size());
}

// Nothing if one of them has no time.
std::optional<std::chrono::nanoseconds> between(const Incident& earlier, const Incident& later) {
  int64_t difference = 0;
  if (earlier.time_ns == 0 || later.time_ns == 0 ||
      __builtin_sub_overflow(later.time_ns, earlier.time_ns, &difference) ||
      difference == INT64_MIN)
    return std::nullopt;
  return std::chrono::nanoseconds(difference < 0 ? -difference : difference);
}

bool same_launcher(const Decision& a, const Decision& b) {
  return a.command == b.command && a.container == b.container;
}

}  // namespace

bool explains(const std::string& failure, const std::string& end) {
  if (failure == end) return true;
  const auto signal = number_behind(failure, "signal "), status = number_behind(end, "exit ");
  if (failure == "out of memory") return end == "signal 9" || status == kSignalBase + 9;
  return signal && status && *status == kSignalBase + *signal;
}

bool same_failure(const Incident& earlier, const Incident& end) {
  if (earlier.of_end || !same_launcher(earlier.decision, end.decision)) return false;
  const bool own =
      earlier.pid != 0 && earlier.pid == end.pid && earlier.pid_namespace == end.pid_namespace;
  if (own) return true;
  const auto distance = between(earlier, end);
  if (distance && *distance <= kSettleTime) return true;
  const bool agree = explains(earlier.decision.failure, end.decision.failure);
  return agree && (!distance || *distance <= kSameFailure);
}

bool same_chain(const Incident& earlier, const Incident& later) {
  if (earlier.of_end || later.of_end || !same_launcher(earlier.decision, later.decision))
    return false;
  const std::string &first = earlier.decision.failure, &second = later.decision.failure;
  if (earlier.out_of_memory || later.out_of_memory)
    return explains(first, second) || explains(second, first);
  const bool parent = earlier.parent != 0 && earlier.parent == later.process;
  return parent && explains(first, second);
}

}  // namespace shmrec::sidecar
