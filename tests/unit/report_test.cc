// The report: what it counts in bounded memory, what it tells, and that nothing of a bundle becomes
// markup.
#include "report/report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "recording/run/run_files.h"
#include "report/access_map.h"
#include "report/activity.h"
#include "report/line_table.h"
#include "report/page.h"
#include "report/page_data.h"
#include "report/share_text.h"
#include "report/survey.h"
#include "tests/unit/shmlog_builder.h"

// With the fuzzer's function, over its corpus: what it found stays found, without clang too.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace shmrec::report {
namespace {

using nlohmann::json;
using testing::le32;
using testing::ProducerConsumer;
using testing::ShmlogBuilder;

// A log in a file, opened as the command opens it.
class Opened {
 public:
  explicit Opened(ShmlogBuilder& builder) {
    const std::vector<uint8_t> bytes = builder.build();
    const std::string path = ::testing::TempDir() + "/report_test-" +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                             ".shmlog";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<ptrdiff_t>(bytes.size()));
    auto files = recording::RunFiles::open(path);
    EXPECT_TRUE(files.ok()) << files.error().message;
    files_ = std::move(*files);
  }
  const recording::RunFiles& files() const { return *files_; }

 private:
  std::unique_ptr<recording::RunFiles> files_;
};

json data_of(const std::string& page) {
  const std::string begin = "<script type=\"application/json\" id=\"data\">";
  const size_t at = page.find(begin) + begin.size();
  return json::parse(page.substr(at, page.find("</script>", at) - at));
}

json report_of(ShmlogBuilder& builder) {
  return data_of(make_report(Opened(builder).files(), "name"));
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

Sighting write_at(uint32_t process, uint64_t offset, uint64_t time, uint64_t version) {
  Sighting access;
  access.process = process, access.segment = 1, access.offset = offset, access.length = 4;
  access.time = time, access.version = version, access.writes = true;
  return access;
}

TEST(Axis, DoublesUntilEveryNumberHasABin) {
  for (const uint64_t number :
       {uint64_t{0}, uint64_t{63}, uint64_t{64}, uint64_t{1} << 40, UINT64_MAX}) {
    Axis axis(64, 1);
    while (!axis.holds(number)) axis.widen();
    EXPECT_LT(axis.bin(number), 64u) << number;
  }
}

TEST(Activity, KeepsEveryAccessWhenItsBinsBecomeWider) {
  Activity activity(1);
  for (uint64_t time = 0; time < 10 * Activity::kBins; ++time)
    activity.add(1, 2, time, time % 2 == 0, time % 2 == 1);
  uint64_t reads = 0, writes = 0;
  for (const Activity::Counts& bin : activity.pairs().at({1, 2}))
    reads += bin.reads, writes += bin.writes;
  EXPECT_EQ(reads, 5 * Activity::kBins);
  EXPECT_EQ(writes, 5 * Activity::kBins);
  EXPECT_EQ(activity.axis().width(), 16u);
  EXPECT_EQ(activity.pairs().at({1, 2})[0].reads, 8u);
}

TEST(Activity, CountsWhatIsBeyondItsPairs) {
  Activity activity(1);
  for (uint32_t i = 0; i < Activity::kMostPairs + 5; ++i) activity.add(i, 1, 0, true, false);
  EXPECT_EQ(activity.pairs().size(), Activity::kMostPairs);
  EXPECT_EQ(activity.left_out(), 5u);
}

TEST(Activity, CoarsensToWhatIsWanted) {
  Activity activity(1);
  for (uint64_t time = 0; time < Activity::kBins; ++time) activity.add(1, 1, time, true, false);
  activity.coarsen(100);
  size_t used = 0;
  for (const Activity::Counts& bin : activity.pairs().at({1, 1})) used += bin.reads != 0;
  EXPECT_EQ(used, 64u);
}

TEST(AccessMap, NamesTheLastWriterByTheLinesVersion) {
  AccessMap map(1);
  map.add(write_at(7, 0, 5, 3));  // its clock is late, its version is not
  map.add(write_at(8, 0, 5, 2));
  const AccessMap::Cell& cell = map.cell(0, 5);
  EXPECT_EQ(cell.writes, 2u);
  EXPECT_EQ(cell.writers.count, 2);
  ASSERT_NE(cell.last_writes.newest(), nullptr);
  EXPECT_EQ(cell.last_writes.newest()->process, 7u);
}

TEST(AccessMap, KeepsTheNewestOfEachProcess) {
  AccessMap map(100);
  for (uint64_t version = 1; version <= 20; ++version)
    map.add(write_at(1 + version % 2, 0, 0, version));
  const AccessMap::Newest& newest = map.cell(0, 0).last_writes;
  ASSERT_EQ(newest.end() - newest.begin(), 2);
  for (const Sighting& access : newest) EXPECT_EQ(access.version, access.process == 1 ? 20u : 19u);
}

TEST(AccessMap, GivesUpTheOldestWriterFirst) {
  AccessMap map(100);
  for (uint32_t process = 1; process <= 6; ++process) map.add(write_at(process, 0, 0, process));
  for (const Sighting& access : map.cell(0, 0).last_writes) EXPECT_GE(access.process, 4u);
  EXPECT_EQ(map.cell(0, 0).writers.count, ProcessSet::kNamed);
  EXPECT_TRUE(map.cell(0, 0).writers.more);
}

TEST(AccessMap, MergesRowsAndColumnsAsTheyBecomeWider) {
  AccessMap map(1);
  map.add(write_at(1, 0, 0, 1));
  map.add(write_at(2, 64, 1, 2));
  map.add(write_at(3, 64 * AccessMap::kRows, AccessMap::kColumns, 3));
  EXPECT_EQ(map.row_bytes(), 128u);
  EXPECT_EQ(map.column_ticks(), 2u);
  EXPECT_EQ(map.cell(0, 0).writes, 2u);
  EXPECT_EQ(map.cell(0, 0).writers.count, 2);
  EXPECT_EQ(map.cell(AccessMap::kRows / 2, AccessMap::kColumns / 2).writes, 1u);
}

TEST(AccessMap, CountsAnAccessInEachRowThatItCovers) {
  AccessMap map(1);
  Sighting access = write_at(1, 60, 0, 1);
  access.length = 70;
  map.add(access);
  for (const uint32_t row : {0, 1, 2}) EXPECT_EQ(map.cell(row, 0).writes, 1u) << row;
  EXPECT_TRUE(map.cell(3, 0).empty());
}

TEST(LineTable, KeepsHotLinesAmongManyThatAreSeenOnce) {
  LineTable table(64);
  for (uint64_t i = 0; i < 10000; ++i) {
    table.add(1, i % 4, static_cast<uint32_t>(1 + i / 4 % 2), false, true);
    table.add(1, 1000 + i, 1, true, false);
  }
  const std::vector<LineTable::Line> hot = table.hottest(4);
  ASSERT_EQ(hot.size(), 4u);
  for (const LineTable::Line& line : hot) {
    EXPECT_LT(line.line, 4u);
    EXPECT_EQ(line.writes, 2500u);
  }
  EXPECT_GE(table.missed(), 1u);
  const std::vector<LineTable::Line> contested = table.contested(10);
  EXPECT_EQ(contested.size(), 4u);
  EXPECT_EQ(contested[0].writers.count, 2);
}

TEST(LineTable, ForgetsNothingWhileThereIsRoom) {
  LineTable table(64);
  for (uint64_t line = 0; line < 64; ++line) table.add(2, line, 1, true, false);
  EXPECT_EQ(table.hottest(1000).size(), 64u);
  EXPECT_EQ(table.missed(), 0u);
  EXPECT_TRUE(table.contested(10).empty());
}

TEST(Report, TellsWhoDiedWhatItReadAndWhoHadWrittenIt) {
  ProducerConsumer made;
  const json data = report_of(made.log);
  std::string story;
  for (const json& sentence : data["story"]["sentences"])
    story += sentence.get<std::string>() + "\n";
  EXPECT_NE(story.find("consumer (pid 137) died of SIGABRT"), std::string::npos) << story;
  EXPECT_NE(story.find("The last that it read of shared memory was 100 at anon#1+0x118"),
            std::string::npos)
      << story;
  EXPECT_NE(story.find("producer (pid 133), recording 292b1631-c83d, had written it at 2,822:"),
            std::string::npos)
      << story;
  const json& reading = data["story"]["readings"][0];
  EXPECT_EQ(reading["rows"].back()[0], "*");
  EXPECT_EQ(reading["rows"][0][2], "292b1631-c83d");
}

TEST(Report, ShowsInACellOfTheMapWhoWroteThere) {
  ProducerConsumer made;
  const json data = report_of(made.log);
  ASSERT_EQ(data["maps"].size(), 1u);
  const json& map = data["maps"][0];
  uint64_t reads = 0, writes = 0;
  bool seen = false;
  for (const json& cell : map["cells"]) {
    EXPECT_EQ(cell[0], 4);  // 0x118 / 64
    reads += cell[2].get<uint64_t>(), writes += cell[3].get<uint64_t>();
    for (const json& access : cell[7])
      if (access[1] == 1) {
        seen = true;
        EXPECT_EQ(data["processes"][access[0].get<size_t>()]["name"], "producer");
        EXPECT_EQ(data["places"][access[4].get<size_t>()][0], "0x5618d2d15c61");
      }
  }
  EXPECT_EQ(reads, 2u);
  EXPECT_EQ(writes, 4u);
  EXPECT_TRUE(seen);
}

TEST(Report, HasTheProcessesWithTheirParentsAndEnds) {
  ProducerConsumer made;
  const json processes = report_of(made.log)["processes"];
  ASSERT_EQ(processes.size(), 2u);
  EXPECT_EQ(processes[1]["name"], "consumer");
  EXPECT_EQ(processes[1]["parent"], 0);
  EXPECT_EQ(processes[1]["status"], "SIGABRT");
  EXPECT_EQ(processes[1]["failed"], true);
  EXPECT_EQ(processes[0]["failed"], false);
}

TEST(Report, ListsMarksAndLines) {
  ProducerConsumer made;
  made.log.add_journal(shmlog::JournalType::kMark, made.producer, 0, {}, "round 1");
  const json data = report_of(made.log);
  ASSERT_EQ(data["marks"].size(), 1u);
  EXPECT_EQ(data["marks"][0]["text"], "round 1");
  ASSERT_EQ(data["hot"].size(), 1u);
  const json& line = data["lines"][data["hot"][0].get<size_t>()];
  EXPECT_EQ(line["offset"], 0x100);
  EXPECT_EQ(line["table"]["rows"].size(), 6u);
  EXPECT_TRUE(data["contested"].empty());
}

TEST(Report, OfALogWithoutAccessesSaysSo) {
  ShmlogBuilder log;
  log.add_process({.id_high = 1, .id_low = 1, .pid = 5});
  const json data = report_of(log);
  EXPECT_TRUE(data["maps"].empty());
  EXPECT_EQ(data["story"]["sentences"][0], "No process is known to have failed.");
}

TEST(Report, MakesNoMarkupOfNames) {
  ShmlogBuilder log;
  const std::string evil = "</script><img src=x onerror=alert(1)>";
  const uint32_t process = log.add_process(
      {.id_high = 1, .id_low = 1, .pid = 5, .name = "</script><b>", .executable = evil});
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kMemfd, evil);
  log.map_segment(process, segment, 0x10000);
  log.write(process, segment, 0, le32(1));
  log.add_journal(shmlog::JournalType::kMark, process, 0, {}, "<!--" + evil);
  log.add_journal(shmlog::JournalType::kCoverage, process, 0, {}, evil);
  const std::string page = make_report(Opened(log).files(), evil);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<b>"), std::string::npos);
  EXPECT_EQ(count_of(page, "</script"), 3u);
  EXPECT_EQ(count_of(page, "<!--"), 0u);
  const json data = data_of(page);
  EXPECT_EQ(data["name"], evil);
  EXPECT_EQ(data["processes"][0]["name"], "</script><b>");
  EXPECT_EQ(data["marks"][0]["text"], "<!--" + evil);
}

TEST(Report, SaysWhatItsLimitsLeaveOut) {
  ShmlogBuilder log(8);
  const uint32_t segment = log.add_segment(shmlog::SegmentKind::kAnonymous, "");
  for (uint32_t i = 1; i <= 4; ++i) {
    log.add_process({.id_high = i, .id_low = i, .pid = static_cast<int32_t>(i)});
    log.map_segment(i, segment, 0x10000);
    for (uint64_t at = 0; at < 4096; at += 64) log.write(i, segment, at, le32(i));
  }
  const Opened opened(log);
  const recording::Timeline timeline = opened.files().timeline();
  const auto index = opened.files().access_index();
  recording::Symbols symbols([](const std::string& path) { return path; });
  const Survey survey = survey_log(timeline);
  EXPECT_EQ(survey.accesses, 4u * 64);
  const Story story;
  const PageSource source{opened.files(), timeline, *index, symbols, survey, story, "name"};
  PageLimits limits;
  const json whole = page_data(source, limits);
  EXPECT_TRUE(whole["limits"].empty()) << whole["limits"];
  limits.processes = 2, limits.rows = 0;
  const json less = page_data(source, limits);
  EXPECT_EQ(less["processes"].size(), 2u);
  EXPECT_EQ(less["limits"].size(), 2u) << less["limits"];
  for (const json& cell : less["maps"][0]["cells"]) EXPECT_TRUE(cell[7].empty());
}

TEST(Report, OfDamagedLogsIsAPage) {
  size_t files = 0;
  const std::string corpus = std::string(SHMREC_SOURCE_DIR) + "/tests/fuzz/corpus/shmlog";
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    ++files;
  }
  EXPECT_GT(files, 10u);
}

TEST(Page, HasItsPartsInPlaceAndNothingThatEndsThemEarly) {
  const std::string page = page_text({{"text", "{{d3}}"}});
  EXPECT_EQ(count_of(page, "{{"), 1u + count_of(std::string(d3_text()), "{{") +
                                      count_of(std::string(script_text()), "{{"));
  EXPECT_NE(page.find("default-src 'none'; script-src 'sha256-"), std::string::npos);
  for (const std::string_view text : {d3_text(), script_text()})
    EXPECT_EQ(text.find("</script"), std::string_view::npos);
  EXPECT_EQ(style_text().find("</style"), std::string_view::npos);
  EXPECT_EQ(skeleton_text().find("http"), skeleton_text().find("http-equiv"));
}

}  // namespace
}  // namespace shmrec::report
