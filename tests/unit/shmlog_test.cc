// Creating a log, and a catalogue of what can be wrong with one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <sstream>

#include "recording/blame/access_index.h"
#include "recording/blame/blame.h"
#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_dump.h"
#include "recording/log/shmlog_reader.h"
#include "recording/run/listing.h"
#include "recording/run/timeline.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::recording {
namespace {

using shmlog::RecordKind;
using shmlog::RecordState;
using shmlog::SegmentKind;
using testing::le32;
using testing::ProducerConsumer;
using testing::ShmlogBuilder;

std::unique_ptr<ShmlogReader> open_bytes(const std::vector<uint8_t>& bytes) {
  auto reader = ShmlogReader::from_memory(bytes, "test.shmlog");
  if (!reader) return nullptr;
  return std::move(*reader);
}

TEST(ShmlogChoice, KeepsWhatIsAskedForAndCountsWhatIsTooMuch) {
  ShmlogBuilder log(1);
  const uint32_t process = log.add_process({.pid = 100});
  for (int i = 0; i < 5; ++i) {
    log.add_journal(shmlog::JournalType::kMark, process, 0, {1}, "mark");
    log.add_journal(shmlog::JournalType::kCoverage, process, 0, {0}, "gap");
  }
  const std::vector<uint8_t> bytes = log.build();
  const auto read = [&](const ReadChoice& choice) {
    auto reader = ShmlogReader::from_memory(bytes, "test.shmlog", choice);
    return std::move(*reader);
  };
  EXPECT_EQ(read({})->journal().size(), 11u);  // the process's start too
  const uint64_t gaps = 1u << static_cast<int>(shmlog::JournalType::kCoverage);
  const auto chosen = read({.journal_types = gaps});
  ASSERT_EQ(chosen->journal().size(), 5u);
  EXPECT_EQ(chosen->journal()[4].text, "gap");
  EXPECT_EQ(chosen->journal_left_out(), 0u);
  const uint64_t of_gap = uint64_t{shmlog::journal_units_for(3)} * shmlog::kJournalUnitBytes;
  const auto cut = read({.journal_types = gaps, .journal_bytes = 3 * of_gap});
  EXPECT_EQ(cut->journal().size(), 3u);
  EXPECT_EQ(cut->journal_left_out(), 2u);
  EXPECT_TRUE(cut->damage().empty());
}

// What the same program once wrote in older versions, and what it writes now.
TEST(ShmlogReader, OlderVersionsSayTheSame) {
  const auto now = open_bytes(ProducerConsumer().log.build());
  ASSERT_NE(now, nullptr);
  EXPECT_EQ(now->header().version, shmlog::kVersion);
  for (uint32_t version = shmlog::kOldestVersion; version < shmlog::kVersion; ++version) {
    const auto old =
        ShmlogReader::open(std::string(SHMREC_SOURCE_DIR) + "/tests/fuzz/corpus/shmlog/version-" +
                           std::to_string(version) + "-producer-consumer");
    ASSERT_TRUE(old) << old.error().message;
    EXPECT_EQ((*old)->header().version, version);
    EXPECT_EQ((*old)->processes().size(), now->processes().size());
    EXPECT_EQ((*old)->chunks().size(), now->chunks().size());
    ASSERT_EQ((*old)->journal().size(), now->journal().size());
    for (size_t i = 0; i < now->journal().size(); ++i) {
      EXPECT_EQ((*old)->journal()[i].text, now->journal()[i].text);
      EXPECT_EQ((*old)->journal()[i].entry.type, now->journal()[i].entry.type);
      EXPECT_EQ((*old)->journal()[i].entry.a, now->journal()[i].entry.a);
    }
  }
}

std::string error_of(const std::vector<uint8_t>& bytes) {
  auto reader = ShmlogReader::from_memory(bytes, "test.shmlog");
  return reader ? "" : reader.error().message;
}

bool damaged(const std::vector<Damage>& damage, const std::string& part) {
  for (const Damage& found : damage) {
    if (found.reason.find(part) != std::string::npos) return true;
  }
  return false;
}

// Everything a reader can be asked; returns the number of records seen.
uint64_t use_everything(const ShmlogReader& log) {
  const auto index = AccessIndex::build(log);
  const Timeline timeline(log);
  Symbols symbols([](const std::string&) { return "/nonexistent"; });
  const Blame blame(*index, timeline, symbols);
  for (const char* where : {"1+0x118", "0x7f61b0794118", "name[3]"}) {
    for (const bool forward : {false, true}) {
      const auto answer = blame.ask({.where = where, .history = 5, .forward = forward});
      EXPECT_TRUE(answer.ok() || !answer.error().message.empty());
    }
  }
  listing_text(make_listing(timeline));
  dump_shmlog(log, true, [](const std::string&) { return true; });
  return index->records();
}

struct TemporaryFile {
  std::string path = ::testing::TempDir() + "/shmlog_test_" + std::to_string(getpid()) + ".shmlog";
  ~TemporaryFile() { unlink(path.c_str()); }
};

// ---- Creating -----------------------------------------------------------------------------------

TEST(ShmlogCreate, AFreshLogIsAllocatedAndOpensEmpty) {
  TemporaryFile file;
  CreateOptions options;
  options.log_bytes = kMinLogBytes;
  options.run_id = 77;
  options.build = "0.1.0";
  options.rules.resize(3);
  options.rules[1].line = 12;
  options.failure_closed = true;
  const Result<int> fd = create_shmlog(file.path, options);
  ASSERT_TRUE(fd) << fd.error().message;
  struct stat status {};
  fstat(*fd, &status);
  close(*fd);
  EXPECT_EQ(status.st_size, static_cast<off_t>(kMinLogBytes));
  EXPECT_GE(status.st_blocks * 512, status.st_size) << "blocks are allocated in advance";
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const auto reader = ShmlogReader::open(file.path);
  ASSERT_TRUE(reader) << reader.error().message;
  const ShmlogReader& log = **reader;
  EXPECT_TRUE(log.damage().empty());
  EXPECT_EQ(log.header().run_id, 77u);
  EXPECT_EQ(fixed_text(log.header().build), "0.1.0");
  EXPECT_GT(log.header().tsc_hz, 100'000'000u);
  ASSERT_EQ(log.rules().size(), 3u);
  EXPECT_EQ(log.rules()[1].line, 12u);
  EXPECT_TRUE(log.processes().empty());
  EXPECT_TRUE(log.chunks().empty());
  EXPECT_FALSE(log.history_lost());
}

TEST(ShmlogCreate, AreasDoNotOverlapAndLieInTheFileForEverySize) {
  for (const uint64_t mib : {8ull, 9ull, 63ull, 64ull, 256ull, 1024ull, 64ull << 10}) {
    for (const size_t rules : {0u, 1u, 1000u}) {
      CreateOptions options;
      options.log_bytes = mib << 20;
      options.rules.resize(rules);
      shmlog::Header header;
      ASSERT_TRUE(plan_layout(options, header)) << mib;
      uint64_t end = 4096;
      for (const shmlog::Area& area :
           {header.rules, header.stripes, header.processes, header.lanes, header.segments,
            header.usage, header.journal, header.chunks}) {
        EXPECT_GE(area.offset, end);
        EXPECT_EQ(area.offset % 4096, 0u);
        end = area.offset + uint64_t{area.count} * area.entry_bytes;
      }
      EXPECT_LE(end, header.file_bytes);
      EXPECT_GE(header.chunks.count, 16u);
      EXPECT_EQ(header.stripes.count & (header.stripes.count - 1), 0u);
    }
  }
}

TEST(ShmlogCreate, SaysWhatIsWrongAndLeavesNothingBehind) {
  TemporaryFile file;
  CreateOptions options;
  options.log_bytes = 1000;
  EXPECT_NE(create_shmlog(file.path, options).error().message.find("expected between 8 MiB"),
            std::string::npos);
  options.log_bytes = kMinLogBytes;
  options.rules.resize(20000);
  EXPECT_NE(create_shmlog(file.path, options).error().message.find("leaves no room"),
            std::string::npos);
  options.rules.clear();
  EXPECT_NE(access(file.path.c_str(), F_OK), 0);
  std::ofstream(file.path) << "mine";
  const auto existing = create_shmlog(file.path, options);
  ASSERT_FALSE(existing);
  std::ifstream kept(file.path);
  std::string content;
  kept >> content;
  EXPECT_EQ(content, "mine") << "an existing file is not touched";
}

TEST(ShmlogCreate, AFullDiskGivesSizePathAndRemedy) {
  TemporaryFile file;
  // A limit of the process stands in for a full disk.
  signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  rlimit low = old;
  low.rlim_cur = 1 << 20;
  setrlimit(RLIMIT_FSIZE, &low);
  CreateOptions options;
  options.log_bytes = kMinLogBytes;
  const auto created = create_shmlog(file.path, options);
  setrlimit(RLIMIT_FSIZE, &old);
  ASSERT_FALSE(created);
  for (const std::string& part :
       {file.path, std::string("8 MiB"), std::string("lower limits.logSize")}) {
    EXPECT_NE(created.error().message.find(part), std::string::npos) << created.error().message;
  }
  EXPECT_NE(access(file.path.c_str(), F_OK), 0);
}

// ---- Headers that do not open -------------------------------------------------------------------

TEST(ShmlogReader, RefusesWhatIsNotALog) {
  ProducerConsumer run;
  const std::vector<uint8_t> good = run.log.build();
  EXPECT_EQ(error_of(good), "");
  EXPECT_NE(error_of({}).find("0 bytes"), std::string::npos);
  EXPECT_NE(error_of(std::vector<uint8_t>(100000)).find("SHMRLOG1"), std::string::npos);
  std::vector<uint8_t> newer = good;
  newer[8] = 9;
  EXPECT_NE(error_of(newer).find("version 9"), std::string::npos);
  std::vector<uint8_t> small_header = good;
  small_header[12] = 8, small_header[13] = 0;
  EXPECT_NE(error_of(small_header).find("header of 8 bytes"), std::string::npos);
  EXPECT_NE(ShmlogReader::open("/nonexistent").error().message.find("No such file"),
            std::string::npos);
  EXPECT_NE(ShmlogReader::open("/dev/null").error().message.find("not a regular file"),
            std::string::npos);
}

// ---- Truncation ---------------------------------------------------------------------------------

TEST(ShmlogReader, OpensTruncatedAtEveryByteAndLosesOnlyTheTail) {
  ProducerConsumer run;
  std::vector<uint8_t> bytes = run.log.build_short();
  uint64_t before = 0;
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    const auto log = open_bytes(cut);
    ASSERT_EQ(log != nullptr, size >= sizeof(shmlog::Header)) << size;
    if (!log) continue;
    EXPECT_TRUE(log->history_lost()) << size;
    const uint64_t records = AccessIndex::build(*log)->records();
    EXPECT_GE(records, before) << size;
    before = records;
    if (size % 61 == 0) use_everything(*log);
  }
  EXPECT_EQ(before, 6u);
}

// ---- The catalogue of corruptions ---------------------------------------------------------------

TEST(ShmlogReader, AreasThatPointNowhereAreLeftOutAndSaid) {
  struct Case {
    const char* name;
    shmlog::Area shmlog::Header::*area;
  };
  const Case cases[] = {
      {"stripes", &shmlog::Header::stripes}, {"processes", &shmlog::Header::processes},
      {"lanes", &shmlog::Header::lanes},     {"segments", &shmlog::Header::segments},
      {"usage", &shmlog::Header::usage},     {"journal", &shmlog::Header::journal},
      {"chunks", &shmlog::Header::chunks}};
  const shmlog::Area bad[] = {{UINT64_MAX, 8, 64},
                              {UINT64_MAX - 64, UINT32_MAX, UINT32_MAX},
                              {0, UINT32_MAX, 1},
                              {4096, UINT32_MAX, UINT32_MAX},
                              {4096, 8, 0}};
  for (const Case& c : cases) {
    for (const shmlog::Area& area : bad) {
      ProducerConsumer run;
      run.log.header().next_usage = 2;
      run.log.header().*c.area = area;
      const std::vector<uint8_t> bytes = run.log.build();
      const auto log = open_bytes(bytes);
      ASSERT_NE(log, nullptr) << c.name;
      EXPECT_FALSE(log->damage().empty()) << c.name << " at " << area.offset;
      use_everything(*log);
    }
  }
}

TEST(ShmlogReader, TablesWithImpossibleCountsAreReadAsFarAsTheyGo) {
  ProducerConsumer run;
  shmlog::Header& header = run.log.header();
  header.next_process = header.next_lane = header.next_segment = header.next_usage = UINT32_MAX;
  header.journal_units = UINT64_MAX;
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  EXPECT_EQ(log->processes().size(), 2u);
  EXPECT_EQ(use_everything(*log), 6u);
}

TEST(ShmlogReader, EntriesOfUnknownStateAreLeftOut) {
  ProducerConsumer run;
  run.log.process(run.producer).state = 77;
  run.log.segment(run.segment).state = static_cast<uint32_t>(shmlog::EntryState::kClaimed);
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  EXPECT_EQ(log->process(run.producer), nullptr);
  EXPECT_NE(log->process(run.consumer), nullptr);
  EXPECT_EQ(log->segment(run.segment), nullptr);
  EXPECT_TRUE(damaged(log->damage(), "unknown state"));
  EXPECT_EQ(use_everything(*log), 6u);
}

TEST(ShmlogReader, UnknownValuesAreNamedAndDoNotStopAnything) {
  ProducerConsumer run;
  run.log.segment(run.segment).kind = run.log.segment(run.segment).mode =
      run.log.segment(run.segment).order = 99;
  run.log.process(run.producer).start_kind = run.log.process(run.producer).degraded = 99;
  std::memset(run.log.process(run.producer).name, '\x1b', 48);  // no NUL, would steer a terminal
  run.log.add_journal(static_cast<shmlog::JournalType>(999), 1, 0, {});
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  use_everything(*log);
  const Timeline timeline(*log);
  const std::string text = listing_text(make_listing(timeline));
  EXPECT_NE(text.find("unknown(99)"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(ShmlogReader, ARingOfParentsEnds) {
  ProducerConsumer run;
  run.log.process(run.producer).start_kind = static_cast<uint32_t>(shmlog::StartKind::kFork);
  run.log.process(run.producer).parent = run.consumer;
  const std::vector<uint8_t> bytes = run.log.build();
  EXPECT_EQ(use_everything(*open_bytes(bytes)), 6u);
}

TEST(ShmlogReader, TornJournalUnitsAreSkippedAndCounted) {
  ProducerConsumer run;
  const uint64_t units = run.log.header().journal_units;
  run.log.header().journal_units += 2;  // handed out, never written
  run.log.add_journal(shmlog::JournalType::kMark, run.producer, 0, {5}, "after the hole");
  std::vector<uint8_t> bytes = run.log.build();
  auto log = open_bytes(bytes);
  EXPECT_TRUE(damaged(log->damage(), "without a sound entry"));
  EXPECT_EQ(log->journal().back().text, "after the hole");
  EXPECT_EQ(log->journal().back().place, units + 2);
  // A unit that claims to be longer than the journal, and a text longer than its units.
  const uint64_t last = run.log.journal_offset(units + 2);
  for (const auto& [field, value] : {std::pair<size_t, uint8_t>{4, 0xFF}, {56, 0xFF}, {4, 0}}) {
    std::vector<uint8_t> bad = bytes;
    bad[last + field] = value;
    if (field == 4) bad[last + 5] = value;
    const auto reader = open_bytes(bad);
    EXPECT_NE(reader->journal().back().text, "after the hole") << field;
    EXPECT_TRUE(damaged(reader->damage(), "without a sound entry")) << field;
    use_everything(*reader);
  }
}

TEST(ShmlogReader, ADamagedRecordEndsItsChunkOnlyAndIsSaid) {
  struct Case {
    const char* reason;
    std::function<void(shmlog::RecordHeader&)> damage;
  };
  const Case cases[] = {
      {"unknown kind",
       [](auto& r) {
         r.commit = shmlog::commit_word(64, static_cast<RecordKind>(13), RecordState::kCommitted);
       }},
      {"unknown state",
       [](auto& r) {
         r.commit = shmlog::commit_word(64, RecordKind::kRead, static_cast<RecordState>(9));
       }},
      {"past its chunk", [](auto& r) { r.commit |= 0xFFFF; }},
      {"shorter than its header",
       [](auto& r) {
         r.commit = shmlog::commit_word(8, RecordKind::kRead, RecordState::kCommitted);
       }},
      {"clock record of a wrong size",
       [](auto& r) {
         r.commit = shmlog::commit_word(64, RecordKind::kClock, RecordState::kCommitted);
       }},
      {"impossible length", [](auto& r) { r.length = 0; }},
      {"impossible length", [](auto& r) { r.length = UINT32_MAX; }},
      {"impossible offset", [](auto& r) { r.offset = UINT64_MAX; }},
      {"too short for its values", [](auto& r) { r.length = 4096; }},
      {"too short for its values", [](auto& r) { r.flags = 1 << shmlog::kCallersShift; }},
      {"too short for its values", [](auto& r) { r.flags = 0xFFFF; }},
      {"too short for its values",
       [](auto& r) {
         r.commit = shmlog::commit_word(56, RecordKind::kReadThenWrite, RecordState::kCommitted);
       }},
  };
  for (const Case& c : cases) {
    ProducerConsumer run;
    run.log.write(run.producer, run.segment, 0, le32(1));
    run.log.clock(run.producer);
    run.log.write(run.producer, run.segment, 0, le32(2));
    const uint64_t victim = run.log.last_record();
    run.log.write(run.producer, run.segment, 0, le32(3));
    c.damage(run.log.record(victim));
    const std::vector<uint8_t> bytes = run.log.build();
    const auto log = open_bytes(bytes);
    const auto index = AccessIndex::build(*log);
    EXPECT_TRUE(damaged(index->damage(), c.reason)) << c.reason;
    EXPECT_EQ(index->records(), 7u) << c.reason << ": six and the one before the damage";
    use_everything(*log);
  }
}

TEST(ShmlogReader, ARecordEndsWithItsCallers) {
  ProducerConsumer run;
  const std::vector<uint64_t> callers = {shmlog::caller_word(0, 0x401234),
                                         shmlog::caller_word(7, 0x7FFFFFFFFFFF)};
  testing::AccessOptions options;
  options.callers = callers;
  run.log.write(run.producer, run.segment, 60, {1, 2, 3, 4, 5, 6, 7}, options);  // of two lines
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  const auto index = AccessIndex::build(*log);
  const auto newest = index->newest({.segment = run.segment, .begin = 60, .end = 61});
  const auto access = index->load(newest[0].value());
  ASSERT_TRUE(access);
  EXPECT_EQ(access->callers, callers);
  EXPECT_EQ(access->output, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(shmlog::caller_place(access->callers[1]), 7u);
  EXPECT_EQ(shmlog::caller_address(access->callers[1]), 0x7FFFFFFFFFFFu);
}

// Accesses of each kind and state, with and without callers.
std::vector<uint8_t> all_sorts(bool short_records) {
  ShmlogBuilder log(2);
  log.set_short(short_records);
  const uint32_t segment = log.add_segment(SegmentKind::kMemfd, "ring", 3 << 12);
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1});
  log.map_segment(a, segment, 0x7f61b0794000);
  const std::vector<uint64_t> callers = {shmlog::caller_word(0, 0x401234),
                                         shmlog::caller_word(7, 0x7FFFFFFFFFFF)};
  for (const RecordState state : {RecordState::kCommitted, RecordState::kBegun,
                                  RecordState::kAborted, RecordState::kInferred}) {
    log.write(a, segment, 0x118, le32(1), {.state = state});
    log.read(a, segment, 0x118, 4, {.state = state});
    log.read_write(a, segment, 0x2118, le32(2), {.pc = 0x401010, .state = state});
    log.read_then_write(a, segment, 0, le32(3), {.pc = 0x401010, .state = state});
    log.write(a, segment, 0x3f, {1}, {.pc = 0x401020, .state = state, .callers = callers});
    log.read_then_write(a, segment, 0x2f00, std::vector<uint8_t>(64, 4),
                        {.pc = 0x401030, .state = state, .callers = callers});
    log.read(a, segment, 0x40, 4, {.syscall = 5, .flags = shmlog::kFlagRelaxed, .state = state});
    log.write(a, segment, 0x3e, le32(5), {.state = state, .callers = callers});  // of two lines
    log.write_between(a, segment, 0x80, le32(6), 1, {.state = state});
    log.clock(a);
  }
  log.stripe(segment, 0x118) = shmlog::stripe_word_locked(1, a);
  return log.build();
}

std::vector<RecordView> records_of(const ShmlogReader& log, ChunkCopy& copy) {
  std::vector<RecordView> records;
  EXPECT_TRUE(log.copy_chunk(log.chunks()[0], copy));
  uint32_t at = 0;
  RecordView record;
  while (copy.next(at, record)) records.push_back(record);
  EXPECT_EQ(copy.damage_at(at), nullptr);
  return records;
}

TEST(ShmlogReader, AShortRecordSaysWhatALongOneWould) {
  const std::vector<uint8_t> long_bytes = all_sorts(false), short_bytes = all_sorts(true);
  const auto long_log = open_bytes(long_bytes), short_log = open_bytes(short_bytes);
  ChunkCopy long_copy, short_copy;
  const std::vector<RecordView> expected = records_of(*long_log, long_copy);
  const std::vector<RecordView> found = records_of(*short_log, short_copy);
  ASSERT_EQ(expected.size(), 40u);
  ASSERT_EQ(found.size(), expected.size());
  int shorter = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const RecordView &a = expected[i], &b = found[i];
    EXPECT_EQ(b.kind, a.kind) << i;
    EXPECT_EQ(b.state, a.state) << i;
    shmlog::RecordHeader header = b.header;
    header.commit = a.header.commit;
    EXPECT_EQ(std::memcmp(&header, &a.header, sizeof(header)), 0) << i;
    shorter += b.bytes < a.bytes;
    if (a.is_clock()) continue;
    for (uint32_t line = 0; line < a.lines(); ++line) {
      EXPECT_EQ(b.read_version(line), a.read_version(line)) << i;
      EXPECT_EQ(b.write_version(line), a.write_version(line)) << i;
    }
    EXPECT_TRUE(std::ranges::equal(b.input(), a.input())) << i;
    EXPECT_TRUE(std::ranges::equal(b.output(), a.output())) << i;
    EXPECT_EQ(b.callers(), a.callers()) << i;
    EXPECT_EQ(short_log->outcome(short_log->chunks()[0], b),
              long_log->outcome(long_log->chunks()[0], a))
        << i;
  }
  EXPECT_EQ(shorter, 4 * 7);
  EXPECT_LT(found.back().at, expected.back().at);
  use_everything(*short_log);
}

// What lies behind the zero word is left from earlier records, and a place is no record.
TEST(ShmlogReader, PlacesAndWhatIsBehindTheEndAreNotSeen) {
  ProducerConsumer run;
  const std::vector<uint8_t> bytes = testing::with_short_records(run.log.build());
  const auto log = open_bytes(bytes);
  EXPECT_EQ(use_everything(*log), 6u);
  EXPECT_TRUE(AccessIndex::build(*log)->damage().empty());
  std::string text;
  dump_shmlog(*log, false, [&](const std::string& line) { return text += line + "\n", true; });
  EXPECT_EQ(text.find("damage"), std::string::npos) << text;
  EXPECT_EQ(text.find("kind=place"), std::string::npos) << text;
  // A chunk of which the owner wrote no more than a place.
  std::vector<uint8_t> begun = bytes;
  uint8_t* first = &begun[run.log.chunk_offset(0) + sizeof(shmlog::ChunkHeader)];
  std::memset(first + sizeof(shmlog::RecordHeader), 0, 8);
  const auto index = AccessIndex::build(*open_bytes(begun));
  EXPECT_EQ(index->records(), 2u);
  EXPECT_TRUE(index->damage().empty());
}

TEST(ShmlogReader, ADamagedPlaceOrShortRecordIsSaid) {
  constexpr uint32_t kFirst = sizeof(shmlog::ChunkHeader);  // where the place of all lies
  struct Bytes {
    shmlog::RecordHeader& place;
    shmlog::ShortRecord& victim;
    void point(uint32_t at) {
      victim.event_place = shmlog::short_event(victim.event_place) | uint64_t{at / 8}
                                                                         << shmlog::kPlaceShift;
    }
  };
  struct Case {
    const char* reason;
    uint64_t left;  // of six accesses: four of another process, one before the victim
    std::function<void(Bytes)> damage;
  };
  const auto word = [](uint32_t bytes, RecordKind kind, RecordState state) {
    return shmlog::commit_word(bytes, kind, state);
  };
  const Case cases[] = {
      {"place is not before it", 3, [](Bytes b) { b.point(0); }},
      {"place is not before it", 3, [](Bytes b) { b.point(kFirst - 8); }},
      {"place is not before it", 3, [](Bytes b) { b.point(kFirst + 80); }},  // itself
      {"place is not before it", 3, [](Bytes b) { b.point(kFirst + 112); }},
      {"place is not before it", 3, [](Bytes b) { b.point(UINT16_MAX * 8); }},
      {"without a place", 3, [](Bytes b) { b.point(kFirst + 8); }},
      {"without a place", 3, [](Bytes b) { b.point(kFirst + 48); }},  // a record
      {"more than one line", 3, [](Bytes b) { b.victim.offset += 62; }},
      {"impossible offset", 3, [](Bytes b) { b.victim.offset = 0; }},  // before the segment
      {"too short for its values", 3,
       [&](Bytes b) {
         b.victim.commit = word(24, RecordKind::kShortWrite, RecordState::kCommitted);
       }},
      {"shorter than its header", 3,
       [&](Bytes b) {
         b.victim.commit = word(8, RecordKind::kShortWrite, RecordState::kCommitted);
       }},
      {"too short for its values", 3,
       [&](Bytes b) {
         b.victim.commit = word(32, RecordKind::kShortReadThenWrite, RecordState::kCommitted);
       }},
      {"past its chunk", 3, [](Bytes b) { b.victim.commit |= 0xFFFF; }},
      {"not committed", 2,
       [&](Bytes b) { b.place.commit = word(48, RecordKind::kPlace, RecordState::kBegun); }},
      {"place shorter than its header", 2,
       [&](Bytes b) { b.place.commit = word(40, RecordKind::kPlace, RecordState::kCommitted); }},
      {"too short for its callers", 2, [](Bytes b) { b.place.flags = 1 << shmlog::kCallersShift; }},
      {"impossible length", 2, [](Bytes b) { b.place.length = 0; }},
      {"impossible length", 2, [](Bytes b) { b.place.length = UINT32_MAX; }},
      {"more than one line", 2, [](Bytes b) { b.place.length = 65; }},
      {"impossible offset", 2, [](Bytes b) { b.place.offset = uint64_t{1} << 63; }},
  };
  for (const Case& c : cases) {
    ShmlogBuilder log;
    log.set_short(true);
    const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
    const uint32_t a = log.add_process({.id_high = 1, .pid = 1});
    const uint32_t b = log.add_process({.id_high = 2, .pid = 2});
    log.write(a, segment, 0, le32(1));
    log.write(a, segment, 0, le32(2));
    const uint64_t victim = log.last_record();
    log.write(a, segment, 0, le32(3));
    log.write(b, segment, 0, le32(4));
    log.read(b, segment, 0, 4);
    std::vector<uint8_t> bytes = log.build();
    uint8_t* const first = &bytes[log.chunk_offset(0) + kFirst];
    ASSERT_EQ(&bytes[victim], first + 48 + 32);
    c.damage({*reinterpret_cast<shmlog::RecordHeader*>(first),
              *reinterpret_cast<shmlog::ShortRecord*>(&bytes[victim])});
    const auto opened = open_bytes(bytes);
    const auto index = AccessIndex::build(*opened);
    EXPECT_TRUE(damaged(index->damage(), c.reason)) << c.reason;
    EXPECT_EQ(index->records(), c.left) << c.reason;
    use_everything(*opened);
  }
}

// Nobody walks over it there: it must be sound all the same.
TEST(ShmlogReader, APlaceInsideOfAnotherRecordIsLookedAtToo) {
  struct Case {
    const char* reason;  // nullptr: it is as good as any
    uint32_t bytes;
    RecordState state;
    uint16_t flags;
  };
  const Case cases[] = {
      {nullptr, 48, RecordState::kCommitted, 0},
      {"short record without a place", 48, RecordState::kBegun, 0},
      {"short record without a place", 40, RecordState::kCommitted, 0},
      {"short record without a place", 48, RecordState::kCommitted, 0x300},
      {"short record without a place", 0xFFFF * 8, RecordState::kCommitted, 0},
      {"reaches into it", 48 + 24, RecordState::kCommitted, 0x300},
  };
  for (const Case& c : cases) {
    ShmlogBuilder log;
    const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
    const uint32_t a = log.add_process({.id_high = 1, .pid = 1});
    shmlog::RecordHeader place{};
    place.commit = shmlog::commit_word(c.bytes, RecordKind::kPlace, c.state);
    place.segment = segment, place.offset = 0x80, place.length = 4, place.flags = c.flags;
    std::vector<uint8_t> value(64);
    std::memcpy(&value[16], &place, sizeof(place));
    log.write(a, segment, 0, value);
    const uint64_t outer = log.last_record();
    log.set_short(true);
    log.write(a, segment, 0x80, le32(3));
    const uint64_t inner = outer + sizeof(shmlog::RecordHeader) + 8 + 16;
    std::vector<uint8_t> bytes = log.build();
    auto* victim = reinterpret_cast<shmlog::ShortRecord*>(&bytes[log.last_record()]);
    victim->offset = 0;
    victim->event_place = 7 | (inner - log.chunk_offset(0)) / 8 << shmlog::kPlaceShift;
    // Over the place that it had: the victim comes right behind the record of 64 bytes.
    std::memmove(&bytes[inner + 48], victim, 32);
    std::memset(&bytes[inner + 48 + 32], 0, 8);
    const auto opened = open_bytes(bytes);
    const auto index = AccessIndex::build(*opened);
    EXPECT_EQ(index->records(), c.reason == nullptr ? 2u : 1u);
    EXPECT_EQ(index->damage().empty(), c.reason == nullptr);
    EXPECT_TRUE(c.reason == nullptr || damaged(index->damage(), c.reason)) << c.reason;
    use_everything(*opened);
  }
}

TEST(ShmlogReader, EverySingleByteOfPlacesAndShortRecordsFlippedIsSurvived) {
  ShmlogBuilder log;
  log.set_short(true);
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1});
  log.write(a, segment, 0x118, le32(1), {.callers = {shmlog::caller_word(1, 2)}});
  log.read_then_write(a, segment, 0x118, le32(2), {.callers = {shmlog::caller_word(1, 2)}});
  const std::vector<uint8_t> good = log.build_short();
  for (size_t at = log.chunk_offset(0); at < good.size(); ++at) {
    std::vector<uint8_t> bad = good;
    bad[at] ^= 0xFF;
    const auto opened = open_bytes(bad);
    EXPECT_LE(use_everything(*opened), 2u);
  }
}

TEST(ShmlogReader, UsesReadyAndFullChunksOldestFirst) {
  ShmlogBuilder builder(4);
  const uint32_t segment = builder.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = builder.add_process({.id_high = 1, .pid = 1});
  for (uint32_t i = 0; i < 6; ++i) {  // the last two take the places of the first two
    builder.write(a, segment, 0, le32(i));
    if (i < 5) builder.end_chunk(a);
  }
  std::vector<uint8_t> bytes = builder.build();
  auto log = open_bytes(bytes);
  ASSERT_EQ(log->chunks().size(), 4u);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(log->chunks()[i].header.ticket, i + 2);
  EXPECT_TRUE(log->history_lost());
  builder.chunk(2).state = static_cast<uint32_t>(shmlog::ChunkState::kClaimed);
  builder.chunk(3).magic = 0;
  bytes = builder.build();
  log = open_bytes(bytes);
  EXPECT_EQ(log->chunks().size(), 2u);
  EXPECT_TRUE(damaged(log->damage(), "being claimed"));
}

TEST(ShmlogReader, AChunkClaimedAnewWhileOpenIsNotMixedUp) {
  ProducerConsumer run;
  std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  auto* header = reinterpret_cast<shmlog::ChunkHeader*>(&bytes[run.log.chunk_offset(0)]);
  header->ticket = 99;  // the live process wrapped around
  ChunkCopy copy;
  EXPECT_FALSE(log->copy_chunk(log->chunks()[0], copy));
  EXPECT_TRUE(log->copy_chunk(log->chunks()[1], copy));
  EXPECT_TRUE(damaged(AccessIndex::build(*log)->damage(), "claimed anew"));
}

TEST(ShmlogReader, AnUnusableStripeTableStillLeavesCommittedRecords) {
  ProducerConsumer run;
  run.log.header().stripes.count = 63;
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  EXPECT_TRUE(damaged(log->damage(), "stripe table unusable"));
  EXPECT_EQ(use_everything(*log), 6u);
}

TEST(ShmlogReader, AbortedRecordsDidNotHappen) {
  ShmlogBuilder builder;
  const uint32_t segment = builder.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = builder.add_process({.id_high = 1, .pid = 1});
  builder.write(a, segment, 0, le32(1), {.state = RecordState::kAborted});
  builder.write(a, segment, 0, le32(2));
  const std::vector<uint8_t> bytes = builder.build();
  EXPECT_EQ(use_everything(*open_bytes(bytes)), 1u);
}

TEST(ShmlogReader, EverySingleByteFlippedIsSurvived) {
  ProducerConsumer run;
  const std::vector<uint8_t> good = run.log.build_short();
  for (size_t at = 0; at < good.size(); ++at) {
    std::vector<uint8_t> bad = good;
    bad[at] ^= 0xFF;
    if (const auto log = open_bytes(bad)) {
      if (at % 7 == 0) use_everything(*log);
    }
  }
}

// ---- Timeline -----------------------------------------------------------------------------------

TEST(Timeline, AForkInheritsTheMapAsOfTheFork) {
  ShmlogBuilder builder;
  const uint32_t segment = builder.add_segment(SegmentKind::kPosixShm, "/ring", 1 << 16);
  const uint32_t parent = builder.add_process({.id_high = 1, .pid = 1, .name = "parent"});
  builder.map_segment(parent, segment, 0x10000, 0x8000);
  builder.add_module(parent, "/bin/x", 0x400000, 0x1000, 0x2000);
  const uint32_t child = builder.add_process(
      {.id_high = 2, .pid = 2, .start = shmlog::StartKind::kFork, .parent = parent});
  const uint32_t image = builder.add_process(
      {.id_high = 3, .pid = 2, .start = shmlog::StartKind::kExec, .parent = child});
  builder.map_segment(parent, segment, 0x90000, 0x1000);  // after the fork
  builder.add_journal(shmlog::JournalType::kUnmap, parent, 0, {0x10000, 0x8000});
  builder.add_journal(shmlog::JournalType::kUnmap, child, 0, {0x12000, 0x1000});
  const std::vector<uint8_t> bytes = builder.build();
  const auto log = open_bytes(bytes);
  const Timeline timeline(*log);
  const auto space = [&](uint32_t process) {
    return timeline.address_space(*timeline.by_process(process), UINT64_MAX);
  };
  const AddressSpace child_space = space(child);
  EXPECT_EQ(child_space.find(0x90000), nullptr);
  ASSERT_NE(child_space.find(0x11fff), nullptr);
  EXPECT_EQ(child_space.find(0x12000), nullptr);
  ASSERT_NE(child_space.find(0x13000), nullptr);
  EXPECT_EQ(child_space.find(0x13000)->offset, 0x3000u)
      << "the part behind the hole keeps its offset";
  EXPECT_EQ(child_space.find(0x400123)->path, "/bin/x");
  EXPECT_EQ(space(parent).find(0x10000), nullptr);
  EXPECT_TRUE(space(image).mappings().empty()) << "exec starts from nothing";
}

TEST(Timeline, MapsAreKnownByEventAlsoBeyondFourBillion) {
  ShmlogBuilder builder;
  const uint32_t segment = builder.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = builder.add_process({.id_high = 1, .pid = 1});
  builder.process(a).events = 0xFFFFFFF0;
  builder.map_segment(a, segment, 0x10000);
  builder.process(a).events = 0x1'0000'0010;
  builder.add_journal(shmlog::JournalType::kUnmap, a, 0, {0x10000, 0x1000});
  const std::vector<uint8_t> bytes = builder.build();
  const auto log = open_bytes(bytes);
  const Timeline timeline(*log);
  const auto mapped_at = [&](uint64_t event) {
    return timeline.address_space(timeline.recordings()[0], event).find(0x10000) != nullptr;
  };
  EXPECT_FALSE(mapped_at(5));
  EXPECT_TRUE(mapped_at(0xFFFFFFF0));
  EXPECT_TRUE(mapped_at(0x1'0000'0000));
  EXPECT_FALSE(mapped_at(0x1'0000'0010));
}

TEST(Timeline, FindsRecordingsByIdPrefixPidAndName) {
  ProducerConsumer run;
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  const Timeline timeline(*log);
  for (const char* name : {"97dd29dd-2c8f", "97dd", "137", "consumer"}) {
    const auto found = timeline.find(name);
    ASSERT_TRUE(found) << name;
    EXPECT_EQ((*found)->pid, 137);
  }
  EXPECT_FALSE(timeline.find("97d")) << "too short to be meant";
  EXPECT_EQ(timeline.by_process(run.consumer)->signal, 6);
}

TEST(Timeline, AParentTellsHowAKilledChildEnded) {
  ProducerConsumer run;
  run.log.process(run.consumer).exit_known = 0;
  run.log.add_journal(shmlog::JournalType::kChildExit, run.producer, 0, {137, 9});
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  Timeline timeline(*log);
  EXPECT_EQ(timeline.by_process(run.consumer)->signal, 9);
  timeline.note_exit({137}, 0);
  EXPECT_EQ(timeline.by_process(run.consumer)->signal, 9) << "the first word stands";
  EXPECT_FALSE(timeline.by_process(run.producer)->ended);
  timeline.note_exit({133}, 0x300);
  EXPECT_EQ(timeline.by_process(run.producer)->exit_code, 3);
  timeline.note_exit({4711}, 0);
}

// Two containers that share a log, each with a process 137; and one that came later with that
// number.
TEST(Timeline, EqualNumbersOfTwoContainersAreNotMixedUp) {
  ProducerConsumer run;
  run.log.process(run.producer).pid = 137;
  const auto in = [&](uint32_t process, uint64_t name_space, uint64_t start) {
    run.log.process(process).pid_namespace = name_space;
    run.log.process(process).start_tsc = start;
    run.log.process(process).exit_known = 0;
  };
  in(run.consumer, 4026532001, 2000);
  in(run.producer, 4026532002, 3000);
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = open_bytes(bytes);
  Timeline timeline(*log);
  timeline.note_exit({137, 4026532001, 9000}, 9);
  EXPECT_EQ(timeline.by_process(run.consumer)->signal, 9);
  EXPECT_FALSE(timeline.by_process(run.producer)->ended);
  timeline.note_exit({137, 4026532003, 9000}, 0x700);  // of a third, which was not recorded
  timeline.note_exit({137, 4026532002, 2999}, 0x700);  // of an earlier process with that number
  EXPECT_FALSE(timeline.by_process(run.producer)->ended);
  timeline.note_exit({137, 4026532002, 3000}, 0x700);
  EXPECT_EQ(timeline.by_process(run.producer)->exit_code, 7);
}

// ---- The worked example of the format document --------------------------------------------------

// The hex dump of docs/shmlog_format.md: lines "OFFSET: BYTES..." in the block after the marker.
std::vector<uint8_t> bytes_of_document() {
  std::ifstream document(std::string(SHMREC_SOURCE_DIR) + "/docs/shmlog_format.md");
  std::vector<uint8_t> bytes;
  std::string line;
  bool in_example = false;
  while (std::getline(document, line)) {
    if (line == "```hex")
      in_example = true;
    else if (line == "```")
      in_example = false;
    if (!in_example || line.size() < 6 || line[4] != ':') continue;
    std::istringstream words(line.substr(5));
    const size_t offset = std::stoul(line.substr(0, 4), nullptr, 16);
    EXPECT_EQ(offset, bytes.size()) << line;
    std::string word;
    while (words >> word && word != "|")
      bytes.push_back(static_cast<uint8_t>(std::stoul(word, nullptr, 16)));
  }
  return bytes;
}

TEST(ShmlogFormatDocument, ItsWorkedExampleDecodesAsItSays) {
  const std::vector<uint8_t> example = bytes_of_document();
  ASSERT_EQ(example.size(), 64u + 64 + 16 + 72 + 56 + 32) << "a chunk header and five records";
  ShmlogBuilder builder(1);
  builder.add_process({.id_high = 1, .pid = 133});
  builder.add_segment(SegmentKind::kAnonymous, "");
  std::vector<uint8_t> bytes = builder.build();
  std::copy(example.begin(), example.end(),
            bytes.begin() + static_cast<ptrdiff_t>(builder.chunk_offset(0)));
  const auto log = open_bytes(bytes);
  ASSERT_EQ(log->chunks().size(), 1u);
  const shmlog::ChunkHeader& chunk = log->chunks()[0].header;
  EXPECT_EQ(chunk.ticket, 5u);
  EXPECT_EQ(chunk.process, 1u);
  EXPECT_EQ(chunk.lane, 3u);
  EXPECT_EQ(chunk.pid, 133);
  EXPECT_EQ(chunk.tid, 134);
  EXPECT_EQ(chunk.start_tsc, 0x123456789abu);
  ChunkCopy copy;
  ASSERT_TRUE(log->copy_chunk(log->chunks()[0], copy));
  uint32_t at = 0;
  RecordView record;
  ASSERT_TRUE(copy.next(at, record));
  EXPECT_EQ(record.kind, RecordKind::kWrite);
  EXPECT_EQ(record.state, RecordState::kCommitted);
  EXPECT_EQ(record.bytes, 64u);
  EXPECT_EQ(record.header.segment, 1u);
  EXPECT_EQ(record.header.offset, 0x118u);
  EXPECT_EQ(record.header.address, 0x7f61b0794118u);
  EXPECT_EQ(record.header.pc, 0x5618d2d15c61u);
  EXPECT_EQ(record.header.event, 2822u);
  EXPECT_EQ(record.header.length, 4u);
  EXPECT_EQ(record.header.syscall, 0u);
  EXPECT_EQ(record.write_version(0), 7u);
  EXPECT_EQ(std::vector<uint8_t>(record.output().begin(), record.output().end()), le32(100));
  ASSERT_TRUE(copy.next(at, record));
  EXPECT_TRUE(record.is_clock());
  EXPECT_EQ(record.clock_tsc, 0x12345679000u);
  ASSERT_TRUE(copy.next(at, record));
  EXPECT_EQ(record.kind, RecordKind::kReadWrite);
  EXPECT_EQ(record.header.offset, 0x13eu);
  EXPECT_EQ(record.lines(), 2u) << "it crosses from line 4 to line 5";
  EXPECT_EQ(record.read_version(0), 9u);
  EXPECT_EQ(record.read_version(1), 2u);
  EXPECT_EQ(std::vector<uint8_t>(record.input().begin(), record.input().end()), le32(1));
  EXPECT_EQ(std::vector<uint8_t>(record.output().begin(), record.output().end()), le32(2));
  ASSERT_TRUE(copy.next(at, record));
  EXPECT_EQ(record.at, 0x110u) << "the place before it is passed over";
  EXPECT_EQ(record.kind, RecordKind::kWrite);
  EXPECT_EQ(record.state, RecordState::kCommitted);
  EXPECT_EQ(record.bytes, 32u);
  EXPECT_EQ(record.header.segment, 1u);
  EXPECT_EQ(record.header.offset, 0x118u);
  EXPECT_EQ(record.header.address, 0x7f61b0794118u);
  EXPECT_EQ(record.header.pc, 0x5618d2d15cc8u);
  EXPECT_EQ(record.header.event, 2824u);
  EXPECT_EQ(record.header.length, 4u);
  EXPECT_EQ(record.header.syscall, 0u);
  EXPECT_EQ(record.callers(), std::vector<uint64_t>{shmlog::caller_word(3, 0x5618d2d15d02)});
  EXPECT_EQ(record.write_version(0), 8u);
  EXPECT_EQ(std::vector<uint8_t>(record.output().begin(), record.output().end()), le32(99));
  EXPECT_FALSE(copy.next(at, record));
  EXPECT_EQ(at, 0x130u);
  EXPECT_EQ(copy.damage_at(at), nullptr) << "a zero word ends the chunk in order";
}

}  // namespace
}  // namespace shmrec::recording
