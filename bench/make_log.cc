// Makes the run directory of a run with a given number of accesses, for bench/blame_at_scale: the
// log has the tables, the journal and the records that four processes would leave which work on
// one segment of 256 MiB, with right versions and values.
//
// usage: make_log DIRECTORY ACCESSES
// Of the accesses a half walks over 64 KiB that move on (a table being worked through), a quarter
// goes anywhere (an index), a quarter to 64 lines that all use (locks, counters). A third writes.
// They come from 200 sites at random, each with three callers: a chunk has a place for each that it
// saw.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_format.h"
#include "tests/unit/journal_bytes.h"

namespace {

using namespace shmrec;
using shmlog::RecordKind;

constexpr uint64_t kSegmentBytes = uint64_t{256} << 20;
constexpr uint64_t kWalkBytes = 64 << 10;
constexpr uint64_t kHotBytes = 64 * shmlog::kLineBytes;
constexpr uint32_t kProcesses = 4;
constexpr uint32_t kSites = 200;
constexpr uint32_t kCallers = 3;
constexpr uint32_t kPlaceBytes = shmlog::place_record_bytes(kCallers);
constexpr uint32_t kRecordBytes = shmlog::short_record_bytes(RecordKind::kShortRead, 8);
// At the end of a chunk: a place, an access, a clock. At its beginning another clock.
constexpr uint32_t kRoom = kPlaceBytes + kRecordBytes + sizeof(shmlog::ClockRecord);
constexpr uint32_t kLeastRecordsPerChunk =
    (shmlog::kChunkBytes - sizeof(shmlog::ChunkHeader) - sizeof(shmlog::ClockRecord) -
     kSites * kPlaceBytes - kRoom) /
    kRecordBytes;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "make_log: %s\n", what.c_str());
  std::exit(1);
}

class LogMaker {
 public:
  LogMaker(const std::string& directory, uint64_t accesses) : accesses_(accesses) {
    std::filesystem::create_directories(directory);
    recording::CreateOptions options;
    const uint64_t chunks = accesses / kLeastRecordsPerChunk + kProcesses + 1;
    options.log_bytes = chunks * shmlog::kChunkBytes / 15 * 16 + (uint64_t{64} << 20);
    const auto log = recording::create_shmlog(directory + "/run.shmlog", options);
    if (!log) die(log.error().message);
    fd_ = *log;
    if (pread(fd_, &header_, sizeof(header_), 0) != sizeof(header_)) die("cannot read the log");
    tsc_ = header_.start_tsc;
    stripes_.resize(header_.stripes.count);
  }

  void make() {
    add_segment();
    for (uint32_t i = 1; i <= kProcesses; ++i) add_process(i);
    for (uint64_t i = 0; i < accesses_; ++i)
      access(1 + static_cast<uint32_t>(random() % kProcesses));
    for (uint32_t i = 1; i <= kProcesses; ++i) end_process(i);
    header_.closed = 1;
    put(stripes_.data(), stripes_.size() * 8, header_.stripes.offset);
    put(&header_, sizeof(header_), 0);
    if (fsync(fd_) != 0) die("fsync");
  }

 private:
  struct Process {
    shmlog::ProcessEntry entry{};
    shmlog::UsageEntry usage{};
    std::vector<char> chunk;
    uint32_t chunk_records = 0;
    std::array<uint32_t, kSites> places{};  // in the chunk, 0: none yet
  };

  uint64_t random() {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return state_;
  }

  void put(const void* data, size_t bytes, uint64_t at) {
    for (size_t done = 0; done < bytes;) {
      const ssize_t part = pwrite(fd_, static_cast<const char*>(data) + done, bytes - done,
                                  static_cast<off_t>(at + done));
      if (part <= 0) die("cannot write the log");
      done += static_cast<size_t>(part);
    }
  }

  void add_journal(shmlog::JournalType type, uint32_t process, uint32_t segment,
                   const std::vector<uint64_t>& values, const std::string& text) {
    shmlog::JournalEntry entry{};
    entry.type = static_cast<uint16_t>(type);
    entry.process = process, entry.segment = segment, entry.tsc = tsc_;
    if (values.size() == 4)
      entry.a = values[0], entry.b = values[1], entry.c = values[2], entry.d = values[3];
    const std::vector<uint8_t> bytes = journal_bytes(entry, header_.journal_units, text);
    put(bytes.data(), bytes.size(),
        header_.journal.offset + header_.journal_units * shmlog::kJournalUnitBytes);
    header_.journal_units += bytes.size() / shmlog::kJournalUnitBytes;
  }

  void add_segment() {
    shmlog::SegmentEntry entry{};
    entry.state = static_cast<uint32_t>(shmlog::EntryState::kLive);
    entry.kind = static_cast<uint32_t>(shmlog::SegmentKind::kMemfd);
    entry.extent_bytes = kSegmentBytes;
    entry.mode = static_cast<uint32_t>(shmlog::SegmentMode::kTrace);
    entry.order = static_cast<uint32_t>(shmlog::Order::kExact);
    entry.number = header_.next_segment++;
    std::strcpy(entry.name, "table");
    put(&entry, sizeof(entry), header_.segments.offset + sizeof(entry));
  }

  void add_process(uint32_t i) {
    Process& process = processes_[i];
    shmlog::ProcessEntry& entry = process.entry;
    entry.state = static_cast<uint32_t>(shmlog::EntryState::kEnded);
    entry.number = header_.next_process++;
    entry.id_high = 0x10000000 * i, entry.id_low = i;
    entry.pid = static_cast<int32_t>(1000 + i);
    entry.exit_known = 1;
    entry.start_tsc = tsc_;
    std::strcpy(entry.name, "worker");
    process.usage.process = i, process.usage.segment = 1;
    ++header_.next_lane, ++header_.next_usage;
    shmlog::LaneEntry lane{};
    lane.state = entry.state, lane.process = i, lane.pid = lane.tid = entry.pid;
    put(&lane, sizeof(lane), header_.lanes.offset + i * sizeof(lane));
    add_journal(shmlog::JournalType::kProcessStart, i, 0, {}, "/usr/bin/worker");
    add_journal(shmlog::JournalType::kSegmentMap, i, 1, {base_of(i), kSegmentBytes, 0, 3}, "");
  }

  void end_process(uint32_t i) {
    Process& process = processes_[i];
    end_chunk(process);
    process.entry.end_tsc = tsc_;
    put(&process.entry, sizeof(process.entry),
        header_.processes.offset + i * sizeof(process.entry));
    put(&process.usage, sizeof(process.usage), header_.usage.offset + i * sizeof(process.usage));
  }

  static uint64_t base_of(uint32_t i) { return 0x7f0000000000 + uint64_t{i} * (kSegmentBytes * 2); }

  uint64_t next_offset() {
    const uint64_t what = random();
    const uint64_t word = random() * 8;
    if (what % 4 < 2) return (kHotBytes + done_ / 4096 * 512 + word % kWalkBytes) % kSegmentBytes;
    return word % (what % 4 == 2 ? kSegmentBytes : kHotBytes);
  }

  void access(uint32_t i) {
    Process& process = processes_[i];
    if (process.chunk.empty()) begin_chunk(i, process);
    const bool writes = random() % 3 == 0;
    const RecordKind kind = writes ? RecordKind::kShortWrite : RecordKind::kShortRead;
    const uint64_t offset = next_offset();
    shmlog::ShortRecord record{};
    record.commit = commit_word(kRecordBytes, kind, shmlog::RecordState::kCommitted);
    record.offset = static_cast<uint32_t>(offset);
    record.event_place = ++process.entry.events | uint64_t{place_of(i, random() % kSites) / 8}
                                                      << shmlog::kPlaceShift;
    uint64_t& stripe = stripes_[shmlog::stripe_of(1, offset, header_.stripes.count)];
    const uint64_t version = shmlog::stripe_version(stripe) + 1;
    if (writes) stripe = shmlog::stripe_word(version), memory_[offset / 8] = done_;
    append(process, &record, sizeof(record));
    append(process, &version, 8);
    append(process, &memory_[offset / 8], 8);
    ++process.entry.accesses, ++process.chunk_records;
    ++(writes ? process.usage.writes : process.usage.reads);
    ++done_, tsc_ += 50;
    if (process.chunk.size() + kRoom > shmlog::kChunkBytes) end_chunk(process);
  }

  // Where the site's place is in the process's chunk, which gets one if it has none.
  uint32_t place_of(uint32_t i, uint64_t site) {
    Process& process = processes_[i];
    uint32_t& at = process.places[site];
    if (at != 0) return at;
    at = static_cast<uint32_t>(process.chunk.size());
    shmlog::RecordHeader place{};
    place.commit = commit_word(kPlaceBytes, RecordKind::kPlace, shmlog::RecordState::kCommitted);
    place.segment = 1;
    place.address = base_of(i);
    place.pc = 0x401000 + site * 16;
    place.length = 8;
    place.flags = kCallers << shmlog::kCallersShift;
    append(process, &place, sizeof(place));
    for (uint64_t caller = 0; caller < kCallers; ++caller) {
      const uint64_t word = shmlog::caller_word(3 + caller * 8, 0x402000 + site / 4 * 64 + caller);
      append(process, &word, sizeof(word));
    }
    return at;
  }

  static void append(Process& process, const void* data, size_t bytes) {
    const auto* from = static_cast<const char*>(data);
    process.chunk.insert(process.chunk.end(), from, from + bytes);
  }

  void append_clock(Process& process) {
    const shmlog::ClockRecord clock{
        commit_word(16, RecordKind::kClock, shmlog::RecordState::kCommitted), 0, tsc_};
    append(process, &clock, sizeof(clock));
  }

  void begin_chunk(uint32_t i, Process& process) {
    shmlog::ChunkHeader chunk{};
    chunk.magic = shmlog::kChunkMagic;
    chunk.state = static_cast<uint32_t>(shmlog::ChunkState::kFull) | i << 8;
    chunk.ticket = ++header_.next_ticket;
    chunk.process = chunk.lane = i;
    chunk.pid = chunk.tid = process.entry.pid;
    chunk.start_tsc = tsc_;
    process.chunk.reserve(shmlog::kChunkBytes);
    process.chunk_records = 0;
    process.places.fill(0);
    append(process, &chunk, sizeof(chunk));
    append_clock(process);
  }

  void end_chunk(Process& process) {
    if (process.chunk.empty()) return;
    append_clock(process);
    process.chunk.resize(shmlog::kChunkBytes);
    reinterpret_cast<shmlog::ChunkHeader*>(process.chunk.data())->records = process.chunk_records;
    put(process.chunk.data(), process.chunk.size(),
        header_.chunks.offset + next_chunk_++ * shmlog::kChunkBytes);
    process.chunk.clear();
  }

  uint64_t accesses_;
  int fd_ = -1;
  shmlog::Header header_{};
  uint64_t tsc_ = 0, done_ = 0, next_chunk_ = 0;
  uint64_t state_ = 88172645463325252;
  std::vector<uint64_t> stripes_;
  std::vector<uint64_t> memory_ = std::vector<uint64_t>(kSegmentBytes / 8);
  Process processes_[kProcesses + 1];
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) die("usage: make_log DIRECTORY ACCESSES");
  LogMaker(argv[1], std::strtoull(argv[2], nullptr, 10)).make();
  return 0;
}
