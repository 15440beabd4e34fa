#include "sidecar/rules/rules.h"

#include <string.h>

#include <algorithm>
#include <set>

#include "base/signal_name.h"
#include "policy/glob.h"
#include "sidecar/store/stored_bundle.h"

namespace shmrec::sidecar {
namespace {

constexpr size_t kMaxNameBytes = 63;

bool glob(const std::string& pattern, const std::string& text, uint32_t flags) {
  return pattern.empty() ||
         glob_match(pattern.data(), pattern.size(), text.data(), text.size(), flags);
}

bool filter_matches(const Filter& filter, const Event& event) {
  return glob(filter.command, event.command, kGlobCrossSlashes) &&
         glob(filter.executable, event.executable, 0) &&
         glob(filter.container, event.container, kGlobCrossSlashes);
}

bool holds(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

bool trigger_matches(const Trigger& trigger, const Event& event) {
  const bool wanted_process = !event.of_process || trigger.any_process;
  switch (event.type) {
    case Event::Type::kExit:
      return wanted_process && ((trigger.exit_nonzero && event.number != 0) ||
                                holds(trigger.exit_statuses, event.number));
    case Event::Type::kSignal:
      return wanted_process && (trigger.any_signal || holds(trigger.signals, event.number));
    case Event::Type::kLost:
      return trigger.lost;
    case Event::Type::kOutOfMemory:
      return trigger.out_of_memory;
    case Event::Type::kMark:
      return !trigger.mark.empty() && glob(trigger.mark, event.text, kGlobCrossSlashes);
    case Event::Type::kFileTouched:
      return !trigger.file.empty() && trigger.file == event.text;
    case Event::Type::kReadiness:
      return trigger.readiness && trigger.readiness->url == event.text;
    case Event::Type::kRequest:
      return trigger.request;
  }
  return false;
}

bool triggers_on_nothing(const Trigger& t) {
  return t.exit_statuses.empty() && !t.exit_nonzero && t.signals.empty() && !t.any_signal &&
         !t.lost && !t.out_of_memory && t.mark.empty() && t.file.empty() && !t.readiness &&
         !t.request;
}

// Names become label values of metrics: few, short, harmless.
bool valid_name(const std::string& name) {
  constexpr const char* kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= kMaxNameBytes &&
         name.find_first_not_of(kLetters) == std::string::npos;
}

std::string glob_trouble(const char* member, const std::string& pattern) {
  size_t at = 0;
  const char* error = glob_error(pattern.data(), pattern.size(), at);
  if (pattern.size() > kMaxGlobBytes) error = "longer than 255 bytes";
  return error ? std::string(member) + ": " + error : "";
}

std::string numbers_trouble(const char* member, const std::vector<int>& numbers, int first,
                            int last) {
  const bool good = std::all_of(numbers.begin(), numbers.end(),
                                [&](int number) { return number >= first && number <= last; });
  return good ? ""
              : std::string(member) + ": expected numbers from " + std::to_string(first) + " to " +
                    std::to_string(last);
}

std::string trouble_of(const Rule& rule) {
  if (!valid_name(rule.name)) return "name: expected 1 to 63 letters, digits or ._-";
  for (const std::string& trouble :
       {glob_trouble("command", rule.filter.command),
        glob_trouble("executable", rule.filter.executable),
        glob_trouble("container", rule.filter.container), glob_trouble("mark", rule.trigger.mark),
        numbers_trouble("exit status", rule.trigger.exit_statuses, 0, 255),
        numbers_trouble("signal", rule.trigger.signals, 1, 64)})
    if (!trouble.empty()) return trouble;
  if (triggers_on_nothing(rule.trigger)) return "no trigger; expected at least one";
  if (!rule.trigger.file.empty() && rule.trigger.file[0] != '/')
    return "file: expected an absolute path";
  const auto& readiness = rule.trigger.readiness;
  if (readiness && (readiness->url.empty() || readiness->failures < 1 || readiness->period_s < 1))
    return "readiness: expected a URL, and failures and period of at least 1";
  if ((rule.limit.count == 0) != (rule.limit.window_s == 0) || rule.limit.window_s < 0)
    return "limit: expected both a count and a window, or neither";
  return "";
}

}  // namespace

Result<> check_rules(const std::vector<Rule>& rules) {
  std::set<std::string> names;
  for (const Rule& rule : rules) {
    std::string trouble = trouble_of(rule);
    if (trouble.empty() && !names.insert(rule.name).second) trouble = "name: used twice";
    if (!trouble.empty()) return Error{"rule \"" + rule.name + "\": " + trouble};
  }
  return Unit{};
}

bool matches(const Rule& rule, const Event& event) {
  return filter_matches(rule.filter, event) && trigger_matches(rule.trigger, event);
}

std::string failure_of(const Event& event) {
  switch (event.type) {
    case Event::Type::kExit:
      return failure_kind(std::nullopt, event.number);
    case Event::Type::kSignal:
      return failure_kind(event.number, std::nullopt);
    case Event::Type::kLost:
      return failure_kind(std::nullopt, std::nullopt);
    case Event::Type::kOutOfMemory:
      return "out of memory";
    case Event::Type::kReadiness:
      return event.succeeded ? "" : "not ready";
    case Event::Type::kMark:
    case Event::Type::kFileTouched:
    case Event::Type::kRequest:
      break;
  }
  return "";
}

std::string kind_of(const Event& event, const std::string& place) {
  const std::string failure = failure_of(event);
  if (failure.empty()) return "";
  return (event.container.empty() ? "" : event.container + ": ") + failure + " of " +
         (event.executable.empty() ? event.command : event.executable) +
         (place.empty() ? "" : " at " + place);
}

std::string reason_of(const Event& event) {
  const std::string of = event.of_process ? " of " + event.executable : "";
  switch (event.type) {
    case Event::Type::kExit:
      return "exit " + std::to_string(event.number) + of;
    case Event::Type::kSignal:
      return signal_with_number(event.number) + of;
    case Event::Type::kLost:
      return "lost: all processes are gone, killed or out of memory";
    case Event::Type::kOutOfMemory:
      return "out of memory";
    case Event::Type::kMark:
      return "mark " + event.text;
    case Event::Type::kFileTouched:
      return "file touched: " + event.text;
    case Event::Type::kReadiness:
      return "not ready: " + event.text;
    case Event::Type::kRequest:
      break;
  }
  return event.text.empty() ? "on demand" : event.text;
}

}  // namespace shmrec::sidecar
