#include "recording/blame/subject.h"

#include <algorithm>

namespace shmrec::recording {

namespace {

// Those ended by a signal first, newest first; then the others, newest first.
std::vector<const Recording*> candidates(const Timeline& timeline) {
  std::vector<const Recording*> all;
  for (const Recording& recording : timeline.recordings()) all.push_back(&recording);
  std::reverse(all.begin(), all.end());
  std::stable_partition(all.begin(), all.end(),
                        [](const Recording* r) { return r->signal.has_value(); });
  return all;
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

// The first candidate in which WHERE exists and which accessed it; without one that crashed, the
// one that accessed the bytes last.
Result<Subject> choose_subject(const LocateContext& context, const BlameQuery& query) {
  std::optional<Error> first_error;
  std::optional<Location> place;
  for (const Recording* recording : candidates(context.timeline)) {
    const Result<Location> located = locate(context, query.where, recording, query.time.event);
    if (!located) {
      if (names_segment(query.where)) return located.error();
      if (!first_error) first_error = located.error();
      continue;
    }
    const std::optional<Access> own =
        newest_access(context.index, *located, recording->process, query.time.event);
    if (own && recording->signal) return Subject{*located, recording};
    if (own) {
      const std::optional<Access> last = newest_access(context.index, *located, 0, UINT64_MAX);
      const Recording* newest = last ? context.timeline.by_process(last->process) : nullptr;
      return Subject{*located, newest != nullptr ? newest : recording};
    }
    if (!place) place = *located;
  }
  if (place) return Subject{*place, nullptr};
  if (first_error) return *first_error;
  return Error{"the log has no recording"};
}

// Without a length: to the end of the newest access, at most 8 bytes.
uint64_t settle_length(const LocateContext& context, const Subject& subject, uint64_t event) {
  constexpr uint64_t kWord = 8;
  if (subject.recording == nullptr) return 1;
  const auto access =
      newest_access(context.index, subject.location, subject.recording->process, event);
  return access ? std::min(kWord, access->end() - subject.location.offset) : 1;
}

Result<Subject> named_subject(const LocateContext& context, const BlameQuery& query) {
  const Result<const Recording*> named = context.timeline.find(query.recording);
  if (!named) return named.error();
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
  if (location.length == 0) location.length = settle_length(context, *subject, query.time.event);
  if (location.length > kMaxBlameBytes || location.offset > UINT64_MAX - location.length) {
    return Error{query.where + ": " + std::to_string(location.length) +
                 " bytes; expected at most " + std::to_string(kMaxBlameBytes) + " (--len)"};
  }
  return subject;
}

}  // namespace shmrec::recording
