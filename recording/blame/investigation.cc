#include "recording/blame/investigation.h"

#include <algorithm>

#include "recording/blame/access_order.h"
#include "recording/run/text.h"

namespace shmrec::recording {

using shmlog::kLineBytes;

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

}  // namespace

void Investigation::find_last_accesses() {
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

void Investigation::find_last_writes(uint64_t tsc) {
  for (const auto& [begin, end] : pieces()) {
    LineQuery query = line_query(begin, end);
    query.writes_only = true;
    LineQuery own = query;
    query.max_tsc = tsc;
    own.process = process_;
    own.max_event = event_;
    const auto by_clock = index_.newest(query), by_event = index_.newest(own);
    for (uint64_t byte = begin; byte < end; ++byte) {
      const auto id =
          newer(byte, not_later(byte, by_clock[byte - begin], query), by_event[byte - begin]);
      if (id) last_[byte] = *id;
    }
  }
}

std::optional<RecordId> Investigation::newer(uint64_t byte, const std::optional<RecordId>& a,
                                             const std::optional<RecordId>& b) {
  const Access* first = a ? load(*a) : nullptr;
  const Access* second = b ? load(*b) : nullptr;
  if (first == nullptr || second == nullptr) return first != nullptr ? a : b;
  return first->position(byte) < second->position(byte) ? b : a;
}

// The clock is coarse, and may put a write of the recording's own before an event that it follows.
std::optional<RecordId> Investigation::not_later(uint64_t byte, std::optional<RecordId> id,
                                                 LineQuery query) {
  query.begin = byte;
  query.end = byte + 1;
  for (const Access* access; id && (access = load(*id)) != nullptr;) {
    if (access->process != process_ || access->header.event <= event_) return id;
    query.before_version = access->position(byte).version;
    id = index_.newest(query)[0];
  }
  return id;
}

void Investigation::trace_back() {
  for (const auto& [byte, id] : last_) trace_byte(byte, id);
}

void Investigation::trace_forward() {
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

void Investigation::find_last_writers() {
  for (const auto& [begin, end] : pieces()) {
    LineQuery query = line_query(begin, end);
    query.writes_only = true;
    for (const auto& id : index_.newest(query))
      if (id) rows_.insert(*id);
  }
}

void Investigation::find_all(uint32_t process, uint64_t limit) {
  for (const auto& [begin, end] : pieces()) {
    LineQuery query = line_query(begin, end);
    query.process = process;
    query.max_event = process != 0 ? event_ : UINT64_MAX;
    for (const RecordId id : newest(query, limit, more_)) rows_.insert(id);
  }
}

void Investigation::find_later() {
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
    note("between the last access and what is there in the end, " +
         std::string(more_ ? "more than " : "") + with_separators(between) +
         " more writes: shmrec timeline lists them");
  }
}

void Investigation::add_history(uint64_t count) {
  bool more = false;
  std::vector<RecordId> found;
  for (const auto& [begin, end] : pieces()) {
    LineQuery query = line_query(begin, end);
    query.writes_only = true;
    query.before_version = oldest_version(begin, end);
    for (const RecordId id : newest(query, count, more)) found.push_back(id);
  }
  std::set<RecordId> fresh(found.begin(), found.end());
  for (const RecordId id : rows_) fresh.erase(id);
  std::vector<RecordId> order = ordered(fresh);
  const size_t kept = static_cast<size_t>(std::min<uint64_t>(count, order.size()));
  if (kept < order.size()) {
    note((more ? "more than " : "") + with_separators(order.size() - kept) +
         " earlier writes are not shown; --history all lists them");
  }
  rows_.insert(order.end() - static_cast<ptrdiff_t>(kept), order.end());
}

const Access* Investigation::load(RecordId id) {
  const auto [at, fresh] = loaded_.try_emplace(id);
  if (fresh) at->second = index_.load(id);
  return at->second ? &*at->second : nullptr;
}

std::vector<std::pair<uint64_t, uint64_t>> Investigation::pieces() const {
  return split_lines(location_.offset, location_.offset + location_.length);
}

LineQuery Investigation::line_query(uint64_t begin, uint64_t end) const {
  return LineQuery{.segment = location_.segment, .begin = begin, .end = end};
}

std::vector<RecordId> Investigation::newest(LineQuery query, uint64_t wanted, bool& more) const {
  if (wanted < UINT64_MAX - kMostCounted - 1) query.most = wanted + kMostCounted + 1;
  std::vector<RecordId> found = index_.all(query);
  if (found.size() < query.most) return found;
  more = true;
  found.erase(found.begin());
  return found;
}

void Investigation::note(const std::string& text) {
  if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) notes_.push_back(text);
}

void Investigation::trace_byte(uint64_t byte, RecordId last) {
  RecordId at = last;
  for (int steps = 0; steps <= kMaxInputSteps; ++steps) {
    rows_.insert(at);
    const Access* access = load(at);
    if (access == nullptr) return note("an access was overwritten while the log was read");
    const bool plain_write = !access->reads();
    if (plain_write && (at != last || access->process != process_)) return;
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

std::optional<RecordId> Investigation::source_of(uint64_t byte, const Access& access) {
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

std::set<RecordId> Investigation::find_others(uint64_t byte, const Access& access) {
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

std::optional<RecordId> Investigation::other_source(uint64_t byte, const Access& access,
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

bool Investigation::wrote(const std::optional<RecordId>& id, uint64_t byte, const Access& access) {
  const Access* write = id ? load(*id) : nullptr;
  return write != nullptr && write->writes() && write->covers(byte) &&
         byte_at(write->output, *write, byte) == byte_at(access.input, access, byte);
}

std::optional<RecordId> Investigation::write_before(uint64_t byte, const Access& access) {
  LineQuery query = line_query(byte, byte + 1);
  query.writes_only = true;
  const uint32_t line = access.line_index(byte);
  query.before_version = access.reads() ? access.read_versions[line] : access.write_versions[line];
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

void Investigation::clip(LineQuery& query) const {
  query.begin = std::max(query.begin, location_.offset);
  query.end = std::min(query.end, location_.offset + location_.length);
}

void Investigation::compare_values(uint64_t byte, RecordId write_id, RecordId read_id,
                                   const Access& read) {
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

void Investigation::note_unexplained(uint64_t byte, const Access& access) {
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

uint64_t Investigation::writes_between() {
  std::set<RecordId> between;
  for (const auto& [byte, id] : last_) {
    if (later_.empty()) break;
    const Access* seen = load(id);
    if (seen == nullptr) continue;
    LineQuery query = line_query(byte, byte + 1);
    query.writes_only = true;
    query.after_version = seen->position(byte).version - 1;
    for (const RecordId write : newest(query, 1, more_)) {
      const Access* access = load(write);
      if (access != nullptr && seen->position(byte) < access->position(byte)) between.insert(write);
    }
  }
  for (const RecordId id : later_) between.erase(id);
  for (const RecordId id : rows_) between.erase(id);
  return between.size();
}

void Investigation::add_readers(uint64_t byte, RecordId write_id) {
  const Access* write = load(write_id);
  if (write == nullptr) return;
  const uint64_t version = write->write_versions[write->line_index(byte)];
  for (const RecordId id : readers_of(byte, version)) rows_.insert(id);
}

// Looks at few versions first, and then at more and more: there may be millions after the answer.
std::vector<RecordId> Investigation::readers_of(uint64_t byte, uint64_t version) {
  constexpr uint64_t kFirstWidth = 64;
  LineQuery query = line_query(byte, byte + 1);
  query.after_version = version;
  std::vector<RecordId> readers;
  for (uint64_t width = kFirstWidth;; width *= 8) {
    const bool last = width > UINT64_MAX / 16 || query.after_version > UINT64_MAX / 2;
    query.before_version.reset();
    if (!last) query.before_version = query.after_version + width + 1;
    for (const RecordId id : index_.all(query)) {
      const Access* access = load(id);
      if (access == nullptr) continue;
      const uint32_t line = access->line_index(byte);
      if (access->reads() && access->read_versions[line] > version) readers.push_back(id);
      if (access->writes() && access->write_versions[line] > version) return readers;
    }
    if (last) return readers;
    query.after_version += width;
  }
}

std::optional<uint64_t> Investigation::oldest_version(uint64_t begin, uint64_t end) {
  std::optional<uint64_t> oldest;
  for (const RecordId id : rows_) {
    const Access* access = load(id);
    if (access == nullptr || access->header.offset >= end || access->end() <= begin) continue;
    const uint64_t version = access->position(std::max(begin, access->header.offset)).version;
    oldest = std::min(oldest.value_or(version), version);
  }
  return oldest;
}

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

}  // namespace shmrec::recording
