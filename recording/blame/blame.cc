#include "recording/blame/blame.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "recording/blame/access_order.h"
#include "recording/blame/subject.h"
#include "recording/run/segment_history.h"
#include "recording/run/text.h"

namespace shmrec::recording {

using shmlog::kLineBytes;

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

// ---- Investigation ------------------------------------------------------------------------------

namespace {

// Pieces of [begin, end) that lie in one line each.
std::vector<std::pair<uint64_t, uint64_t>> split_lines(uint64_t begin, uint64_t end) {
  std::vector<std::pair<uint64_t, uint64_t>> pieces;
  while (begin < end) {
    const uint64_t next = std::min(end, (begin / kLineBytes + 1) * kLineBytes);
    pieces.emplace_back(begin, next);
    begin = next;
  }
  return pieces;
}

uint8_t byte_at(const std::vector<uint8_t>& bytes, const Access& access, uint64_t offset) {
  return bytes[offset - access.header.offset];
}

// Collects the rows of one answer.
class Investigation {
 public:
  Investigation(const LocateContext& context, const Location& location, uint32_t process,
                uint64_t event)
      : index_(context.index), location_(location), process_(process), event_(event) {}

  // Newest access by the recording to each byte, at or before the time.
  void find_last_accesses() {
    for (const auto& [begin, end] : pieces()) {
      LineQuery query = line_query(begin, end);
      query.process = process_;
      query.max_event = event_;
      const auto newest = index_.newest(query);
      for (uint64_t byte = begin; byte < end; ++byte) {
        if (newest[byte - begin]) last_[byte] = *newest[byte - begin];
      }
    }
  }

  bool never_accessed() const { return last_.empty(); }

  // The chain behind each byte.
  void trace_back() {
    for (const auto& [byte, id] : last_) trace_byte(byte, id);
  }

  // The write that gave each byte its current value, and who read that value.
  void trace_forward() {
    for (const auto& [byte, id] : last_) {
      const Access* access = load(id);
      if (access == nullptr) continue;
      const std::optional<RecordId> source = access->writes() ? id : source_of(byte, *access);
      if (!source) {
        note("the value was in memory before the first recorded write; its readers are not listed");
        continue;
      }
      rows_.insert(*source);
      add_readers(byte, *source);
    }
  }

  // Who wrote each byte last, whoever that was.
  void find_last_writers() {
    for (const auto& [begin, end] : pieces()) {
      LineQuery query = line_query(begin, end);
      query.writes_only = true;
      for (const auto& id : index_.newest(query))
        if (id) rows_.insert(*id);
    }
  }

  // Every access, by `process` (0: any).
  void find_all(uint32_t process) {
    for (const auto& [begin, end] : pieces()) {
      LineQuery query = line_query(begin, end);
      query.process = process;
      query.max_event = process != 0 ? event_ : UINT64_MAX;
      for (const RecordId id : index_.all(query)) rows_.insert(id);
    }
  }

  // What others wrote to bytes after the recording's last access to them: what is there in the end.
  void find_later() {
    for (const auto& [begin, end] : pieces()) {
      LineQuery query = line_query(begin, end);
      query.writes_only = true;
      const auto newest = index_.newest(query);
      for (uint64_t byte = begin; byte < end; ++byte) {
        const auto last = last_.find(byte);
        const std::optional<RecordId> id = newest[byte - begin];
        if (!id || last == last_.end() || rows_.contains(*id)) continue;
        const Access* write = load(*id);
        const Access* seen = load(last->second);
        if (write != nullptr && seen != nullptr && seen->position(byte) < write->position(byte))
          later_.insert(*id);
      }
    }
    if (const uint64_t between = writes_between(); between != 0) {
      note("between the last access and what is there in the end, " + with_separators(between) +
           " more writes: shmrec timeline lists them");
    }
  }

  // The newest `count` writes to the bytes that are older than what is already listed.
  void add_history(uint64_t count) {
    std::vector<RecordId> found;
    for (const auto& [begin, end] : pieces()) {
      LineQuery query = line_query(begin, end);
      query.writes_only = true;
      query.before_version = oldest_version(begin, end);
      for (const RecordId id : index_.all(query)) found.push_back(id);
    }
    std::set<RecordId> fresh(found.begin(), found.end());
    for (const RecordId id : rows_) fresh.erase(id);
    std::vector<RecordId> order = ordered(fresh);
    const size_t kept = static_cast<size_t>(std::min<uint64_t>(count, order.size()));
    if (kept < order.size()) {
      note(with_separators(order.size() - kept) +
           " earlier writes are not shown; --history all lists them");
    }
    rows_.insert(order.end() - static_cast<ptrdiff_t>(kept), order.end());
  }

  // Readers whose bytes differ from those of the write before them, and the bytes.
  const std::map<RecordId, std::set<uint64_t>>& unrecorded() const { return unrecorded_; }
  std::vector<RecordId> ordered_rows() { return ordered(rows_); }
  std::vector<RecordId> ordered_later() { return ordered(later_); }
  const std::vector<std::string>& notes() const { return notes_; }
  const Access* load(RecordId id) {
    const auto [at, fresh] = loaded_.try_emplace(id);
    if (fresh) at->second = index_.load(id);
    return at->second ? &*at->second : nullptr;
  }

 private:
  std::vector<std::pair<uint64_t, uint64_t>> pieces() const {
    return split_lines(location_.offset, location_.offset + location_.length);
  }

  LineQuery line_query(uint64_t begin, uint64_t end) const {
    return LineQuery{.segment = location_.segment, .begin = begin, .end = end};
  }

  void note(const std::string& text) {
    if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) notes_.push_back(text);
  }

  void trace_byte(uint64_t byte, RecordId last) {
    RecordId at = last;
    for (int steps = 0; steps <= kMaxInputSteps; ++steps) {
      rows_.insert(at);
      const Access* access = load(at);
      if (access == nullptr) return note("an access was overwritten while the log was read");
      const bool plain_write = !access->reads();
      if (plain_write && at != last) return;
      const std::optional<RecordId> source = source_of(byte, *access);
      if (!source) {
        if (access->reads()) note_unexplained(byte, *access);
        return;
      }
      if (access->reads()) compare_values(byte, *source, at, *access);
      if (plain_write) {  // the recording's own write: with the one it replaced, and no further
        rows_.insert(*source);
        return;
      }
      at = *source;
    }
    note("the chain of read/write operations is longer than " + std::to_string(kMaxInputSteps) +
         " and was cut; --history shows earlier writes");
  }

  // Where what the access found in `byte` came from. Writes by descriptor have no exact place in
  // the order of a line: where the newest write before the access does not explain what it found,
  // one that may have come before it counts; for all that this one explains, so that the bytes of a
  // value keep together.
  std::optional<RecordId> source_of(uint64_t byte, const Access& access) {
    const std::optional<RecordId> before = write_before(byte, access);
    if (!access.reads() || !index_.has_between()) return before;
    const auto key = std::make_pair(access.id, byte / kLineBytes);
    const auto [at, fresh] = others_.try_emplace(key);
    if (fresh) at->second = find_others(byte, access);
    for (const RecordId id : at->second) {
      if (!wrote(id, byte, access)) continue;
      placed_early_.insert(id);
      return id;
    }
    return before;
  }

  // What explains those asked bytes of the line of `byte` that the newest writes do not.
  std::set<RecordId> find_others(uint64_t byte, const Access& access) {
    LineQuery line = line_query(byte / kLineBytes * kLineBytes, 0);
    line.end = line.begin + kLineBytes;
    clip(line);
    std::set<RecordId> others;
    for (uint64_t at = line.begin; at < line.end; ++at) {
      if (!access.covers(at)) continue;
      const std::optional<RecordId> before = write_before(at, access);
      if (wrote(before, at, access)) continue;
      if (const auto other = other_source(at, access, before)) others.insert(*other);
    }
    return others;
  }

  // The newest write that can have come before the access and left what it found.
  std::optional<RecordId> other_source(uint64_t byte, const Access& access,
                                       const std::optional<RecordId>& before) {
    uint64_t from = access.earliest(byte);
    if (const Access* write = before ? load(*before) : nullptr)
      from = std::min(from, write->earliest(byte));
    from = std::max<uint64_t>(from, 1);
    LineQuery query = line_query(byte, byte + 1);
    query.writes_only = true;
    query.before_version = from;
    std::optional<RecordId> found = index_.newest(query)[0];
    if (!wrote(found, byte, access)) found.reset();
    query.before_version.reset();
    query.after_version = from - 1;
    for (const RecordId id : index_.all(query)) {
      const Access* other = load(id);
      const bool possible = other != nullptr && other->earliest(byte) <= access.latest(byte);
      if (possible && wrote(id, byte, access)) found = id;
    }
    return found;
  }

  // Did this write leave in `byte` what the access found there?
  bool wrote(const std::optional<RecordId>& id, uint64_t byte, const Access& access) {
    const Access* write = id ? load(*id) : nullptr;
    return write != nullptr && write->writes() && write->covers(byte) &&
           byte_at(write->output, *write, byte) == byte_at(access.input, access, byte);
  }

  // The newest write to `byte` before the access read it (or, a plain write, replaced it).
  std::optional<RecordId> write_before(uint64_t byte, const Access& access) {
    LineQuery query = line_query(byte, byte + 1);
    query.writes_only = true;
    const uint32_t line = access.line_index(byte);
    query.before_version =
        access.reads() ? access.read_versions[line] : access.write_versions[line];
    // The same question is asked for neighbouring bytes: ask for the line once.
    const auto key = std::make_pair(access.id, byte / kLineBytes);
    auto [at, fresh] = sources_.try_emplace(key);
    if (fresh) {
      query.begin = byte / kLineBytes * kLineBytes;
      query.end = query.begin + kLineBytes;
      clip(query);
      at->second.begin = query.begin;
      at->second.writes = index_.newest(query);
    }
    return at->second.writes[byte - at->second.begin];
  }

  // Only asked bytes matter.
  void clip(LineQuery& query) const {
    query.begin = std::max(query.begin, location_.offset);
    query.end = std::min(query.end, location_.offset + location_.length);
  }

  void compare_values(uint64_t byte, RecordId write_id, RecordId read_id, const Access& read) {
    const Access* write = load(write_id);
    if (write == nullptr || byte_at(write->output, *write, byte) == byte_at(read.input, read, byte))
      return;
    if (write->outcome == Outcome::kInferred || write->outcome == Outcome::kInFlight) {
      return note(
          "a process died in the middle of a write; whether it happened can only be told from what "
          "was read");
    }
    unrecorded_[read_id].insert(byte);
  }

  void note_unexplained(uint64_t byte, const Access& access) {
    const bool relaxed = access.header.flags & shmlog::kFlagRelaxed;
    if (index_.reader().history_lost()) {
      note(
          "no write before the oldest read shown is in the log; part of the history was "
          "overwritten or not logged");
    } else if (byte_at(access.input, access, byte) != 0) {
      note(
          "no recorded write explains the value: it was there before the recording or came from an "
          "unrecorded writer");
    } else {
      note(
          "never written before by a recorded process: the value is what the segment held at the "
          "start");
    }
    if (relaxed)
      note("the segment's order is relaxed: order between processes is by clock and may be wrong");
  }

  // Writes to asked bytes after the last accesses that are in no row.
  uint64_t writes_between() {
    std::set<RecordId> between;
    for (const auto& [byte, id] : last_) {
      if (later_.empty()) break;
      const Access* seen = load(id);
      if (seen == nullptr) continue;
      LineQuery query = line_query(byte, byte + 1);
      query.writes_only = true;
      query.after_version = seen->position(byte).version - 1;
      for (const RecordId write : index_.all(query)) {
        const Access* access = load(write);
        if (access != nullptr && seen->position(byte) < access->position(byte))
          between.insert(write);
      }
    }
    for (const RecordId id : later_) between.erase(id);
    for (const RecordId id : rows_) between.erase(id);
    return between.size();
  }

  void add_readers(uint64_t byte, RecordId write_id) {
    const Access* write = load(write_id);
    if (write == nullptr) return;
    const uint64_t version = write->write_versions[write->line_index(byte)];
    for (const RecordId id : readers_of(byte, version)) rows_.insert(id);
  }

  // Accesses that read `byte` after the write of `version` and up to the next write to it.
  std::vector<RecordId> readers_of(uint64_t byte, uint64_t version) {
    LineQuery query = line_query(byte, byte + 1);
    query.after_version = version;
    std::vector<RecordId> readers;
    for (const RecordId id : index_.all(query)) {
      const Access* access = load(id);
      if (access == nullptr) continue;
      const uint32_t line = access->line_index(byte);
      if (access->reads() && access->read_versions[line] > version) readers.push_back(id);
      if (access->writes() && access->write_versions[line] > version) break;
    }
    return readers;
  }

  // The smallest version among listed rows in the line piece: history lies before it.
  std::optional<uint64_t> oldest_version(uint64_t begin, uint64_t end) {
    std::optional<uint64_t> oldest;
    for (const RecordId id : rows_) {
      const Access* access = load(id);
      if (access == nullptr || access->header.offset >= end || access->end() <= begin) continue;
      const uint64_t version = access->position(std::max(begin, access->header.offset)).version;
      oldest = std::min(oldest.value_or(version), version);
    }
    return oldest;
  }

  std::vector<RecordId> ordered(const std::set<RecordId>& ids);

  struct LineWrites {
    uint64_t begin = 0;
    std::vector<std::optional<RecordId>> writes;
  };

  const AccessIndex& index_;
  const Location& location_;
  uint32_t process_;
  uint64_t event_;
  std::map<uint64_t, RecordId> last_;
  std::set<RecordId> rows_;
  std::set<RecordId> later_;
  std::map<RecordId, std::set<uint64_t>> unrecorded_;
  std::map<std::pair<RecordId, uint64_t>, LineWrites> sources_;
  std::map<std::pair<RecordId, uint64_t>, std::set<RecordId>> others_;
  std::set<RecordId> placed_early_;  // before what their latest version says
  std::map<RecordId, std::optional<Access>> loaded_;
  std::vector<std::string> notes_;
};

// By the order of versions of each line and, if there are several, that of events in each process.
std::vector<RecordId> Investigation::ordered(const std::set<RecordId>& ids) {
  AccessOrder order;
  std::map<uint32_t, std::vector<AccessOrder::Member>> processes;
  std::map<uint64_t, std::vector<AccessOrder::Member>> lines;
  for (const RecordId id : ids) {
    const Access* access = load(id);
    if (access == nullptr) continue;
    const size_t node = order.add(id, access->tsc_low);
    for (const auto& [begin, end] :
         split_lines(std::max(access->header.offset, location_.offset),
                     std::min(access->end(), location_.offset + location_.length))) {
      Position position = access->position(begin);
      if (placed_early_.contains(id))
        position.version = std::min(position.version, access->earliest(begin) - 1);
      lines[begin / kLineBytes].push_back({position, node});
    }
    processes[access->process].push_back({{access->header.event, false, id.at}, node});
  }
  for (auto& [line, members] : lines) order.chain(members);
  if (lines.size() > 1) {
    for (auto& [process, members] : processes) order.chain(members);
  }
  return order.sorted();
}

// ---- Rows ---------------------------------------------------------------------------------------

// Turns accesses into rows: who, where in the source, which of the asked bytes.
class RowMaker {
 public:
  RowMaker(const LocateContext& context, const Location& location, uint32_t process)
      : context_(context), location_(location), process_(process) {}

  BlameRow access_row(const Access& access) {
    BlameRow row;
    row.access = access;
    row.recording = context_.timeline.by_process(access.process);
    row.current = access.process == process_;
    row.value_offset = std::max(access.header.offset, location_.offset);
    row.value = part(access, access.writes() ? access.output : access.input);
    if (access.writes() && access.reads()) row.old_value = part(access, access.input);
    if (row.recording != nullptr) add_source(row);
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

  void add_source(BlameRow& row) {
    const shmlog::RecordHeader& header = row.access.header;
    row.frames = frames_of(header.pc, row.access.callers,
                           [&](uint64_t pc) { return code_at(*row.recording, header.event, pc); });
    const CodeFrame& shown = shown_frame(row.frames);
    row.function = shown.function;
    row.file = shown.file;
    row.line = shown.line;
    row.chain = shown.chain;
    row.module = shown.module;
    if (&shown == &row.frames.front()) return;
    const CodeFrame& called = *(&shown - 1);
    row.called = called.function.empty() ? base_name(called.module) : called.function;
  }

  std::optional<CodeAddress> code_at(const Recording& recording, uint64_t event, uint64_t pc) {
    const Mapping* mapping = module_at(recording, event, pc);
    if (mapping == nullptr) return std::nullopt;
    CodeAddress code{mapping->path, context_.symbols.module(mapping->path), 0};
    if (code.file == nullptr) return code;
    const auto address = code.file->address_of_offset(mapping->offset + (pc - mapping->begin));
    if (address)
      code.address = *address;
    else
      code.file = nullptr;
    return code;
  }

  // The module that held pc at the event; journal and event numbers of other threads may be a
  // little apart, so the final state is asked when the state at the event does not know.
  const Mapping* module_at(const Recording& recording, uint64_t event, uint64_t pc) {
    for (const uint64_t time : {event, UINT64_MAX}) {
      constexpr size_t kMaxSpaces = 256;
      if (spaces_.size() > kMaxSpaces) spaces_.clear();
      const auto key = std::make_pair(recording.process, time);
      auto at = spaces_.find(key);
      if (at == spaces_.end())
        at = spaces_.emplace(key, context_.timeline.address_space(recording, time)).first;
      const Mapping* mapping = at->second.find(pc);
      if (mapping != nullptr && mapping->segment == 0) return mapping;
    }
    return nullptr;
  }

  const LocateContext& context_;
  const Location& location_;
  uint32_t process_;
  std::map<std::pair<uint32_t, uint64_t>, AddressSpace> spaces_;
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
void limit_rows(BlameAnswer& answer, const BlameQuery& query) {
  if (answer.rows.size() <= query.limit) return;
  answer.left_out = answer.rows.size() - query.limit;
  const auto count = static_cast<ptrdiff_t>(answer.left_out);
  if (query.forward)
    answer.rows.erase(answer.rows.end() - count, answer.rows.end());
  else
    answer.rows.erase(answer.rows.begin(), answer.rows.begin() + count);
  answer.notes.push_back(with_separators(answer.left_out) +
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
  if (!investigation.unrecorded().empty()) {
    answer.notes.push_back(
        log.history_lost()
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

}  // namespace

namespace {

// Fills in the rows of a recording's question.
void ask_recording(BlameAnswer& answer, Investigation& investigation, const BlameQuery& query) {
  investigation.find_last_accesses();
  if (investigation.never_accessed()) {
    answer.notes = answer.location.notes;
    answer.notes.push_back("never accessed by " + answer.recording->id + " (" +
                           answer.recording->name + ") up to that time");
    return;
  }
  if (query.forward) {
    investigation.trace_forward();
    return;
  }
  investigation.trace_back();
  if (query.history > 0) investigation.add_history(query.history);
  if (query.time.event == UINT64_MAX) investigation.find_later();
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
  answer.segment = segment_label(answer.location.segment,
                                 context_.timeline.reader().segment(answer.location.segment));
  Investigation investigation(context_, answer.location,
                              answer.recording ? answer.recording->process : 0, query.time.event);
  if (query.all) {
    const bool named = answer.recording != nullptr && !query.recording.empty();
    investigation.find_all(named ? answer.recording->process : 0);
  } else if (answer.recording != nullptr) {
    ask_recording(answer, investigation, query);
  } else if (query.last) {
    investigation.find_last_writers();
    if (query.history > 0) investigation.add_history(query.history);
  }
  add_rows(answer, investigation, context_);
  if (!answer.rows.empty()) add_notes(answer, investigation, context_.timeline);
  if (answer.rows.empty() && answer.recording == nullptr) {
    answer.notes = answer.location.notes;
    answer.notes.push_back(query.last ? "no recording wrote these bytes"
                                      : "no recording accessed these bytes");
  }
  limit_rows(answer, query);
  return answer;
}

}  // namespace shmrec::recording
