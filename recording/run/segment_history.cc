#include "recording/run/segment_history.h"

#include <cstdio>

#include "recording/log/brakes.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using shmlog::BrakeLevel;
using shmlog::BrakeReason;
using shmlog::JournalType;
using shmlog::NameReason;
using shmlog::SegmentEvent;

std::string name_text(const JournalItem& item) {
  switch (static_cast<NameReason>(item.entry.a)) {
    case NameReason::kRenamed:
      return "renamed to " + item.text;
    case NameReason::kLinked:
      return "linked as " + item.text;
    default:
      return "also mapped as " + item.text;
  }
}

// "": said by another entry, or not known to this version.
std::string life_text(const JournalItem& item) {
  switch (static_cast<SegmentEvent>(item.entry.a)) {
    case SegmentEvent::kResized:
      return "resized from " + with_separators(item.entry.b) + " to " +
             with_separators(item.entry.c) + " bytes";
    case SegmentEvent::kEmptied:
      return "emptied by an open with O_TRUNC";
    case SegmentEvent::kUnlinked:
      return "its name " + item.text + " removed";
    case SegmentEvent::kReplaced:
      return "its name " + item.text + " taken by another file that was renamed to it";
    default:
      return "";
  }
}

// What was decided for all; that each process followed is for brake_periods().
std::string brake_text(const JournalItem& item) {
  const BrakeLevel level = static_cast<BrakeLevel>(item.entry.a);
  if (item.entry.c == static_cast<uint64_t>(BrakeReason::kFollowed)) return "";
  if (level == BrakeLevel::kOff) return "brake released: recorded as the policy says";
  char slowdown[48] = "";
  if (item.entry.b != 0)
    std::snprintf(slowdown, sizeof slowdown, ": about %.1f times as slow",
                  static_cast<double>(item.entry.b) / 1000);
  return std::string(item.entry.b != 0 ? "braked" : "brake released by a level") + slowdown +
         "; recorded are " + brake_words(level);
}

std::string text_of(const JournalItem& item) {
  switch (static_cast<JournalType>(item.entry.type)) {
    case JournalType::kSegmentName:
      return name_text(item);
    case JournalType::kSegmentLife:
      return life_text(item);
    case JournalType::kBrake:
      return brake_text(item);
    default:
      return "";
  }
}

}  // namespace

std::vector<Happening> segment_history(const Timeline& timeline, uint32_t segment) {
  std::vector<Happening> history;
  if (const shmlog::SegmentEntry* entry = timeline.reader().segment(segment)) {
    const std::string name = fixed_text(entry->name);
    history.push_back({entry->entered_tsc, timeline.by_process(entry->creator), 0,
                       "first mapped" + (name.empty() ? "" : " as " + name)});
  }
  for (const JournalItem& item : timeline.reader().journal()) {
    if (item.entry.segment != segment) continue;
    const std::string text = text_of(item);
    if (text.empty()) continue;
    history.push_back(
        {item.entry.tsc, timeline.by_process(item.entry.process), item.entry.event, text});
  }
  return history;
}

std::string happening_text(const Timeline& timeline, const Happening& happening) {
  char at[48] = "";
  if (happening.tsc != 0)
    std::snprintf(at, sizeof at, " at %.6f s",
                  timeline.reader().seconds_since_start(happening.tsc));
  const Recording* who = happening.recording;
  return happening.what + at + (who != nullptr ? " by " + who->name + " " + who->id : "");
}

}  // namespace shmrec::recording
