// The journal as a ring, and the tables of processes and segments used again: the agent's own code
// on a small log, read by the host's reader. Writers are threads of this
// process and forked children, some of them killed wherever they are.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_reader.h"
#include "recording/run/segment_history.h"
#include "recording/run/timeline.h"

// After libc's: the agent declares memcpy and others once more, without
// noexcept.
// clang-format off
#include "agent/log/log.h"
#include "agent/log/tables.h"
#include "agent/memory/modules.h"
#include "agent/memory/regions.h"
// clang-format on

namespace shmrec::agent {

// ---- What stands below --------------------------------------------------------------------------

bool filtered = false;  // no seccomp filter is there
bool lets_pass(int64_t, const uint64_t*) { return true; }
uint64_t namespace_inode(const char* path) {
  struct stat status;
  return stat(path, &status) == 0 ? status.st_ino : 0;
}
bool safe_copy(void* to, const void* from, size_t bytes, Fault*) {
  std::memcpy(to, from, bytes);
  return true;
}

void sites_forget(uint64_t, uint64_t) {}
void patches_forget(uint64_t, uint64_t) {}
void patches_undo(uint64_t, uint64_t) {}
void patches_end_locked() {}
bool has_wide_exchange() { return false; }
void native_for_each(void (*)(const Region&, void*), void*) {}
void for_each_block(void (*)(Thread*, void*), void*) {}
void brake_meter(Thread*, const uint8_t*, uint64_t) {}

namespace {

using recording::JournalItem;
using recording::ShmlogReader;
using recording::Timeline;
using shmlog::JournalType;
using shmlog::Loss;

constexpr uint32_t kUnits = 16384;   // of the journal: 256 KiB
constexpr uint32_t kProcesses = 32;  // entries of the table

class Journal : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() /
            ("shmrec-journal-" + std::to_string(getpid()) + ".shmlog");
    std::filesystem::remove(path_);
    recording::CreateOptions options;
    options.log_bytes = recording::kMinLogBytes;
    const auto fd = recording::create_shmlog(path_, options);
    ASSERT_TRUE(fd) << fd.error().message;
    shmlog::Header header;
    ASSERT_EQ(pread(*fd, &header, sizeof header, 0), ssize_t{sizeof header});
    header.journal.count = kUnits;
    header.processes.count = kProcesses;
    ASSERT_EQ(pwrite(*fd, &header, sizeof header, 0), ssize_t{sizeof header});
    ASSERT_EQ(log_attach(*fd, header.file_bytes, 0), 0);
    close(*fd);
    process_.entry = &process_.dummy;
    process_enter(&process_, 0, shmlog::StartKind::kExec);
    ASSERT_NE(process_.index, 0u);
    maps_list(&process_);
  }
  void TearDown() override {
    modules_forget(0, UINT64_MAX);
    munmap(&log_header(), log_header().file_bytes);
    std::filesystem::remove(path_);
  }

  std::unique_ptr<ShmlogReader> read() {
    auto reader = ShmlogReader::open(path_);
    EXPECT_TRUE(reader) << reader.error().message;
    return std::move(*reader);
  }
  uint64_t lost(Loss loss) { return log_header().losses[static_cast<uint32_t>(loss)]; }

  void add_module(uint64_t i) {
    module_add(&process_, 0x10000 * i, 0x1000, 0, i, ("/lib/module" + std::to_string(i)).c_str());
  }
  void mark(uint64_t value, const char* text = nullptr) {
    JournalValues values;
    values.a = value;
    values.text = text;
    journal(&process_, JournalType::kMark, values);
  }
  // Paths of the modules that the recording has in the end.
  std::set<std::string> modules(const ShmlogReader& log) {
    const Timeline timeline(log);
    const recording::Recording* recording = timeline.by_process(process_.index);
    if (recording == nullptr) return {};
    std::set<std::string> paths;
    const recording::AddressSpace space = timeline.address_space(*recording, UINT64_MAX);
    for (const auto& [begin, mapping] : space.mappings()) paths.insert(mapping.path);
    return paths;
  }
  // As one that was forked by the recording `parent`, 0: nobody knows by whom.
  static void enter(Process* process, uint32_t parent) {
    process->entry = &process->dummy;
    process_enter(process, parent, shmlog::StartKind::kFork);
  }
  // A child that writes into the journal until it is killed.
  pid_t start_writer(int seed) {
    const pid_t child = fork();
    if (child != 0) return child;
    Process own = {};
    enter(&own, process_.index);
    const std::string text(static_cast<size_t>(seed * 37 % 300), 'x');
    for (uint64_t i = 0;; ++i) {
      JournalValues values;
      values.a = i;
      values.text = text.c_str();
      journal(&own, i % 16 == 0 ? JournalType::kModule : JournalType::kMark, values);
    }
  }

  std::filesystem::path path_;
  Process process_ = {};
};

TEST_F(Journal, WhatALivingProcessHasMappedOutlivesManyRounds) {
  for (uint64_t i = 1; i <= 5; ++i) add_module(i);
  constexpr uint64_t kMarks = 50'000;
  for (uint64_t i = 0; i < kMarks; ++i) mark(i, i % 7 == 0 ? "a longer one" : nullptr);
  const auto log = read();
  EXPECT_TRUE(log->damage().empty()) << log->damage()[0].reason;
  EXPECT_EQ(modules(*log), (std::set<std::string>{"/lib/module1", "/lib/module2", "/lib/module3",
                                                  "/lib/module4", "/lib/module5"}));
  uint64_t marks = 0, newest = 0, place = 0;
  for (const JournalItem& item : log->journal()) {
    EXPECT_GE(item.place, place);
    place = item.place;
    if (static_cast<JournalType>(item.entry.type) != JournalType::kMark) continue;
    ++marks;
    newest = item.entry.a;
  }
  EXPECT_EQ(newest, kMarks - 1);
  EXPECT_EQ(static_cast<JournalType>(log->journal()[0].entry.type), JournalType::kProcessStart);
  // What is given up is counted before it is overwritten.
  EXPECT_GE(lost(Loss::kJournalOverwritten) + marks, kMarks);
  EXPECT_EQ(lost(Loss::kJournalDropped), 0u);
}

TEST_F(Journal, MapsThatChangeWithoutEndStayTheCurrentOnes) {
  for (uint64_t i = 1; i <= 3; ++i) add_module(i);
  for (uint64_t i = 0; i < 20'000; ++i) {
    add_module(100 + i % 9);
    const uint64_t begin = 0x10000 * (100 + i % 9);
    modules_forget(begin, begin + 0x1000);
    JournalValues values;
    values.a = begin;
    values.b = 0x1000;
    journal(&process_, JournalType::kUnmap, values);
  }
  const auto log = read();
  EXPECT_EQ(modules(*log), (std::set<std::string>{"/lib/module1", "/lib/module2", "/lib/module3"}));
  EXPECT_EQ(lost(Loss::kJournalDropped), 0u);
}

TEST_F(Journal, MoreThanFitsIsGivenUpAndCounted) {
  const std::string name = "/lib/" + std::string(240, 'x');
  for (uint64_t i = 1; i <= 1000; ++i)
    module_add(&process_, 0x10000 * i, 0x1000, 0, i, name.c_str());
  for (uint64_t i = 0; i < 1000; ++i) mark(i);
  EXPECT_GT(lost(Loss::kJournalDropped), 0u);
  const auto log = read();
  const shmlog::ProcessEntry* entry = log->process(process_.index);
  ASSERT_NE(entry, nullptr);
  EXPECT_GT(entry->maps_from, 0u);
  // Nothing that is told is wrong: each module is where it was mapped.
  for (const std::string& path : modules(*log)) EXPECT_EQ(path, name);
}

TEST_F(Journal, TwoWritersLoseNothingOfEachOther) {
  for (uint64_t i = 1; i <= 4; ++i) add_module(i);
  const pid_t a = start_writer(1), b = start_writer(5);
  for (uint64_t i = 0; i < 20'000; ++i) mark(i);
  kill(a, SIGSTOP), kill(b, SIGSTOP);
  int status;
  waitpid(a, &status, WUNTRACED), waitpid(b, &status, WUNTRACED);
  const auto log = read();
  EXPECT_EQ(modules(*log).size(), 4u);
  EXPECT_EQ(lost(Loss::kJournalDropped), 0u);
  kill(a, SIGKILL), kill(b, SIGKILL);
  waitpid(a, &status, 0), waitpid(b, &status, 0);
}

TEST_F(Journal, WritersKilledAnywhereBlockNobodyAndLoseNothingOfOthers) {
  for (uint64_t i = 1; i <= 4; ++i) add_module(i);
  srand(7);
  for (int round = 0; round < 150; ++round) {
    pid_t writers[2];
    for (int i = 0; i < 2; ++i) writers[i] = start_writer(round + i);
    usleep(static_cast<useconds_t>(500 + rand() % 3000));
    for (const pid_t writer : writers) kill(writer, SIGKILL);
    for (const pid_t writer : writers) waitpid(writer, nullptr, 0);
    const uint64_t place = log_header().journal_units;
    mark(static_cast<uint64_t>(round), "after");
    const auto log = read();
    ASSERT_EQ(modules(*log).size(), 4u) << "round " << round;
    bool found = false;
    for (const JournalItem& item : log->journal())
      found |= item.place >= place && item.text == "after";
    ASSERT_TRUE(found) << "round " << round;
  }
  EXPECT_GT(log_header().journal_units, uint64_t{kUnits} * 3);
  EXPECT_EQ(lost(Loss::kJournalDropped), 0u);
}

TEST_F(Journal, OneThatStopsWithTheLockIsPassedAndWritesOverNobody) {
  add_module(1);
  const pid_t stopped = fork();
  if (stopped == 0) {
    Process own = {};
    enter(&own, process_.index);
    {
      const LogLock lock(&log_header().journal_lock, &own);
      const uint64_t head = log_header().journal_units % kUnits;
      raise(SIGSTOP);
      std::memset(log_area<uint8_t>(log_header().journal) + head * shmlog::kJournalUnitBytes, 0x5A,
                  shmlog::kMaxJournalUnits * shmlog::kJournalUnitBytes);
    }
    JournalValues values;
    values.text = "and goes on";
    journal(&own, JournalType::kMark, values);
    _exit(0);
  }
  int status;
  waitpid(stopped, &status, WUNTRACED);
  for (uint64_t i = 0; i < 10; ++i) mark(i, "beside it");
  kill(stopped, SIGCONT);
  waitpid(stopped, &status, 0);
  mark(10, "beside it");
  uint64_t marks = 0;
  bool goes_on = false;
  const auto log = read();
  for (const JournalItem& item : log->journal()) {
    marks += item.text == "beside it";
    goes_on |= item.text == "and goes on";
  }
  EXPECT_EQ(marks, 11u);
  EXPECT_TRUE(goes_on);
  EXPECT_EQ(modules(*log), std::set<std::string>{"/lib/module1"});
}

TEST_F(Journal, DamageInTheRingIsCountedAndTheRestIsRead) {
  for (uint64_t i = 1; i <= 4; ++i) add_module(i);
  for (uint64_t i = 0; i < 3000; ++i) mark(i);
  uint8_t* ring = log_area<uint8_t>(log_header().journal);
  const size_t before = read()->journal().size();
  std::memset(ring + 1000 * shmlog::kJournalUnitBytes, 0x4A, 64 * shmlog::kJournalUnitBytes);
  const auto log = read();
  EXPECT_LT(log->journal().size(), before);
  EXPECT_GT(log->journal().size(), before - 30);
  ASSERT_EQ(log->damage().size(), 1u);
  EXPECT_GE(log->damage()[0].count, 64u);
}

TEST_F(Journal, EntriesOfEndedProcessesAreUsedAgainAndNumbersAreNot) {
  std::set<uint32_t> numbers{process_.index};
  std::set<std::string> ids;
  for (uint32_t i = 0; i < 10 * kProcesses; ++i) {
    Process other = {};
    enter(&other, process_.index);
    ASSERT_NE(other.index, 0u);
    EXPECT_TRUE(numbers.insert(other.index).second);
    ids.insert(recording::recording_id(other.entry->id_high, other.entry->id_low));
    process_ends(&other, 0, false);
  }
  EXPECT_EQ(ids.size(), 10u * kProcesses);
  EXPECT_EQ(lost(Loss::kProcessesDropped), 0u);
  EXPECT_GT(lost(Loss::kProcessesOverwritten), 0u);
  EXPECT_EQ(process_entry(process_.index), process_.entry);
  const auto log = read();
  EXPECT_EQ(log->processes().size(), size_t{kProcesses - 1});
  EXPECT_NE(log->process(process_.index), nullptr);
  EXPECT_NE(log->process(*numbers.rbegin()), nullptr);
}

TEST_F(Journal, ATableFullOfLivingProcessesSaysSo) {
  for (uint32_t i = 0; i < kProcesses; ++i) {
    Process other = {};
    enter(&other, 0);
  }
  EXPECT_EQ(lost(Loss::kProcessesDropped), 2u);
  EXPECT_EQ(lost(Loss::kProcessesOverwritten), 0u);
}

// ---- Segments -----------------------------------------------------------------------------------

constexpr uint32_t kSegments = 64;  // entries of the table

class Segments : public Journal {
 protected:
  void SetUp() override {
    Journal::SetUp();
    usleep(150'000);  // after a search that found nothing there is none for 0.1 s
    log_header().segments.count = kSegments;
    thread_->process = &process_;
  }
  uint32_t map(uint64_t inode) {
    SegmentIdentity identity = {};
    identity.kind = shmlog::SegmentKind::kMemfd;
    identity.device = 7, identity.inode = inode, identity.generation = inode;
    identity.in_memory = true;
    snprintf(identity.name, sizeof identity.name, "s%llu", static_cast<unsigned long long>(inode));
    return segment_enter(thread_.get(), identity, 4096);
  }
  std::unique_ptr<Thread> thread_ = std::make_unique<Thread>();
};

TEST_F(Segments, OneObjectHasOneNumberAlsoAfterItWasUnmapped) {
  const uint32_t segment = map(1);
  EXPECT_EQ(map(1), segment);
  segment_unmapped(&process_, segment);
  for (uint64_t i = 2; i < kSegments - 2; ++i) segment_unmapped(&process_, map(i));
  EXPECT_EQ(map(1), segment);
}

TEST_F(Segments, ItsNewestNamesAndSizesOutliveManyRounds) {
  constexpr uint64_t kRenamed = 20, kMarks = 50'000;
  const uint32_t segment = map(1);
  for (uint64_t i = 0; i < kRenamed; ++i) {
    const std::string name = "name" + std::to_string(i);
    segment_named(&process_, segment, name.c_str(), shmlog::NameReason::kRenamed);
    segment_lives(&process_, segment, shmlog::SegmentEvent::kResized, nullptr, i, i + 1);
  }
  for (uint64_t i = 0; i < kMarks; ++i) mark(i, nullptr);
  const auto log = read();
  EXPECT_TRUE(log->damage().empty());
  const std::vector<recording::Happening> history =
      recording::segment_history(Timeline(*log), segment);
  ASSERT_EQ(history.size(), 1 + 2 * size_t{shmlog::kSegmentTold});
  EXPECT_EQ(history[0].what, "first mapped as s1");
  for (uint64_t i = 0; i < shmlog::kSegmentTold; ++i) {
    const uint64_t round = kRenamed - shmlog::kSegmentTold + i;
    EXPECT_EQ(history[1 + 2 * i].what, "renamed to name" + std::to_string(round));
    EXPECT_EQ(history[2 + 2 * i].what, "resized from " + std::to_string(round) + " to " +
                                           std::to_string(round + 1) + " bytes");
  }
  EXPECT_EQ(lost(Loss::kJournalDropped), 0u);
}

TEST_F(Segments, WhatIsMappedKeepsItsEntryAndNumbersAreNotUsedAgain) {
  const uint32_t lasting = map(1);
  std::set<uint32_t> numbers{lasting};
  for (uint64_t i = 2; i < 20 * kSegments; ++i) {
    const uint32_t segment = map(i);
    ASSERT_NE(segment, 0u) << i;
    EXPECT_TRUE(numbers.insert(segment).second);
    EXPECT_TRUE(segment_maybe(7, i));
    EXPECT_TRUE(segment_maybe(7, 1));
    segment_unmapped(&process_, segment);
  }
  EXPECT_EQ(map(1), lasting);
  EXPECT_EQ(lost(Loss::kSegmentsDropped), 0u);
  EXPECT_EQ(lost(Loss::kSegmentsOverwritten), 0u);  // no record is of any
  const auto log = read();
  ASSERT_NE(log->segment(lasting), nullptr);
  EXPECT_STREQ(log->segment(lasting)->name, "s1");
  ASSERT_NE(log->segment(*numbers.rbegin()), nullptr);
  EXPECT_EQ(log->segment(2), nullptr);
  EXPECT_STREQ(segment_entry(2).name, "");
}

TEST_F(Segments, ATableFullOfMappedOnesSaysSo) {
  for (uint64_t i = 1; i <= kSegments - 1; ++i) EXPECT_NE(map(i), 0u);
  EXPECT_EQ(map(1000), 0u);
  EXPECT_EQ(lost(Loss::kSegmentsDropped), 1u);
}

TEST_F(Segments, TheMappedOfAKilledProcessAreUsedAgainAfterASecond) {
  const pid_t child = fork();
  if (child == 0) {
    Process own = {};
    enter(&own, process_.index);
    thread_->process = &own;
    for (uint64_t i = 1; i <= kSegments - 1; ++i) map(i);
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(map(1000), 0u);
  sleep(1);
  usleep(200'000);
  EXPECT_NE(map(1000), 0u);
}

TEST_F(Segments, WhatAForkedChildMayHaveIsNotUsedAgainAtOnce) {
  for (uint64_t i = 1; i <= kSegments - 1; ++i) map(i);
  process_.forked_tsc = rdtsc();
  for (uint32_t segment = 1; segment < kSegments; ++segment) segment_unmapped(&process_, segment);
  EXPECT_EQ(map(1000), 0u);
  sleep(1);
  usleep(200'000);
  EXPECT_NE(map(1000), 0u);
}

TEST_F(Segments, ProcessesKilledAnywhereLeaveATableThatCanBeUsed) {
  const uint32_t lasting = map(1);
  srand(11);
  for (int round = 0; round < 100; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      Process own = {};
      enter(&own, process_.index);
      thread_->process = &own;
      for (uint64_t i = 0;; ++i) {
        const uint32_t segment = map(1'000'000 + i % 500);
        if (segment) segment_unmapped(&own, segment);
      }
    }
    usleep(static_cast<useconds_t>(500 + rand() % 3000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const uint64_t inode = 100 + static_cast<uint64_t>(round);
    const uint32_t segment = map(inode);
    ASSERT_NE(segment, 0u) << "round " << round;
    ASSERT_EQ(map(inode), segment);
    segment_unmapped(&process_, segment);
    const auto log = read();
    ASSERT_NE(log->segment(lasting), nullptr);
    ASSERT_STREQ(log->segment(lasting)->name, "s1");
  }
}

}  // namespace
}  // namespace shmrec::agent
