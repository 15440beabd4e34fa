// Writes the seed corpus of shmlog_fuzz: small logs that hold each kind of record, journal entry
// and state, so that mutations start from sound structure.
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/unit/shmlog_builder.h"

using namespace shmrec;
using namespace shmrec::testing;
using shmlog::RecordState;

namespace {

void save(const std::string& directory, const std::string& name, ShmlogBuilder& log) {
  const std::vector<uint8_t> bytes = log.build_short();
  std::ofstream(directory + "/" + name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

ShmlogBuilder every_kind() {
  ShmlogBuilder log(1);
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.map_segment(a, segment, 0x7f61b0794000);
  log.add_module(a, "/bin/a", 0x400000, 0x1000, 0);
  log.write(a, segment, 60, le64(1));
  log.read(a, segment, 0x118, 8);
  log.read_write(a, segment, 62, le32(2));
  log.read_then_write(a, segment, 62, le32(3));
  log.clock(a);
  log.write(a, segment, 0, std::vector<uint8_t>(200, 4), {.syscall = 1});
  log.read(a, segment, 60, 8, {.flags = shmlog::kFlagRelaxed});
  log.write_between(a, segment, 60, le64(5), 1);
  log.read_between(a, segment, 60, 8, 1);
  return log;
}

// Places and short records of each kind, and long ones between them.
ShmlogBuilder short_records() {
  ShmlogBuilder log(1);
  log.set_short(true);
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.map_segment(a, segment, 0x7f61b0794000);
  log.add_module(a, "/bin/a", 0x400000, 0x1000, 0);
  const std::vector<uint64_t> callers = {shmlog::caller_word(0, 0x401234),
                                         shmlog::caller_word(7, 0x401238)};
  log.write(a, segment, 0x118, le64(1));
  log.read(a, segment, 60, 4);
  log.write(a, segment, 60, le64(2));  // of two lines: a long one
  log.clock(a);
  log.read_write(a, segment, 0x118, le32(3), {.pc = 0x401010, .callers = callers});
  log.read_then_write(a, segment, 0x11c, le32(4), {.pc = 0x401010, .callers = callers});
  log.write(a, segment, 0x118, le32(5), {.state = RecordState::kBegun});
  log.read(a, segment, 0x118, 8, {.syscall = 1, .flags = shmlog::kFlagRelaxed});
  log.read(a, segment, 0x118, 8, {.callers = callers});
  return log;
}

// A place, a short record that is sound, and one that is not.
struct Lie {
  const char* name;
  uint32_t place;   // of the second record's, from the chunk's start
  uint32_t offset;  // that it adds
  uint32_t bytes;   // that it says it has
  uint16_t flags;   // of the place
};
constexpr uint32_t kPlaceAt = sizeof(shmlog::ChunkHeader);
constexpr uint32_t kShortAt = kPlaceAt + sizeof(shmlog::RecordHeader);
constexpr Lie kLies[] = {
    {"place-behind", kShortAt + 64, 0x1000, 32, 0},
    {"place-itself", kShortAt + 32, 0x1000, 32, 0},
    {"place-outside", 0x7FFF8, 0x1000, 32, 0},
    {"place-in-header", 8, 0x1000, 32, 0},
    {"place-not-a-place", kShortAt, 0x1000, 32, 0},
    {"place-callers", kPlaceAt, 0x1000, 32, 7 << shmlog::kCallersShift},
    {"short-offset", kPlaceAt, UINT32_MAX, 32, 0},
    {"short-before-zero", kPlaceAt, 0, 32, 0},
    {"short-two-lines", kPlaceAt, 0x1000 + 62, 32, 0},
    {"short-length", kPlaceAt, 0x1000, 24, 0},
};

ShmlogBuilder lying(const Lie& lie) {
  ShmlogBuilder log(1);
  log.set_short(true);
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.write(a, segment, 0, le32(1));
  log.write(a, segment, 0, le32(2));
  const uint64_t liar = log.last_record();
  log.write(a, segment, 0, le32(3));
  log.record(log.chunk_offset(0) + kPlaceAt).flags = lie.flags;
  auto& record = reinterpret_cast<shmlog::ShortRecord&>(log.record(liar));
  record.commit =
      shmlog::commit_word(lie.bytes, shmlog::RecordKind::kShortWrite, RecordState::kCommitted);
  record.offset = lie.offset;
  record.event_place = 2 | uint64_t{lie.place / 8} << shmlog::kPlaceShift;
  return log;
}

ShmlogBuilder every_state() {
  ShmlogBuilder log(1);
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kMemfd, "ring");
  log.segment(segment).accesses = static_cast<uint16_t>(shmlog::Accesses::kWrites);
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  for (const RecordState state : {RecordState::kBegun, RecordState::kCommitted,
                                  RecordState::kAborted, RecordState::kInferred}) {
    log.write(a, segment, 0x118, le64(static_cast<uint64_t>(state)), {.state = state});
    log.read_write(a, segment, 0x118, le64(7), {.state = state});
  }
  log.unrecorded_write(segment, 0x118, le64(99));
  log.read(a, segment, 0x118, 8);
  log.stripe(segment, 0x118) = shmlog::stripe_word_locked(3, a);
  return log;
}

ShmlogBuilder every_journal_entry() {
  ShmlogBuilder log(1);
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kSysV, "");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  for (uint16_t type = 1; type <= 17; ++type) {
    log.add_journal(static_cast<shmlog::JournalType>(type), a, segment,
                    {0x7f61b0794000, 0x1000, 0, 3}, "text");
  }
  for (uint64_t what = 0; what <= 6; ++what) {
    log.add_journal(shmlog::JournalType::kSegmentName, a, segment, {what}, "index");
    log.add_journal(shmlog::JournalType::kSegmentLife, a, segment, {what, 4096, 8192}, "index");
  }
  for (uint64_t level = 0; level <= 3; ++level)
    log.add_journal(shmlog::JournalType::kBrake, a, segment, {level, 38000, level}, "");
  log.segment(segment).brake = 2;
  log.segment(segment).braked = 3;
  const uint32_t b =
      log.add_process({.id_high = 2, .pid = 2, .start = shmlog::StartKind::kFork, .parent = a});
  log.read(b, segment, 0x118, 4);
  log.header().next_usage = 2;
  log.usage(1) = {a, segment, 1, 2, 3};
  log.process(a).exit_known = 1;
  log.process(a).exit_status = 11;
  return log;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: shmlog_corpus DIRECTORY\n");
    return 2;
  }
  ProducerConsumer run;
  ShmlogBuilder kinds = every_kind();
  ShmlogBuilder states = every_state();
  ShmlogBuilder journal = every_journal_entry();
  ShmlogBuilder shorts = short_records();
  ShmlogBuilder empty(1);
  save(argv[1], "producer-consumer", run.log);
  save(argv[1], "every-kind", kinds);
  save(argv[1], "every-state", states);
  save(argv[1], "every-journal-entry", journal);
  save(argv[1], "empty", empty);
  save(argv[1], "short-records", shorts);
  for (const Lie& lie : kLies) {
    ShmlogBuilder log = lying(lie);
    save(argv[1], lie.name, log);
  }
  return 0;
}
