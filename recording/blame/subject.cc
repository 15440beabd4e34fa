#include "recording/blame/subject.h"

#include <algorithm>
#include <csignal>
#include <iterator>

#include "recording/log/names.h"

namespace shmrec::recording {

Ending ending_of(const Recording& recording) {
  constexpr int kFaults[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
  if (recording.signal) {
    const bool fault = std::count(std::begin(kFaults), std::end(kFaults), *recording.signal) != 0;
    return fault ? Ending::kFault : Ending::kSignal;
  }
  return recording.exit_code.value_or(0) != 0 ? Ending::kError : Ending::kOrderly;
}

bool goes_before(const Recording& a, const Recording& b) {
  const Ending ending = ending_of(a);
  if (ending != ending_of(b)) return ending < ending_of(b);
  if (ending == Ending::kOrderly) return a.start_tsc > b.start_tsc;
  // 0 is unknown: the maximum after the subtraction.
  return a.end_tsc - 1 < b.end_tsc - 1;
}

namespace {

// By how they ended; of those that failed the same way the first to end, of the others the newest.
std::vector<const Recording*> candidates(const Timeline& timeline) {
  std::vector<const Recording*> all;
  for (const Recording& recording : timeline.recordings()) all.push_back(&recording);
  std::stable_sort(all.begin(), all.end(),
                   [](const Recording* a, const Recording* b) { return goes_before(*a, *b); });
  return all;
}

bool maps_segment(const Timeline& timeline, const Recording& recording, uint32_t segment) {
  const std::vector<Mapping> mapped = timeline.segments_mapped(recording);
  return std::any_of(mapped.begin(), mapped.end(),
                     [&](const Mapping& mapping) { return mapping.segment == segment; });
}

std::optional<Access> newest_access(const AccessIndex& index, const Location& location,
                                    uint32_t process, uint64_t event) {
  LineQuery query{
      .segment = location.segment, .begin = location.offset, .end = location.offset + 1};
  query.process = process;
  query.max_event = event;
  const std::optional<RecordId> id = index.newest(query)[0];
  return id ? index.load(*id) : std::nullopt;
}

Result<Location> locate(const LocateContext& context, const std::string& where,
                        const Recording* recording, uint64_t event) {
  if (names_segment(where)) return locate_in_segments(context, where);
  return locate_in_recording(context, where, *recording, event);
}

// Are the reads of this segment not in the log?
bool reads_unknown(const LocateContext& context, const Location& location) {
  const shmlog::SegmentEntry* entry = context.timeline.reader().segment(location.segment);
  return entry != nullptr && has_writes_only(*entry);
}

// Did the recording access the bytes by then, or may it have?
bool may_have_accessed(const LocateContext& context, const Location& location,
                       const Recording& recording, uint64_t event) {
  if (newest_access(context.index, location, recording.process, event)) return true;
  return reads_unknown(context, location) &&
         maps_segment(context.timeline, recording, location.segment);
}

// The first candidate that failed and in which WHERE exists, mapped and accessed; without one, that
// which accessed the bytes last.
Result<Subject> choose_subject(const LocateContext& context, const BlameQuery& query) {
  std::optional<Error> first_error;
  std::optional<Location> place;
  std::optional<Subject> user;  // of the bytes, who did not fail
  for (const Recording* recording : candidates(context.timeline)) {
    const Result<Location> located = locate(context, query.where, recording, query.time.event);
    if (!located) {
      if (names_segment(query.where)) return located.error();
      if (!first_error) first_error = located.error();
      continue;
    }
    if (!place) place = *located;
    if (!may_have_accessed(context, *located, *recording, query.time.event)) continue;
    if (ending_of(*recording) != Ending::kOrderly &&
        maps_segment(context.timeline, *recording, located->segment))
      return Subject{*located, recording};
    if (!user) user = Subject{*located, recording};
  }
  if (user) {
    const std::optional<Access> last = newest_access(context.index, user->location, 0, UINT64_MAX);
    const Recording* newest = last ? context.timeline.by_process(last->process) : nullptr;
    if (newest != nullptr) user->recording = newest;
    return *user;
  }
  if (place) return Subject{*place, nullptr};
  if (first_error) return *first_error;
  return Error{"the log has no recording"};
}

// Without a length: to the end of the newest access, at most 8 bytes.
uint64_t settle_length(const LocateContext& context, const Subject& subject,
                       const BlameQuery& query) {
  constexpr uint64_t kWord = 8;
  if (subject.recording == nullptr && !query.last) return 1;
  const bool any = query.last || reads_unknown(context, subject.location);
  const auto access = any ? newest_access(context.index, subject.location, 0, UINT64_MAX)
                          : newest_access(context.index, subject.location,
                                          subject.recording->process, query.time.event);
  return access ? std::min(kWord, access->end() - subject.location.offset) : 1;
}

// The one recording of a pid or name that has WHERE mapped and, if several have, that accessed it;
// nullptr if it is not one. A fork and the program that it executed share their pid.
const Recording* only_user(const LocateContext& context, const BlameQuery& query) {
  std::vector<const Recording*> mapping, accessing;
  for (const Recording& recording : context.timeline.recordings()) {
    if (recording.name != query.recording && std::to_string(recording.pid) != query.recording)
      continue;
    const Result<Location> located = locate(context, query.where, &recording, query.time.event);
    if (!located || !maps_segment(context.timeline, recording, located->segment)) continue;
    mapping.push_back(&recording);
    if (newest_access(context.index, *located, recording.process, query.time.event))
      accessing.push_back(&recording);
  }
  if (mapping.size() == 1) return mapping[0];
  return accessing.size() == 1 ? accessing[0] : nullptr;
}

Result<Subject> named_subject(const LocateContext& context, const BlameQuery& query) {
  Result<const Recording*> named = context.timeline.find(query.recording);
  if (!named) {
    const Recording* only = only_user(context, query);
    if (only == nullptr) return named.error();
    named = only;
  }
  Result<Location> located = locate(context, query.where, *named, query.time.event);
  if (!located) return located.error();
  return Subject{std::move(*located), *named};
}

}  // namespace

Result<Subject> find_subject(const LocateContext& context, const BlameQuery& query) {
  Result<Subject> subject =
      query.recording.empty() ? choose_subject(context, query) : named_subject(context, query);
  if (!subject) return subject;
  Location& location = subject->location;
  if (query.length) location.length = *query.length;
  if (location.length == 0) location.length = settle_length(context, *subject, query);
  if (location.length > kMaxBlameBytes || location.offset > UINT64_MAX - location.length) {
    return Error{query.where + ": " + std::to_string(location.length) +
                 " bytes; expected at most " + std::to_string(kMaxBlameBytes) + " (--len)"};
  }
  return subject;
}

}  // namespace shmrec::recording
