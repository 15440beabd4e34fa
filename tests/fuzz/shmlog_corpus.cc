// Writes the seed corpus of shmlog_fuzz: small logs that hold each kind of record, journal entry
// and state, so that mutations start from sound structure.
#include <cstdio>
#include <fstream>

#include "tests/unit/shmlog_builder.h"

using namespace shmrec;
using namespace shmrec::testing;
using shmlog::RecordState;

namespace {

void save(const std::string& directory, const char* name, ShmlogBuilder& log) {
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
  for (uint16_t type = 1; type <= 16; ++type) {
    log.add_journal(static_cast<shmlog::JournalType>(type), a, segment,
                    {0x7f61b0794000, 0x1000, 0, 3}, "text");
  }
  for (uint64_t what = 0; what <= 6; ++what) {
    log.add_journal(shmlog::JournalType::kSegmentName, a, segment, {what}, "index");
    log.add_journal(shmlog::JournalType::kSegmentLife, a, segment, {what, 4096, 8192}, "index");
  }
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
  ShmlogBuilder empty(1);
  save(argv[1], "producer-consumer", run.log);
  save(argv[1], "every-kind", kinds);
  save(argv[1], "every-state", states);
  save(argv[1], "every-journal-entry", journal);
  save(argv[1], "empty", empty);
  return 0;
}
