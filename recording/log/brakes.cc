#include "recording/log/brakes.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace shmrec::recording {

using shmlog::BrakeLevel;
using shmlog::BrakeReason;
using shmlog::JournalType;

namespace {

struct Step {
  uint64_t tsc;
  uint32_t process;  // 0: the brake itself, for all
  BrakeLevel level;
  uint64_t slowdown;
};

BrakeLevel level_in(uint64_t value_untrusted) {
  return static_cast<BrakeLevel>(
      std::min<uint64_t>(value_untrusted, static_cast<uint64_t>(BrakeLevel::kSampled)));
}

// When it ended, as itself or its parent has said; 0: not known.
uint64_t end_of(const ShmlogReader& log, const shmlog::ProcessEntry& process) {
  if (process.end_tsc != 0) return process.end_tsc;
  for (const JournalItem& item : log.journal())
    if (item.entry.type == static_cast<uint16_t>(JournalType::kChildExit) &&
        static_cast<int32_t>(item.entry.a) == process.pid && item.entry.tsc > process.start_tsc)
      return item.entry.tsc;
  return 0;
}

// What was decided and what each process did, by time; a process that ends does so no more.
std::vector<Step> steps_of(const ShmlogReader& log, uint32_t segment) {
  std::vector<Step> steps;
  std::map<uint32_t, bool> followers;
  for (const JournalItem& item : log.journal()) {
    const shmlog::JournalEntry& entry = item.entry;
    if (entry.type != static_cast<uint16_t>(JournalType::kBrake) || entry.segment != segment)
      continue;
    const bool follows = entry.c == static_cast<uint64_t>(BrakeReason::kFollowed);
    if (follows) followers[entry.process] = true;
    // How it came to that is not in the log any more.
    if (steps.empty() && entry.c != static_cast<uint64_t>(BrakeReason::kMeasured))
      steps.push_back({0, 0, BrakeLevel::kSampled, 0});
    steps.push_back({entry.tsc, follows ? entry.process : 0, level_in(entry.a), entry.b});
  }
  for (const auto& [process, unused] : followers) {
    const shmlog::ProcessEntry* entry = log.process(process);
    const uint64_t end = entry != nullptr ? end_of(log, *entry) : 0;
    if (end != 0) steps.push_back({end, process, BrakeLevel::kOff, 0});
  }
  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.tsc < b.tsc; });
  return steps;
}

BrakeLevel loosest(const std::map<uint32_t, BrakeLevel>& levels) {
  BrakeLevel found = BrakeLevel::kOff;
  for (const auto& [process, level] : levels) found = std::max(found, level);
  return found;
}

}  // namespace

std::vector<BrakePeriod> brake_periods(const ShmlogReader& log, uint32_t segment) {
  std::vector<BrakePeriod> periods;
  std::map<uint32_t, BrakeLevel> levels;
  BrakeLevel now = BrakeLevel::kOff;
  for (const Step& step : steps_of(log, segment)) {
    levels[step.process] = step.level;
    const BrakeLevel next = loosest(levels);
    if (next == now) continue;
    if (now != BrakeLevel::kOff) periods.back().end_tsc = step.tsc;
    if (next != BrakeLevel::kOff) periods.push_back({next, step.tsc, 0, step.slowdown});
    now = next;
  }
  return periods;
}

const char* brake_words(BrakeLevel level) {
  return level == BrakeLevel::kSampled ? "only writes, and those of a sample of pages"
                                       : "only writes";
}

std::string brake_time(const ShmlogReader& log, const BrakePeriod& period) {
  char text[96];
  const double begin = period.begin_tsc == 0 ? 0 : log.seconds_since_start(period.begin_tsc);
  if (period.begin_tsc == 0 && period.end_tsc != 0)
    std::snprintf(text, sizeof text, "up to %.3f s", log.seconds_since_start(period.end_tsc));
  else if (period.end_tsc == 0)
    std::snprintf(text, sizeof text, "from %.3f s to the end", begin);
  else
    std::snprintf(text, sizeof text, "from %.3f s to %.3f s", begin,
                  log.seconds_since_start(period.end_tsc));
  return text;
}

std::string brake_cause(const ShmlogReader& log, uint64_t slowdown) {
  char text[128];
  const double most = log.header().max_slowdown / 1000.0;
  if (slowdown == 0)
    std::snprintf(text, sizeof text, "the brake (limits.maxSlowdown: %.4g) had not been released",
                  most);
  else
    std::snprintf(text, sizeof text,
                  "tracing made a thread about %.1f times as slow (limits.maxSlowdown: %.4g)",
                  static_cast<double>(slowdown) / 1000, most);
  return text;
}

std::string brake_note(const ShmlogReader& log, uint32_t segment) {
  constexpr size_t kShown = 3;
  const shmlog::SegmentEntry* entry = log.segment(segment);
  const std::vector<BrakePeriod> periods = brake_periods(log, segment);
  if (periods.empty() && (entry == nullptr || entry->braked == 0)) return "";
  std::string text = "the segment was braked (limits.maxSlowdown)";
  for (size_t i = 0; i < std::min(periods.size(), kShown); ++i)
    text += std::string(i == 0 ? ": " : ", ") + brake_words(periods[i].level) + " recorded " +
            brake_time(log, periods[i]);
  if (periods.empty()) text += ", when is no longer in the log";
  if (periods.size() > kShown)
    text += " and " + std::to_string(periods.size() - kShown) + " times more (shmrec ls)";
  return text + "; what else was read or written then is not in the log";
}

}  // namespace shmrec::recording
