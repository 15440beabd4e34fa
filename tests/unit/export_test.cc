// What is written for other tools, of logs built for each case.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text_output.h"
#include "recording/export/access_csv.h"
#include "recording/export/trace_events.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::recording {
namespace {

using shmlog::SegmentKind;
using testing::le32;
using testing::ProducerConsumer;
using testing::ShmlogBuilder;
using Cells = std::vector<std::string>;

struct Opened {
  explicit Opened(ShmlogBuilder& builder) : bytes(builder.build()) {
    auto opened = ShmlogReader::from_memory(bytes, "test.shmlog");
    if (!opened) ADD_FAILURE() << opened.error().message;
    log = std::move(*opened);
    timeline = std::make_unique<Timeline>(*log);
  }
  std::string csv(const AccessFilter& filter = {}) {
    std::string text;
    Symbols symbols([](const std::string&) { return "/nonexistent"; });
    damage = write_access_csv(*timeline, symbols, filter,
                              [&](std::string_view part) { return text += part, true; });
    return text;
  }
  nlohmann::json trace(const AccessFilter& filter = {}) {
    std::string text;
    damage = write_trace_events(*timeline, filter, {},
                                [&](std::string_view part) { return text += part, true; });
    return nlohmann::json::parse(text);
  }

  std::vector<uint8_t> bytes;
  std::unique_ptr<ShmlogReader> log;
  std::unique_ptr<Timeline> timeline;
  std::vector<Damage> damage;
};

// One column of plain cells.
Cells column(const std::string& csv, const std::string& title) {
  std::vector<Cells> rows;
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    rows.emplace_back();
    std::istringstream cells(line + ",");
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
  }
  const auto at = std::find(rows[0].begin(), rows[0].end(), title) - rows[0].begin();
  Cells found;
  for (size_t i = 1; i < rows.size(); ++i) found.push_back(rows[i].at(static_cast<size_t>(at)));
  return found;
}

nlohmann::json with_phase(const nlohmann::json& trace, const std::string& phase) {
  nlohmann::json found = nlohmann::json::array();
  for (const nlohmann::json& event : trace["traceEvents"])
    if (event["ph"] == phase) found.push_back(event);
  return found;
}

TEST(CsvCell, QuotesWhatMustBe) {
  EXPECT_EQ(csv_cell("plain name"), "plain name");
  EXPECT_EQ(csv_cell(""), "");
  EXPECT_EQ(csv_cell("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_cell("say \"it\""), "\"say \"\"it\"\"\"");
}

TEST(CsvCell, IsOneLineOfText) {
  EXPECT_EQ(csv_cell("a\nb\r\x1b"), "a\\x0ab\\x0d\\x1b");
  EXPECT_EQ(csv_cell("\xff"), "\\xff");
  EXPECT_EQ(csv_cell("größe"), "größe");
}

TEST(Csv, HasARowForEachAccess) {
  ProducerConsumer run;
  Opened opened(run.log);
  const std::string csv = opened.csv();
  EXPECT_EQ(column(csv, "kind"), (Cells{"write", "write", "write", "write", "read", "read"}));
  EXPECT_EQ(column(csv, "written"),
            (Cells{"53000000", "64000000", "07000000", "0c000000", "", ""}));
  EXPECT_EQ(column(csv, "read"), (Cells{"", "", "", "", "53000000", "64000000"}));
  EXPECT_EQ(column(csv, "offset"), (Cells{"280", "280", "284", "280", "280", "280"}));
  EXPECT_EQ(column(csv, "versions"), (Cells{"1", "2", "3", "4", "2", "4"}));
  EXPECT_EQ(column(csv, "name").back(), "consumer");
  EXPECT_TRUE(opened.damage.empty());
}

TEST(Csv, TakesOneRecordingOrSegment) {
  ProducerConsumer run;
  const uint32_t other = run.log.add_segment(SegmentKind::kPosixShm, "/other");
  run.log.write(run.producer, other, 0, le32(1));
  Opened opened(run.log);
  EXPECT_EQ(column(opened.csv({.process = run.consumer}), "name"), (Cells{"consumer", "consumer"}));
  EXPECT_EQ(column(opened.csv({.segment = other}), "label"), Cells{"/other"});
}

TEST(Csv, LeavesOutWhatDidNotHappen) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kAnonymous, "");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1});
  log.write(a, segment, 0, le32(1));
  log.write(a, segment, 0, le32(2), {.state = shmlog::RecordState::kAborted});
  Opened opened(log);
  EXPECT_EQ(column(opened.csv(), "written"), Cells{"01000000"});
  EXPECT_EQ(with_phase(opened.trace(), "C")[0]["args"]["writes"], 1);
}

// The cache of places of code must not outlive what is mapped there.
TEST(Csv, NamesTheModuleThatWasMappedThen) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kAnonymous, "");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1});
  log.add_module(a, "/lib/old.so", 0x400000, 0x2000, 0);
  log.write(a, segment, 0, le32(1), {.event = 10});
  log.write(a, segment, 0, le32(2), {.event = 11});
  log.add_module(a, "/lib/new.so", 0x400000, 0x2000, 0x8000);
  log.write(a, segment, 0, le32(3), {.event = 12});
  log.write(a, segment, 0, le32(4), {.event = 9});  // of another thread, noted late
  Opened opened(log);
  EXPECT_EQ(column(opened.csv(), "source"),
            (Cells{"old.so@0x1000", "new.so@0x9000", "new.so@0x9000", "old.so@0x1000"}));
}

TEST(Csv, SaysWhatCouldNotBeRead) {
  ProducerConsumer run;
  run.log.record(run.log.last_record()).length = 0;
  Opened opened(run.log);
  EXPECT_EQ(column(opened.csv(), "kind").size(), 5u);
  ASSERT_EQ(opened.damage.size(), 1u);
  EXPECT_NE(opened.damage[0].reason, "");
}

TEST(BinWidth, CoversTheRun) {
  EXPECT_EQ(bin_width(0, 1000), 1u);
  EXPECT_EQ(bin_width(1000, 1000), 1u);
  EXPECT_EQ(bin_width(1001, 1000), 2u);
  EXPECT_EQ(bin_width(2001, 1000), 5u);
  EXPECT_EQ(bin_width(60e6, 1000), 100'000u);
  EXPECT_EQ(bin_width(1e300, 10), 1'000'000'000'000'000u);
}

TEST(TraceEvents, CountsEachAccessOnce) {
  ProducerConsumer run;
  run.log.read_write(run.consumer, run.segment, 0, le32(5));
  Opened opened(run.log);
  uint64_t reads = 0, writes = 0;
  for (const nlohmann::json& point : with_phase(opened.trace(), "C")) {
    reads += point["args"]["reads"].get<uint64_t>();
    writes += point["args"]["writes"].get<uint64_t>();
  }
  EXPECT_EQ(reads, 3u);
  EXPECT_EQ(writes, 5u);
}

TEST(TraceEvents, GiveEachRecordingANumberOfItsOwn) {
  ShmlogBuilder log;
  for (uint32_t i = 1; i <= 3; ++i) log.add_process({.id_high = i, .pid = 77});
  Opened opened(log);
  std::set<int64_t> pids;
  for (const nlohmann::json& event : with_phase(opened.trace(), "X"))
    pids.insert(event["pid"].get<int64_t>());
  EXPECT_EQ(pids, (std::set<int64_t>{77, (1 << 22) + 1, (1 << 22) + 2}));
}

TEST(TraceEvents, AreJsonWhateverNamesAre) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/\"\xff\n");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "\"\\\x01\xc3"});
  log.write(a, segment, 0, le32(1));
  log.add_journal(shmlog::JournalType::kMark, a, 0, {}, "a \"mark\"\n");
  Opened opened(log);
  const nlohmann::json moments = with_phase(opened.trace(), "i");
  ASSERT_EQ(moments.size(), 1u);
  EXPECT_EQ(moments[0]["name"], "a \"mark\"\n");
}

TEST(TextOutput, SaysWhatCouldNotBeWritten) {
  Result<TextOutput> output = TextOutput::open("/dev/full");
  ASSERT_TRUE(output);
  output->write("text");
  const Result<> written = output->finish();
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().message.find("/dev/full: cannot write it: No space left on device"), 0u)
      << written.error().message;
}

TEST(TextOutput, StopsWhereNothingMoreIsWritten) {
  Result<TextOutput> output = TextOutput::open("/dev/full");
  ASSERT_TRUE(output);
  const std::string piece(1 << 20, 'x');
  bool more = true;
  for (int i = 0; i < 4 && more; ++i) more = output->write(piece);
  EXPECT_FALSE(more);
}

}  // namespace
}  // namespace shmrec::recording
