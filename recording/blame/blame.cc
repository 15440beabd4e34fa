#include "recording/blame/blame.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "recording/blame/investigation.h"
#include "recording/blame/subject.h"
#include "recording/bundle/coverage.h"
#include "recording/log/brakes.h"
#include "recording/log/names.h"
#include "recording/run/segment_history.h"
#include "recording/run/text.h"

namespace shmrec::recording {

// ---- Time notation ------------------------------------------------------------------------------

namespace {

bool all_hex(const std::string& text) {
  return text.size() > 2 && text.starts_with("0x") &&
         text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string::npos;
}

}  // namespace

std::string format_time(uint64_t event, uint64_t pc) {
  return with_separators(event) + ":" + hex(pc);
}

Result<TimeInRecording> parse_time(const std::string& text) {
  if (text == "end") return TimeInRecording{};
  const size_t colon = text.find(':');
  std::string digits = text.substr(0, colon);
  std::erase(digits, ',');
  uint64_t event = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, event);
  const bool pc_sound = colon == std::string::npos || all_hex(text.substr(colon + 1));
  if (error != std::errc() || stop != end || digits.empty() || !pc_sound) {
    return Error{"--at " + text + ": not a time; expected EVENT, EVENT:0xPC or end"};
  }
  return TimeInRecording{event};
}

namespace {

// ---- Rows ---------------------------------------------------------------------------------------

// Turns accesses into rows: who, where in the source, which of the asked bytes.
class RowMaker {
 public:
  RowMaker(const LocateContext& context, const Location& location, uint32_t process)
      : context_(context),
        location_(location),
        process_(process),
        code_(context.timeline, context.symbols) {}

  BlameRow access_row(const Access& access) {
    BlameRow row;
    row.access = access;
    row.recording = context_.timeline.by_process(access.process);
    row.current = access.process == process_;
    row.value_offset = std::max(access.header.offset, location_.offset);
    row.value = part(access, access.writes() ? access.output : access.input);
    if (access.writes() && access.reads()) row.old_value = part(access, access.input);
    const shmlog::RecordHeader& header = access.header;
    if (row.recording != nullptr)
      static_cast<CodeSite&>(row) =
          code_.find(*row.recording, header.event, header.pc, access.callers);
    return row;
  }

  BlameRow unrecorded_row(const Access& reader, const std::set<uint64_t>& bytes) const {
    BlameRow row;
    row.unrecorded_writer = true;
    row.value_offset = *bytes.begin();
    const uint64_t end = *bytes.rbegin() + 1;
    for (uint64_t byte = row.value_offset; byte < end; ++byte)
      row.value.push_back(byte_at(reader.input, reader, byte));
    return row;
  }

 private:
  std::vector<uint8_t> part(const Access& access, const std::vector<uint8_t>& bytes) const {
    const uint64_t begin = std::max(access.header.offset, location_.offset);
    const uint64_t end = std::min(access.end(), location_.offset + location_.length);
    if (begin >= end) return {};
    return {bytes.begin() + static_cast<ptrdiff_t>(begin - access.header.offset),
            bytes.begin() + static_cast<ptrdiff_t>(end - access.header.offset)};
  }

  const LocateContext& context_;
  const Location& location_;
  uint32_t process_;
  CodeFinder code_;
};

void add_rows(BlameAnswer& answer, Investigation& investigation, const LocateContext& context) {
  RowMaker maker(context, answer.location, answer.recording ? answer.recording->process : 0);
  for (const RecordId id : investigation.ordered_rows()) {
    const Access& access = *investigation.load(id);
    const auto unrecorded = investigation.unrecorded().find(id);
    if (unrecorded != investigation.unrecorded().end()) {
      answer.rows.push_back(maker.unrecorded_row(access, unrecorded->second));
    }
    answer.rows.push_back(maker.access_row(access));
  }
  for (const RecordId id : investigation.ordered_later()) {
    answer.rows.push_back(maker.access_row(*investigation.load(id)));
    answer.rows.back().later = true;
  }
}

// Keeps what is nearest to the question: the end, or of readers the beginning.
// `more`: there are rows that were not even looked for.
void limit_rows(BlameAnswer& answer, const BlameQuery& query, bool more) {
  if (answer.rows.size() <= query.limit) return;
  answer.left_out = answer.rows.size() - query.limit;
  const auto count = static_cast<ptrdiff_t>(answer.left_out);
  if (query.forward)
    answer.rows.erase(answer.rows.end() - count, answer.rows.end());
  else
    answer.rows.erase(answer.rows.begin(), answer.rows.begin() + count);
  answer.notes.push_back((more ? "more than " : "") + with_separators(answer.left_out) +
                         (query.forward ? " later" : " earlier") +
                         " rows are left out; --limit 0 shows all");
}

// What happened to the segment beside the accesses: the newest few.
void add_history_notes(BlameAnswer& answer, const Timeline& timeline) {
  constexpr size_t kShown = 6;
  const std::vector<Happening> history = segment_history(timeline, answer.location.segment);
  if (!is_eventful(history)) return;
  if (history.size() > kShown + 1)
    answer.notes.push_back(with_separators(history.size() - kShown) +
                           " earlier events of the segment: shmrec ls");
  for (size_t i = history.size() > kShown + 1 ? history.size() - kShown : 0; i < history.size();
       ++i)
    answer.notes.push_back("the segment: " + happening_text(timeline, history[i]));
}

void add_notes(BlameAnswer& answer, const Investigation& investigation, const Timeline& timeline) {
  const ShmlogReader& log = timeline.reader();
  for (const std::string& note : answer.location.notes) answer.notes.push_back(note);
  add_history_notes(answer, timeline);
  for (const std::string& note : investigation.notes()) answer.notes.push_back(note);
  const bool braked = !brake_note(log, answer.location.segment).empty();
  if (!investigation.unrecorded().empty()) {
    answer.notes.push_back(
        braked
            ? "a value was read that the write before it did not write: a write while the segment "
              "was braked, or an unrecorded writer"
        : log.history_lost()
            ? "a value was read that the write before it did not write: an unrecorded writer, or "
              "a recorded write that is no longer in the log"
            : "a value was read that no recorded process wrote: an unrecorded writer changed it");
  }
  const uint64_t overwritten = log.loss(shmlog::Loss::kRecordsOverwritten);
  if (overwritten != 0) {
    answer.notes.push_back("the log was full: its oldest " + with_separators(overwritten) +
                           " records were overwritten; an older access may be missing");
  }
  const uint64_t dropped = log.loss(shmlog::Loss::kRecordsDropped);
  if (dropped != 0) answer.notes.push_back(with_separators(dropped) + " accesses were not logged");
}

// From the accesses that were found, the way that the question asks for.
void trace(Investigation& investigation, const BlameQuery& query) {
  if (query.forward) {
    investigation.trace_forward();
    return;
  }
  investigation.trace_back();
  if (query.history > 0) investigation.add_history(query.history);
  if (query.time.event == UINT64_MAX) investigation.find_later();
}

// ---- Segments of which only writes are recorded -------------------------------------------------

// A recording's question where its reads are not known: it saw what was there.
void ask_writes(BlameAnswer& answer, Investigation& investigation, const BlameQuery& query,
                const LocateContext& context) {
  const bool at_end = query.time.event == UINT64_MAX;
  investigation.find_last_writes(clock_by(context, *answer.recording, query.time.event));
  const std::string who = answer.recording->id + " (" + answer.recording->name + ")";
  if (investigation.never_accessed()) {
    answer.notes = answer.location.notes;
    answer.notes.push_back("no recording wrote these bytes up to that time");
    return;
  }
  trace(investigation, query);
  if (query.forward) return;
  if (!at_end || !investigation.ordered_later().empty())
    answer.notes.push_back("what " + who + " read is not known: shown is what was written before " +
                           (at_end ? "it ended" : "that event") + ", by others by a coarse clock");
}

void note_writes_only(BlameAnswer& answer, const BlameQuery& query) {
  answer.notes.push_back(
      std::string(kWritesOnly) +
      (query.forward ? ": who read the value is not known, but for operations that also wrote"
                     : ": what only read is not in the log"));
}

// ---- All others ---------------------------------------------------------------------------------

// Fills in the rows of a recording's question.
// `braked`: not all that it accessed is in the log.
void ask_recording(BlameAnswer& answer, Investigation& investigation, const BlameQuery& query,
                   bool braked) {
  investigation.find_last_accesses();
  if (investigation.never_accessed()) {
    answer.notes = answer.location.notes;
    answer.notes.push_back((braked ? "no recorded access by " : "never accessed by ") +
                           answer.recording->id + " (" + answer.recording->name +
                           ") up to that time");
    return;
  }
  trace(investigation, query);
}

}  // namespace

Result<BlameAnswer> Blame::ask(const BlameQuery& query) const {
  Result<Subject> subject = find_subject(context_, query);
  if (!subject) return subject.error();
  BlameAnswer answer;
  answer.location = std::move(subject->location);
  answer.recording = query.last ? nullptr : subject->recording;
  answer.time = query.time;
  answer.type = query.type.value_or(answer.location.type);
  const shmlog::SegmentEntry* segment = context_.timeline.reader().segment(answer.location.segment);
  const bool writes_only = segment != nullptr && has_writes_only(*segment);
  answer.segment = segment_label(answer.location.segment, segment);
  answer.writes_only = writes_only;
  const std::string brake = brake_note(context_.timeline.reader(), answer.location.segment);
  Investigation investigation(context_, answer.location,
                              answer.recording ? answer.recording->process : 0, query.time.event);
  if (query.all) {
    const bool named = answer.recording != nullptr && !query.recording.empty();
    investigation.find_all(named ? answer.recording->process : 0, query.limit);
  } else if (answer.recording != nullptr && writes_only) {
    ask_writes(answer, investigation, query, context_);
  } else if (answer.recording != nullptr) {
    ask_recording(answer, investigation, query, !brake.empty());
  } else if (query.last) {
    investigation.find_last_writers();
    if (query.history > 0) investigation.add_history(query.history);
  }
  add_rows(answer, investigation, context_);
  if (!answer.rows.empty()) add_notes(answer, investigation, context_.timeline);
  if (answer.rows.empty() && answer.recording == nullptr) {
    answer.notes = answer.location.notes;
    answer.notes.push_back(query.last || writes_only ? "no recording wrote these bytes"
                                                     : "no recording accessed these bytes");
  }
  if (writes_only) note_writes_only(answer, query);
  if (!brake.empty()) answer.notes.push_back(brake);
  limit_rows(answer, query, query.all && investigation.more());
  return answer;
}

}  // namespace shmrec::recording
