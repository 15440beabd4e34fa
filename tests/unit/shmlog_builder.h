// Builds shared-memory logs in memory for tests: a model of memory and of stripe versions that
// writes the records the agent would write. Small: the tables hold a handful of entries.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "recording/log/shmlog_format.h"
#include "tests/unit/journal_bytes.h"
#include "tests/unit/short_records.h"

namespace shmrec::testing {

struct AccessOptions {
  uint64_t pc = 0x401000;
  uint16_t syscall = 0;  // number + 1
  uint16_t flags = 0;
  shmlog::RecordState state = shmlog::RecordState::kCommitted;
  uint64_t event = 0;  // 0: the process's next
  std::vector<uint64_t> callers = {};
};

struct ProcessOptions {
  uint32_t id_high = 0, id_low = 0;
  int32_t pid = 0;
  std::string name = "program";
  shmlog::StartKind start = shmlog::StartKind::kExec;
  uint32_t parent = 0;
  std::string executable = "/bin/program";
};

class ShmlogBuilder {
 public:
  static constexpr uint32_t kEntries = 8;
  static constexpr uint32_t kStripes = 64;
  static constexpr uint32_t kUnits = 512;

  explicit ShmlogBuilder(uint32_t chunks = 4) : chunk_count_(chunks) {
    header_.version = shmlog::kVersion;
    header_.header_bytes = sizeof(header_);
    header_.run_id = 0x1122334455667788;
    header_.start_tsc = 1000;
    header_.tsc_hz = 1'000'000'000;
    header_.default_mode = static_cast<uint32_t>(shmlog::SegmentMode::kTrace);
    header_.default_order = static_cast<uint32_t>(shmlog::Order::kExact);
    header_.next_process = header_.next_lane = header_.next_segment = header_.next_usage = 1;
    std::memcpy(header_.build, "test", 4);
    uint64_t at = 4096;
    const auto take = [&](uint32_t count, uint32_t entry) {
      const shmlog::Area area{at, count, entry};
      at += uint64_t{count} * entry;
      return area;
    };
    header_.rules = take(0, sizeof(shmlog::PolicyRule));
    header_.stripes = take(kStripes, 8);
    header_.processes = take(kEntries, sizeof(shmlog::ProcessEntry));
    header_.lanes = take(kEntries, sizeof(shmlog::LaneEntry));
    header_.segments = take(kEntries, sizeof(shmlog::SegmentEntry));
    header_.usage = take(kEntries, sizeof(shmlog::UsageEntry));
    header_.journal = take(kUnits, shmlog::kJournalUnitBytes);
    header_.chunks = take(chunks, shmlog::kChunkBytes);
    header_.file_bytes = at;
    bytes_.resize(at);
  }

  shmlog::Header& header() { return header_; }
  shmlog::ProcessEntry& process(uint32_t i) {
    return at<shmlog::ProcessEntry>(header_.processes, i);
  }
  shmlog::LaneEntry& lane(uint32_t i) { return at<shmlog::LaneEntry>(header_.lanes, i); }
  shmlog::SegmentEntry& segment(uint32_t i) {
    return at<shmlog::SegmentEntry>(header_.segments, i);
  }
  shmlog::UsageEntry& usage(uint32_t i) { return at<shmlog::UsageEntry>(header_.usage, i); }
  uint64_t& stripe(uint32_t segment, uint64_t offset) {
    return at<uint64_t>(header_.stripes, shmlog::stripe_of(segment, offset, kStripes));
  }
  shmlog::ChunkHeader& chunk(uint32_t i) { return at<shmlog::ChunkHeader>(header_.chunks, i); }
  uint64_t chunk_offset(uint32_t i) const {
    return header_.chunks.offset + uint64_t{i} * shmlog::kChunkBytes;
  }
  shmlog::RecordHeader& record(uint64_t file_offset) {
    return *reinterpret_cast<shmlog::RecordHeader*>(&bytes_[file_offset]);
  }
  uint64_t last_record() const { return last_record_; }  // file offset

  // A process with one lane of the same number.
  uint32_t add_process(const ProcessOptions& options) {
    const uint32_t i = header_.next_process++;
    header_.next_lane = std::max(header_.next_lane, i + 1);
    shmlog::ProcessEntry& entry = process(i);
    entry.state = static_cast<uint32_t>(shmlog::EntryState::kLive);
    entry.number = i;
    entry.id_high = options.id_high;
    entry.id_low = options.id_low;
    entry.pid = options.pid;
    entry.parent = options.parent;
    entry.start_kind = static_cast<uint32_t>(options.start);
    entry.start_tsc = tick();
    options.name.copy(entry.name, sizeof(entry.name) - 1);
    lane(i).state = static_cast<uint32_t>(shmlog::EntryState::kLive);
    lane(i).process = i;
    lane(i).pid = lane(i).tid = options.pid;
    add_journal(shmlog::JournalType::kProcessStart, i, 0, {}, options.executable);
    return i;
  }

  uint32_t add_segment(shmlog::SegmentKind kind, const std::string& name, uint64_t bytes = 4096) {
    const uint32_t i = header_.next_segment++;
    shmlog::SegmentEntry& entry = segment(i);
    entry.state = static_cast<uint32_t>(shmlog::EntryState::kLive);
    entry.kind = static_cast<uint32_t>(kind);
    entry.extent_bytes = bytes;
    entry.mode = static_cast<uint32_t>(shmlog::SegmentMode::kTrace);
    entry.order = static_cast<uint32_t>(shmlog::Order::kExact);
    name.copy(entry.name, sizeof(entry.name) - 1);
    memory_[i].resize(bytes);
    return i;
  }

  void add_journal(shmlog::JournalType type, uint32_t process_index, uint32_t segment_index,
                   std::vector<uint64_t> values, const std::string& text = "") {
    values.resize(4);
    shmlog::JournalEntry entry{};
    entry.type = static_cast<uint16_t>(type);
    entry.process = process_index;
    entry.segment = segment_index;
    entry.tsc = tick();
    entry.a = values[0], entry.b = values[1], entry.c = values[2], entry.d = values[3];
    entry.event = process_index != 0 ? process(process_index).events : 0;
    const std::vector<uint8_t> bytes = journal_bytes(entry, header_.journal_units, text);
    std::memcpy(&bytes_[journal_offset(header_.journal_units)], bytes.data(), bytes.size());
    header_.journal_units += bytes.size() / shmlog::kJournalUnitBytes;
  }
  // In the file, of the entry at a place.
  uint64_t journal_offset(uint64_t place) const {
    return header_.journal.offset + place * shmlog::kJournalUnitBytes;
  }

  void map_segment(uint32_t process_index, uint32_t segment_index, uint64_t address,
                   uint64_t bytes = 4096, uint64_t offset = 0) {
    base_[{process_index, segment_index}] = address - offset;
    add_journal(shmlog::JournalType::kSegmentMap, process_index, segment_index,
                {address, bytes, offset, 3});
  }
  // For forked processes, which inherit silently.
  void inherit_map(uint32_t process_index, uint32_t segment_index, uint64_t address) {
    base_[{process_index, segment_index}] = address;
  }
  void add_module(uint32_t process_index, const std::string& path, uint64_t base, uint64_t bytes,
                  uint64_t offset) {
    add_journal(shmlog::JournalType::kModule, process_index, 0, {base, bytes, offset, 0}, path);
  }

  void write(uint32_t lane_index, uint32_t seg, uint64_t offset, std::vector<uint8_t> value,
             AccessOptions o = {}) {
    emit(shmlog::RecordKind::kWrite, lane_index, seg, offset, value, o);
  }
  void read(uint32_t lane_index, uint32_t seg, uint64_t offset, uint32_t length,
            AccessOptions o = {}) {
    emit(shmlog::RecordKind::kRead, lane_index, seg, offset, std::vector<uint8_t>(length), o);
  }
  void read_write(uint32_t lane_index, uint32_t seg, uint64_t offset, std::vector<uint8_t> value,
                  AccessOptions o = {}) {
    emit(shmlog::RecordKind::kReadWrite, lane_index, seg, offset, value, o);
  }
  void read_then_write(uint32_t lane_index, uint32_t seg, uint64_t offset,
                       std::vector<uint8_t> value, AccessOptions o = {}) {
    emit(shmlog::RecordKind::kReadThenWrite, lane_index, seg, offset, value, o);
  }
  // By descriptor: at some moment since `span` versions ago.
  void write_between(uint32_t lane_index, uint32_t seg, uint64_t offset, std::vector<uint8_t> value,
                     uint64_t span, AccessOptions o = {}) {
    span_ = span;
    emit(shmlog::RecordKind::kWriteBetween, lane_index, seg, offset, value, o);
  }
  void read_between(uint32_t lane_index, uint32_t seg, uint64_t offset, uint32_t length,
                    uint64_t span, AccessOptions o = {}) {
    span_ = span;
    emit(shmlog::RecordKind::kReadBetween, lane_index, seg, offset, std::vector<uint8_t>(length),
         o);
  }
  void unrecorded_write(uint32_t seg, uint64_t offset, const std::vector<uint8_t>& value) {
    std::copy(value.begin(), value.end(), memory_[seg].begin() + static_cast<ptrdiff_t>(offset));
  }
  // Whether accesses that can be are said by short records from now on.
  void set_short(bool on) { short_ = on; }
  void clock(uint32_t lane_index) {
    const shmlog::ClockRecord record = {
        shmlog::commit_word(16, shmlog::RecordKind::kClock, shmlog::RecordState::kCommitted), 0,
        tick()};
    append(lane_index, &record, sizeof(record));
  }
  // The lane's next record starts a new chunk.
  void end_chunk(uint32_t lane_index) {
    if (cursor_.count(lane_index) == 0) return;
    chunk(cursor_[lane_index].chunk).state = static_cast<uint32_t>(shmlog::ChunkState::kFull);
    cursor_.erase(lane_index);
  }

  std::vector<uint8_t> build() {
    std::memcpy(header_.magic, shmlog::kMagic, sizeof(header_.magic));
    std::memcpy(bytes_.data(), &header_, sizeof(header_));
    return bytes_;
  }
  // Without the unused end of the last chunk, for small corpora.
  std::vector<uint8_t> build_short() {
    std::vector<uint8_t> all = build();
    while (all.size() > header_.chunks.offset && all.back() == 0) all.pop_back();
    all.resize(all.size() + 8);
    return all;
  }

  uint64_t tick() { return tsc_ += 100; }
  void set_time(uint64_t tsc) { tsc_ = tsc; }

 private:
  struct Cursor {
    uint32_t chunk;
    uint64_t at;
    Places places = {};
  };

  template <typename T>
  T& at(const shmlog::Area& area, uint32_t i) {
    return *reinterpret_cast<T*>(&bytes_[area.offset + uint64_t{i} * area.entry_bytes]);
  }

  Cursor& cursor_of(uint32_t lane_index) {
    const auto found = cursor_.find(lane_index);
    if (found != cursor_.end()) return found->second;
    return cursor_.emplace(lane_index, new_chunk(lane_index)).first->second;
  }

  // The lane's chunk, which has so much room.
  Cursor& room_for(uint32_t lane_index, size_t bytes) {
    const Cursor& cursor = cursor_of(lane_index);
    if (cursor.at + bytes > chunk_offset(cursor.chunk) + shmlog::kChunkBytes) end_chunk(lane_index);
    return cursor_of(lane_index);
  }

  void append(uint32_t lane_index, const void* data, size_t bytes) {
    Cursor& cursor = room_for(lane_index, bytes);
    last_record_ = cursor.at;
    std::memcpy(&bytes_[cursor.at], data, bytes);
    cursor.at += bytes;
  }

  void append_short(uint32_t lane_index, const std::vector<uint8_t>& record) {
    room_for(lane_index, record.size() + sizeof(shmlog::RecordHeader));
    Cursor& cursor = cursor_of(lane_index);
    const ShortForm form = cursor.places.shorten(
        record, static_cast<uint32_t>(cursor.at - chunk_offset(cursor.chunk)));
    if (!form.place.empty()) append(lane_index, form.place.data(), form.place.size());
    append(lane_index, form.record.data(), form.record.size());
  }

  Cursor new_chunk(uint32_t lane_index) {
    const uint64_t ticket = header_.next_ticket++;
    const auto index = static_cast<uint32_t>(ticket % chunk_count_);
    if (ticket >= chunk_count_) {
      ++header_.losses[static_cast<uint32_t>(shmlog::Loss::kChunksOverwritten)];
      ++header_.losses[static_cast<uint32_t>(shmlog::Loss::kRecordsOverwritten)];
      std::memset(&bytes_[chunk_offset(index)], 0, shmlog::kChunkBytes);
    }
    shmlog::ChunkHeader& header = chunk(index);
    header.magic = shmlog::kChunkMagic;
    header.state = static_cast<uint32_t>(shmlog::ChunkState::kReady) | lane_index << 8;
    header.ticket = ticket;
    header.process = lane(lane_index).process;
    header.lane = lane_index;
    header.pid = header.tid = lane(lane_index).pid;
    header.start_tsc = tick();
    return {index, chunk_offset(index) + sizeof(header)};
  }

  void emit(shmlog::RecordKind kind, uint32_t lane_index, uint32_t seg, uint64_t offset,
            const std::vector<uint8_t>& value, const AccessOptions& o) {
    using shmlog::RecordKind;
    const auto length = static_cast<uint32_t>(value.size());
    const auto callers = static_cast<uint32_t>(o.callers.size());
    const uint32_t size = shmlog::record_bytes(kind, offset, length, callers);
    const uint32_t process_index = lane(lane_index).process;
    std::vector<uint8_t> record(size);
    shmlog::RecordHeader header{};
    header.commit = shmlog::commit_word(size, kind, o.state);
    header.segment = seg;
    header.offset = offset;
    header.address = base_[{process_index, seg}] + offset;
    header.pc = o.pc;
    header.event = o.event != 0 ? o.event : process(process_index).events + 1;
    process(process_index).events = std::max(process(process_index).events, header.event);
    ++process(process_index).accesses;
    header.length = length;
    header.syscall = o.syscall;
    header.flags = static_cast<uint16_t>(o.flags | callers << shmlog::kCallersShift);
    std::memcpy(&record[size - callers * 8], o.callers.data(), callers * 8);
    std::memcpy(record.data(), &header, sizeof(header));

    const uint32_t lines = shmlog::lines_touched(offset, length);
    const bool writes = shmlog::kind_writes(kind);
    const bool between = shmlog::kind_is_between(kind);
    const bool two = kind == RecordKind::kReadWrite || kind == RecordKind::kReadThenWrite;
    std::vector<uint8_t>& memory = memory_[seg];
    std::vector<uint64_t> read_versions, write_versions;
    for (uint32_t i = 0; i < lines; ++i) {
      uint64_t& word = stripe(seg, offset + i * 64);
      const uint64_t version =
          (o.flags & shmlog::kFlagRelaxed) ? tick() : shmlog::stripe_version(word) + 1;
      read_versions.push_back(between ? version - std::min(span_, version - 1) : version);
      write_versions.push_back(version);
      if (writes) word = shmlog::stripe_word(shmlog::stripe_version(word) + 1);
    }
    uint8_t* body = record.data() + sizeof(header);
    std::memcpy(body, read_versions.data(), lines * 8);
    body += lines * 8;
    if (shmlog::kind_has_two_versions(kind)) {
      std::memcpy(body, write_versions.data(), lines * 8);
      body += lines * 8;
    }
    if (!writes || two) {
      std::memcpy(body, &memory[offset], length);
      body += length;
    }
    if (writes) {
      std::memcpy(body, value.data(), length);
      std::copy(value.begin(), value.end(), memory.begin() + static_cast<ptrdiff_t>(offset));
    }
    if (short_)
      append_short(lane_index, record);
    else
      append(lane_index, record.data(), record.size());
  }

  uint32_t chunk_count_;
  shmlog::Header header_{};
  std::vector<uint8_t> bytes_;
  std::map<uint32_t, std::vector<uint8_t>> memory_;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> base_;
  std::map<uint32_t, Cursor> cursor_;
  uint64_t last_record_ = 0;
  uint64_t span_ = 0;
  bool short_ = false;
  uint64_t tsc_ = 1000;
};

inline std::vector<uint8_t> le32(uint32_t value) {
  std::vector<uint8_t> bytes(4);
  std::memcpy(bytes.data(), &value, 4);
  return bytes;
}

inline std::vector<uint8_t> le64(uint64_t value) {
  std::vector<uint8_t> bytes(8);
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

// The second example of the format that blame follows: a producer and a consumer that crashes.
struct ProducerConsumer {
  ShmlogBuilder log;
  uint32_t producer, consumer, segment;
  static constexpr uint64_t kBase = 0x7f61b0794000;
  static constexpr uint64_t kWritePc = 0x5618d2d15c61;
  static constexpr uint64_t kReadPc = 0x5618d2d15bbf;

  ProducerConsumer() {
    segment = log.add_segment(shmlog::SegmentKind::kAnonymous, "");
    producer =
        log.add_process({.id_high = 0x292b1631, .id_low = 0xc83d, .pid = 133, .name = "producer"});
    log.map_segment(producer, segment, kBase);
    consumer = log.add_process({.id_high = 0x97dd29dd,
                                .id_low = 0x2c8f,
                                .pid = 137,
                                .name = "consumer",
                                .start = shmlog::StartKind::kFork,
                                .parent = producer});
    log.inherit_map(consumer, segment, kBase);
    log.write(producer, segment, 0x118, le32(83), {.pc = kWritePc, .event = 2000});
    log.read(consumer, segment, 0x118, 4, {.pc = kReadPc, .event = 2100});
    log.write(producer, segment, 0x118, le32(100), {.pc = kWritePc, .event = 2822});
    log.write(producer, segment, 0x11c, le32(7), {.pc = kWritePc, .event = 2823});
    log.read(consumer, segment, 0x118, 4, {.pc = kReadPc, .event = 3040});
    log.write(producer, segment, 0x118, le32(12), {.pc = kWritePc, .event = 2900});
    log.process(consumer).exit_known = 1;
    log.process(consumer).exit_status = 6;  // SIGABRT
  }
};

}  // namespace shmrec::testing
