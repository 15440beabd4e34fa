#include "recording/log/shmlog_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace shmrec::recording {

using shmlog::Area;
using shmlog::ChunkHeader;
using shmlog::ChunkState;
using shmlog::EntryState;
using shmlog::JournalEntry;
using shmlog::RecordHeader;
using shmlog::RecordKind;
using shmlog::RecordState;
using shmlog::ShortRecord;

namespace {

constexpr uint32_t kEndOfChunk = shmlog::kChunkBytes;
constexpr uint32_t kMaxEntries = 1 << 16;  // of a table: no log is made with more
constexpr uint32_t kMaxRules = 1 << 16;  // far more than a policy has; in a hole they take no disk
constexpr uint64_t kMaxOffset = uint64_t{1} << 62;  // keeps offset + length from wrapping

// Copies `bytes` once: later checks see the copy, whatever a live writer does meanwhile.
void copy_untrusted(void* to, const uint8_t* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  asm volatile("" ::: "memory");
}

template <typename T>
T load(const uint8_t* from) {
  T value;
  copy_untrusted(&value, from, sizeof(value));
  return value;
}

uint64_t load_u64(const uint8_t* from) { return load<uint64_t>(from); }

bool entry_in_use(uint32_t state) {
  return state == static_cast<uint32_t>(EntryState::kLive) ||
         state == static_cast<uint32_t>(EntryState::kEnded);
}
bool entry_state_known(uint32_t state) {
  return state <= static_cast<uint32_t>(EntryState::kEnded);
}

// Usage entries have no state word: their process is written last.
uint32_t state_of(const shmlog::UsageEntry& usage) {
  if (usage.process == shmlog::kUsageClaimed) return static_cast<uint32_t>(EntryState::kClaimed);
  return static_cast<uint32_t>(usage.process != 0 ? EntryState::kLive : EntryState::kFree);
}
template <typename T>
uint32_t state_of(const T& entry) {
  return entry.state;
}

// Whose tables and journal fill up once.
constexpr bool is_old(uint32_t version) { return version < 3; }
// What of a header there was in each version; what follows is zero.
constexpr size_t least_header_bytes(uint32_t version) {
  return is_old(version) ? 576 : version < 7 ? 1600 : sizeof(shmlog::Header);
}

// What names the entry in the rest of the log: its place, but for processes and segments, whose
// entries are used again.
template <typename T>
uint32_t number_of(const T&, uint32_t place) {
  return place;
}
uint32_t number_of(const shmlog::ProcessEntry& entry, uint32_t place) {
  return entry.number != 0 ? entry.number : place;
}
uint32_t number_of(const shmlog::SegmentEntry& entry, uint32_t place) {
  return entry.number != 0 ? entry.number : place;
}

// The least that an entry must have: in older versions some were shorter; what they lack is zero.
template <typename T>
constexpr uint32_t least_bytes(uint32_t) {
  return sizeof(T);
}
template <>
constexpr uint32_t least_bytes<shmlog::ProcessEntry>(uint32_t version) {
  return is_old(version) ? 120 : sizeof(shmlog::ProcessEntry);
}
template <>
constexpr uint32_t least_bytes<shmlog::SegmentEntry>(uint32_t version) {
  constexpr uint32_t kLeast[] = {256, 352, 360, 384};
  return version <= 4 ? kLeast[version - 1] : sizeof(shmlog::SegmentEntry);
}
template <>
constexpr uint32_t least_bytes<shmlog::UsageEntry>(uint32_t version) {
  return version <= 3 ? 32 : sizeof(shmlog::UsageEntry);
}

// A journal entry before version 3, in units of its size.
struct OldJournalEntry {
  uint32_t magic;
  uint16_t units, type;
  uint32_t process, segment;
  uint64_t tsc, a, b, c, d;
  uint32_t text_bytes, event_low;
};
static_assert(sizeof(OldJournalEntry) == 64);

JournalEntry converted(const OldJournalEntry& old, uint32_t unit) {
  JournalEntry entry{};
  entry.magic = old.magic, entry.units = old.units, entry.type = old.type;
  entry.process = old.process, entry.segment = old.segment, entry.tsc = old.tsc;
  entry.a = old.a, entry.b = old.b, entry.c = old.c, entry.d = old.d;
  entry.text_bytes = old.text_bytes;
  entry.place = unit;
  entry.event = old.event_low;
  return entry;
}

template <typename T>
const T* find_numbered(const std::vector<Numbered<T>>& table, uint32_t index) {
  const auto at =
      std::lower_bound(table.begin(), table.end(), index,
                       [](const Numbered<T>& entry, uint32_t i) { return entry.index < i; });
  return at != table.end() && at->index == index ? &at->entry : nullptr;
}

bool chunk_readable(const ChunkHeader& header) {
  const uint32_t state = header.state & 0xFF;
  return header.magic == shmlog::kChunkMagic &&
         (state == static_cast<uint32_t>(ChunkState::kReady) ||
          state == static_cast<uint32_t>(ChunkState::kFull) ||
          state == static_cast<uint32_t>(ChunkState::kBusy));
}

const char* impossible(const RecordHeader& header) {
  if (header.length == 0 || header.length > shmlog::kMaxAccessBytes)
    return "access of an impossible length";
  return header.offset > kMaxOffset ? "access at an impossible offset" : nullptr;
}

}  // namespace

// ---- Records ------------------------------------------------------------------------------------

uint64_t RecordView::first_version(uint32_t line) const {
  return load_u64(body + uint64_t{line} * 8);
}

uint64_t RecordView::read_version(uint32_t line) const {
  if (between()) return write_version(line);
  return load_u64(body + uint64_t{line} * 8);
}

uint64_t RecordView::write_version(uint32_t line) const {
  if (between()) {
    const uint64_t last = load_u64(body + uint64_t{lines() + line} * 8);
    return last != 0 ? last : first_version(line);
  }
  const uint32_t skip = kind == RecordKind::kReadThenWrite ? lines() : 0;
  return load_u64(body + uint64_t{skip + line} * 8);
}

const uint8_t* RecordView::values() const {
  return body + uint64_t{lines()} * (shmlog::kind_has_two_versions(kind) ? 16 : 8);
}

std::span<const uint8_t> RecordView::input() const {
  return reads() ? std::span(values(), header.length) : std::span<const uint8_t>();
}

std::span<const uint8_t> RecordView::output() const {
  if (!writes()) return {};
  return std::span(values() + (has_two_values() ? header.length : 0), header.length);
}

std::vector<uint64_t> RecordView::callers() const {
  std::vector<uint64_t> words(shmlog::callers_of_flags(header.flags));
  for (size_t i = 0; i < words.size(); ++i) words[i] = load_u64(callers_at + i * 8);
  return words;
}

// Returns what is wrong with the record at `at`, nullptr if nothing. REQUIRES: its word is not
// zero.
const char* ChunkCopy::parse(uint32_t at, RecordView& record) const {
  const uint32_t commit = load<uint32_t>(&bytes_[at]);
  const uint32_t kind = commit >> 16 & 0xFF;
  const uint32_t state = commit >> 24;
  record.at = at;
  record.bytes = (commit & 0xFFFF) * 8;
  record.body = record.callers_at = nullptr;
  if (kind == 0 || kind > shmlog::kLastRecordKind) return "record of unknown kind";
  if (state == 0 || state > static_cast<uint32_t>(RecordState::kInferred))
    return "record of unknown state";
  if (record.bytes > bytes_after(at)) return "record reaches past its chunk";
  record.kind = static_cast<RecordKind>(kind);
  record.state = static_cast<RecordState>(state);
  if (record.is_clock()) {
    if (record.bytes != sizeof(shmlog::ClockRecord)) return "clock record of a wrong size";
    record.header = RecordHeader{};
    record.header.commit = commit;
    record.clock_tsc = load_u64(&bytes_[at + 8]);
    return nullptr;
  }
  if (record.kind == RecordKind::kPlace) return parse_place(record);
  return shmlog::kind_is_short(record.kind) ? parse_short(record) : parse_long(record);
}

// These three: the rest of parse(), which has set `at`, `bytes`, `kind` and `state`.
const char* ChunkCopy::parse_long(RecordView& record) const {
  if (record.bytes < sizeof(RecordHeader)) return "record shorter than its header";
  record.header = load<RecordHeader>(&bytes_[record.at]);
  const RecordHeader& header = record.header;
  if (const char* wrong = impossible(header)) return wrong;
  const uint32_t callers = shmlog::callers_of_flags(header.flags);
  if (shmlog::record_bytes(record.kind, header.offset, header.length, callers) > record.bytes)
    return "record too short for its values";
  record.body = &bytes_[record.at + sizeof(RecordHeader)];
  record.callers_at = bytes_.data() + record.at + record.bytes - callers * 8;
  return nullptr;
}

const char* ChunkCopy::parse_place(RecordView& record) const {
  if (record.state != RecordState::kCommitted) return "place that is not committed";
  if (record.bytes < sizeof(RecordHeader)) return "place shorter than its header";
  record.header = load<RecordHeader>(&bytes_[record.at]);
  const uint32_t callers = shmlog::callers_of_flags(record.header.flags);
  if (shmlog::place_record_bytes(callers) > record.bytes) return "place too short for its callers";
  record.callers_at = bytes_.data() + record.at + record.bytes - callers * 8;
  return nullptr;
}

const char* ChunkCopy::parse_short(RecordView& record) const {
  if (record.bytes < sizeof(ShortRecord)) return "record shorter than its header";
  const auto in_short = load<ShortRecord>(&bytes_[record.at]);
  const uint32_t place_at = shmlog::short_place(in_short.event_place);
  if (place_at < sizeof(ChunkHeader) || place_at >= record.at)
    return "short record whose place is not before it";
  const uint32_t kind = load<uint32_t>(&bytes_[place_at]) >> 16 & 0xFF;
  RecordView place;
  if (kind != static_cast<uint32_t>(RecordKind::kPlace) || parse(place_at, place) != nullptr)
    return "short record without a place where it names one";
  if (place.bytes > record.at - place_at) return "short record whose place reaches into it";
  record.header = place.header;
  RecordHeader& header = record.header;
  header.commit = in_short.commit;
  header.offset += in_short.offset;
  header.address += in_short.offset;
  header.event = shmlog::short_event(in_short.event_place);
  if (const char* wrong = impossible(header)) return wrong;
  if (shmlog::lines_touched(header.offset, header.length) != 1)
    return "short record of more than one line";
  if (shmlog::short_record_bytes(record.kind, header.length) > record.bytes)
    return "record too short for its values";
  record.kind = shmlog::long_kind(record.kind);
  record.body = &bytes_[record.at + sizeof(ShortRecord)];
  record.callers_at = place.callers_at;
  return nullptr;
}

// Is there no record at `at`, nor room for one?
bool ChunkCopy::ends_at(uint32_t at) const {
  return at > bytes_.size() || bytes_after(at) < sizeof(shmlog::ClockRecord) ||
         load<uint32_t>(&bytes_[at]) == 0;
}

bool ChunkCopy::next(uint32_t& at, RecordView& record) const {
  if (at == 0) at = sizeof(ChunkHeader);
  while (!ends_at(at)) {
    if (parse(at, record) != nullptr) return false;
    at += record.bytes;
    if (record.kind != RecordKind::kPlace) return true;
  }
  return false;
}

const char* ChunkCopy::damage_at(uint32_t at) const {
  if (at > bytes_.size() || bytes_after(at) < sizeof(shmlog::ClockRecord)) {
    return bytes_.size() < kEndOfChunk ? "chunk cut off by the end of the file" : nullptr;
  }
  RecordView ignored;
  return load<uint32_t>(&bytes_[at]) == 0 ? nullptr : parse(at, ignored);
}

// ---- Opening ------------------------------------------------------------------------------------

ShmlogReader::ShmlogReader(std::span<const uint8_t> bytes, bool owns_mapping)
    : bytes_(bytes), owns_mapping_(owns_mapping) {}

ShmlogReader::~ShmlogReader() {
  if (owns_mapping_) munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
}

Result<std::unique_ptr<ShmlogReader>> ShmlogReader::open(const std::string& path) {
  return open_file(path, {});
}

Result<std::unique_ptr<ShmlogReader>> ShmlogReader::open_file(const std::string& path,
                                                              const ReadChoice& choice) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Error{path + ": " + std::strerror(errno)};
  struct stat status {};
  void* mapping = MAP_FAILED;
  const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = static_cast<size_t>(status.st_size);
  if (regular && size > 0) mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int map_errno = errno;
  close(fd);
  if (!regular) return Error{path + ": not a regular file; expected a shared-memory log"};
  if (size == 0) return Error{path + ": empty; expected a shared-memory log"};
  if (mapping == MAP_FAILED) return system_error(path, map_errno);
  auto bytes = std::span(static_cast<const uint8_t*>(mapping), size);
  std::unique_ptr<ShmlogReader> reader(new ShmlogReader(bytes, true));
  const Result<> loaded = reader->load(path, choice);
  if (!loaded) return loaded.error();
  return reader;
}

Result<std::unique_ptr<ShmlogReader>> ShmlogReader::open_in_parts(
    const std::string& path, const std::vector<ChunkInfo>& heads,
    std::shared_ptr<const ChunkSource> chunks) {
  auto reader = open_file(path, {.in_parts = true});
  if (!reader) return reader;
  (*reader)->source_ = std::move(chunks);
  for (const ChunkInfo& head : heads) (*reader)->add_chunk(head, true);
  (*reader)->sort_chunks();
  return reader;
}

Result<std::unique_ptr<ShmlogReader>> ShmlogReader::from_memory(std::span<const uint8_t> bytes,
                                                                const std::string& name,
                                                                const ReadChoice& choice) {
  std::unique_ptr<ShmlogReader> reader(new ShmlogReader(bytes, false));
  const Result<> loaded = reader->load(name, choice);
  if (!loaded) return loaded.error();
  return reader;
}

Result<> ShmlogReader::load(const std::string& name, const ReadChoice& choice) {
  if (bytes_.size() < sizeof(shmlog::Header)) {
    return Error{name + ": " + std::to_string(bytes_.size()) +
                 " bytes; a shared-memory log has a header of " +
                 std::to_string(sizeof(shmlog::Header))};
  }
  copy_untrusted(&header_, bytes_.data(), sizeof(header_));
  if (std::memcmp(header_.magic, shmlog::kMagic, sizeof(shmlog::kMagic)) != 0) {
    return Error{name + ": not a shared-memory log (expected it to begin with SHMRLOG1)"};
  }
  if (header_.version < shmlog::kOldestVersion || header_.version > shmlog::kVersion) {
    return Error{name + ": shared-memory log of version " + std::to_string(header_.version) +
                 "; this program reads versions " + std::to_string(shmlog::kOldestVersion) +
                 " to " + std::to_string(shmlog::kVersion)};
  }
  const size_t least = least_header_bytes(header_.version);
  if (header_.header_bytes < least) {
    return Error{name + ": header of " + std::to_string(header_.header_bytes) +
                 " bytes; expected at least " + std::to_string(least)};
  }
  if (bytes_.size() < header_.file_bytes)
    add_damage("file is shorter than its header says", 1, header_.file_bytes - bytes_.size());
  load_tables();
  load_journal(choice);
  if (!choice.in_parts) load_chunks(choice);
  return Unit{};
}

void ShmlogReader::add_damage(const std::string& reason, uint64_t count, uint64_t bytes) {
  for (Damage& known : damage_) {
    if (known.reason != reason) continue;
    known.count += count;
    known.bytes += bytes;
    return;
  }
  damage_.push_back({reason, count, bytes});
}

// How many of the first `limit` entries of an area lie inside the file with a size we can read.
template <typename T>
uint32_t ShmlogReader::usable_entries(const Area& area, uint32_t limit, const char* what) {
  const uint32_t wanted = std::min(limit, area.count);
  if (wanted == 0) return 0;
  if (area.entry_bytes < least_bytes<T>(header_.version) || area.offset > bytes_.size()) {
    add_damage(std::string(what) + " outside the file or of a wrong entry size", 1, 0);
    return 0;
  }
  const uint64_t there = (bytes_.size() - area.offset) / area.entry_bytes;
  if (there >= wanted) return wanted;
  add_damage(std::string(what) + " cut off by the end of the file", wanted - there, 0);
  return static_cast<uint32_t>(there);
}

template <typename T>
void ShmlogReader::load_table(const Area& area, uint32_t next, const char* what,
                              std::vector<Numbered<T>>& into) {
  if (std::min(next, area.count) > kMaxEntries)
    add_damage(std::string(what) + " beyond what any log has",
               std::min(next, area.count) - kMaxEntries, 0);
  const uint32_t count = usable_entries<T>(area, std::min(next, kMaxEntries), what);
  for (uint32_t i = 1; i < count; ++i) {
    T entry{};
    copy_untrusted(&entry, &bytes_[area.offset + uint64_t{i} * area.entry_bytes],
                   std::min<size_t>(area.entry_bytes, sizeof(T)));
    const uint32_t state = state_of(entry);
    if (entry_in_use(state)) into.push_back({number_of(entry, i), entry});
    if (!entry_state_known(state))
      add_damage(std::string(what) + " with an unknown state", 1, sizeof(T));
  }
  // By number; of a hostile log's two with one number the first counts.
  std::stable_sort(into.begin(), into.end(),
                   [](const auto& a, const auto& b) { return a.index < b.index; });
  into.erase(std::unique(into.begin(), into.end(),
                         [](const auto& a, const auto& b) { return a.index == b.index; }),
             into.end());
}

void ShmlogReader::load_tables() {
  const uint32_t rules =
      usable_entries<shmlog::PolicyRule>(header_.rules, kMaxRules, "policy rules");
  for (uint32_t i = 0; i < rules; ++i) {
    const uint64_t at = header_.rules.offset + uint64_t{i} * header_.rules.entry_bytes;
    rules_.push_back(recording::load<shmlog::PolicyRule>(&bytes_[at]));
  }
  load_table(header_.processes, header_.next_process, "process entries", processes_);
  load_table(header_.lanes, header_.next_lane, "lane entries", lanes_);
  load_table(header_.segments, header_.next_segment, "segment entries", segments_);
  load_table(header_.usage, header_.next_usage, "usage entries", usage_);
  const Area& stripes = header_.stripes;
  const bool power_of_two = stripes.count != 0 && (stripes.count & (stripes.count - 1)) == 0;
  const bool whole = usable_entries<uint64_t>(stripes, UINT32_MAX, "stripes") == stripes.count;
  if (!power_of_two || !whole || stripes.entry_bytes != sizeof(uint64_t)) {
    add_damage("stripe table unusable: accesses in flight cannot be told from finished ones", 1, 0);
    header_.stripes.count = 0;
  }
}

void ShmlogReader::load_journal(const ReadChoice& choice) {
  const Area& area = header_.journal;
  const uint32_t unit_bytes =
      is_old(header_.version) ? sizeof(OldJournalEntry) : shmlog::kJournalUnitBytes;
  if (area.count != 0 && area.entry_bytes != unit_bytes) {
    return add_damage("journal of a wrong unit size", 1, 0);
  }
  // Once the head has come round, all of the area has been handed out.
  const uint64_t handed_out = std::min<uint64_t>(header_.journal_units, area.count);
  const uint64_t there =
      area.offset > bytes_.size() ? 0 : (bytes_.size() - area.offset) / unit_bytes;
  const auto units = static_cast<uint32_t>(std::min(handed_out, there));
  if (units < handed_out)
    add_damage("journal units cut off by the end of the file", handed_out - units, 0);
  if (is_old(header_.version))
    load_old_journal(units, choice);
  else
    load_journal_ring(units, choice);
}

// Keeps the entry if it is wanted. `kept`: bytes of those that are.
void ShmlogReader::keep_journal(const JournalEntry& entry, const uint8_t* text,
                                const ReadChoice& choice, uint64_t& kept) {
  const bool all =
      choice.journal_types == UINT64_MAX;  // also those that this version does not know
  if (!all && (entry.type >= 64 || (choice.journal_types >> entry.type & 1) == 0)) return;
  const uint64_t bytes = sizeof(entry) + entry.text_bytes;
  if (bytes > choice.journal_bytes - kept) {
    ++journal_left_out_;
    return;
  }
  kept += bytes;
  journal_.push_back({entry.place, entry, std::string(entry.text_bytes, '\0')});
  copy_untrusted(journal_.back().text.data(), text, entry.text_bytes);
}

void ShmlogReader::load_old_journal(uint32_t units, const ReadChoice& choice) {
  uint64_t kept = 0;
  for (uint32_t unit = 0; unit < units;) {
    const uint8_t* at = &bytes_[header_.journal.offset + uint64_t{unit} * sizeof(OldJournalEntry)];
    const auto entry = recording::load<OldJournalEntry>(at);
    const uint64_t room = uint64_t{entry.units} * sizeof(OldJournalEntry) - sizeof(OldJournalEntry);
    const bool sound = entry.magic == shmlog::kJournalMagic && entry.units > 0 &&
                       entry.units <= units - unit && entry.text_bytes <= room;
    if (!sound) {
      add_damage(entry.magic == 0
                     ? "journal units not written (their process was killed or still running)"
                     : "journal units damaged",
                 1, sizeof(OldJournalEntry));
      ++unit;
      continue;
    }
    keep_journal(converted(entry, unit), at + sizeof(OldJournalEntry), choice, kept);
    unit += entry.units;
  }
}

// The entry at a unit with its text, nullptr if no sound one is there. The copy
// is what is checked.
const JournalEntry* ShmlogReader::ring_entry(uint32_t unit, uint32_t units,
                                             std::vector<uint8_t>& copy) const {
  const uint8_t* at = &bytes_[header_.journal.offset + uint64_t{unit} * shmlog::kJournalUnitBytes];
  if (units - unit < shmlog::kJournalHeadUnits) return nullptr;
  const auto head = recording::load<JournalEntry>(at);
  if (!shmlog::journal_fits(head, units - unit)) return nullptr;
  copy.resize(uint64_t{head.units} * shmlog::kJournalUnitBytes);
  copy_untrusted(copy.data(), at, copy.size());
  const auto* entry = reinterpret_cast<const JournalEntry*>(copy.data());
  const bool sound =
      entry->units == head.units && entry->text_bytes == head.text_bytes &&
      entry->magic == head.magic &&
      shmlog::journal_sum(copy.data(), static_cast<uint32_t>(copy.size())) == entry->sum;
  return sound ? entry : nullptr;
}

// All sound entries, wherever they lie: in the order in which they were first
// written, one of each. Behind the head lies what is left of an entry that was
// written over in part; beyond that, units without an entry are damage.
void ShmlogReader::load_journal_ring(uint32_t units, const ReadChoice& choice) {
  uint64_t kept = 0;
  const bool round = header_.journal_units > units;
  const uint64_t head = units == 0 ? 0 : header_.journal_units % units;
  uint64_t torn = 0;
  std::vector<uint8_t> copy;
  for (uint32_t unit = 0; unit < units;) {
    if (const JournalEntry* entry = ring_entry(unit, units, copy)) {
      unit += entry->units;
      if (static_cast<shmlog::JournalType>(entry->type) != shmlog::JournalType::kNothing)
        keep_journal(*entry, copy.data() + sizeof(*entry), choice, kept);
      continue;
    }
    const bool end = units - unit < shmlog::kJournalHeadUnits && units == header_.journal.count;
    const bool cut = round && unit >= head && unit - head < shmlog::kMaxJournalUnits;
    if (!end && !cut) ++torn;
    ++unit;
  }
  if (torn > 0) {
    add_damage("journal units without a sound entry (their writer was killed or is at it)", torn,
               torn * shmlog::kJournalUnitBytes);
  }
  std::stable_sort(journal_.begin(), journal_.end(),
                   [](const JournalItem& a, const JournalItem& b) { return a.place < b.place; });
  journal_.erase(
      std::unique(journal_.begin(), journal_.end(),
                  [](const JournalItem& a, const JournalItem& b) { return a.place == b.place; }),
      journal_.end());
}

void ShmlogReader::load_chunks(const ReadChoice& choice) {
  const Area& area = header_.chunks;
  if (area.count == 0) return;
  if (area.entry_bytes != shmlog::kChunkBytes || area.offset > bytes_.size()) {
    return add_damage("chunks outside the file or of a wrong size", 1, 0);
  }
  for (uint32_t i = 0; i < area.count; ++i) {
    const uint64_t at = area.offset + uint64_t{i} * shmlog::kChunkBytes;
    if (at + sizeof(ChunkHeader) > bytes_.size()) {
      add_damage("chunks cut off by the end of the file", area.count - i, 0);
      break;
    }
    add_chunk({i, choice.chunk_header ? choice.chunk_header(at)
                                      : recording::load<ChunkHeader>(&bytes_[at])},
              choice.chunks);
  }
  sort_chunks();
}

void ShmlogReader::add_chunk(const ChunkInfo& chunk, bool keep) {
  if (chunk_readable(chunk.header)) {
    if (keep) chunks_.push_back(chunk);
  } else if (chunk.header.magic != 0 || chunk.header.state != 0) {
    add_damage("chunks being claimed or damaged", 1, shmlog::kChunkBytes);
  }
}

void ShmlogReader::sort_chunks() {
  std::sort(chunks_.begin(), chunks_.end(), [](const ChunkInfo& a, const ChunkInfo& b) {
    return a.header.ticket != b.header.ticket ? a.header.ticket < b.header.ticket
                                              : a.index < b.index;
  });
}

// ---- Queries ------------------------------------------------------------------------------------

bool ShmlogReader::history_lost() const {
  return loss(shmlog::Loss::kRecordsOverwritten) != 0 ||
         loss(shmlog::Loss::kChunksOverwritten) != 0 || loss(shmlog::Loss::kRecordsDropped) != 0 ||
         loss(shmlog::Loss::kLanesDropped) != 0 || loss(shmlog::Loss::kProcessesDropped) != 0 ||
         bytes_.size() < header_.file_bytes;
}

const shmlog::ProcessEntry* ShmlogReader::process(uint32_t index) const {
  return find_numbered(processes_, index);
}

const shmlog::SegmentEntry* ShmlogReader::segment(uint32_t index) const {
  return find_numbered(segments_, index);
}

uint64_t ShmlogReader::stripe_word(uint32_t segment, uint64_t offset) const {
  if (header_.stripes.count == 0) return 0;
  const uint64_t stripe = shmlog::stripe_of(segment, offset, header_.stripes.count);
  return load_u64(&bytes_[header_.stripes.offset + stripe * sizeof(uint64_t)]);
}

bool ShmlogReader::copy_chunk(uint32_t index, std::span<const uint8_t> bytes, ChunkCopy& copy) {
  copy.bytes_.assign(bytes.begin(), bytes.end());
  copy.info_ = {index, recording::load<ChunkHeader>(copy.bytes_.data())};
  return chunk_readable(copy.info_.header);
}

bool ShmlogReader::copy_chunk(const ChunkInfo& chunk, ChunkCopy& copy) const {
  if (source_) {
    copy.info_ = chunk;
    copy.bytes_.resize(shmlog::kChunkBytes);
    return source_->read_chunk(chunk.index, copy.bytes_) &&
           std::memcmp(copy.bytes_.data(), &chunk.header, sizeof(ChunkHeader)) == 0;
  }
  const uint64_t at = header_.chunks.offset + uint64_t{chunk.index} * shmlog::kChunkBytes;
  const uint64_t bytes = std::min<uint64_t>(shmlog::kChunkBytes, bytes_.size() - at);
  copy.info_ = chunk;
  copy.bytes_.resize(bytes);
  copy_untrusted(copy.bytes_.data(), &bytes_[at], bytes);
  const auto now = recording::load<ChunkHeader>(&bytes_[at]);
  return chunk_readable(now) && now.ticket == chunk.header.ticket;
}

Outcome ShmlogReader::outcome(const ChunkInfo& chunk, const RecordView& record) const {
  if (record.state == RecordState::kCommitted) return Outcome::kDone;
  if (record.state == RecordState::kAborted) return Outcome::kNotDone;
  if (record.between()) return Outcome::kInferred;  // its thread died in the call, or is in it
  const uint32_t lines = record.lines();
  uint32_t filled = 0;
  for (uint32_t i = 0; i < lines; ++i) {
    const uint64_t version = record.writes() ? record.write_version(i) : record.read_version(i);
    const uint64_t word =
        stripe_word(record.header.segment, record.header.offset + uint64_t{i} * shmlog::kLineBytes);
    const bool held = shmlog::stripe_locked(word) && shmlog::stripe_lane(word) == chunk.header.lane;
    if (record.state == RecordState::kBegun && record.writes() && held &&
        version == shmlog::stripe_version(word) + 1) {
      return Outcome::kInFlight;
    }
    filled += version != 0;
  }
  if (filled == 0) return Outcome::kNotDone;
  if (record.state == RecordState::kInferred) return Outcome::kInferred;
  return filled == lines ? Outcome::kDone : Outcome::kPartial;
}

double ShmlogReader::seconds_since_start(uint64_t tsc) const {
  if (header_.tsc_hz == 0) return 0;
  return static_cast<double>(static_cast<int64_t>(tsc - header_.start_tsc)) /
         static_cast<double>(header_.tsc_hz);
}

}  // namespace shmrec::recording
