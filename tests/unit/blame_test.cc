// What blame answers, on logs built for each question.
#include "recording/blame/blame.h"

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <nlohmann/json.hpp>

#include "recording/blame/blame_print.h"
#include "recording/blame/investigation.h"
#include "recording/run/gaps.h"
#include "recording/run/listing.h"
#include "tests/unit/indexed_copy.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::recording {
namespace {

using shmlog::RecordState;
using shmlog::SegmentKind;
using testing::AccessOptions;
using testing::le32;
using testing::le64;
using testing::ProducerConsumer;
using testing::ShmlogBuilder;

// A log opened with all that a question needs.
struct Opened {
  explicit Opened(ShmlogBuilder& builder) : bytes(builder.build()) {
    auto opened = ShmlogReader::from_memory(bytes, "test.shmlog");
    if (!opened) ADD_FAILURE() << opened.error().message;
    log = std::move(*opened);
    index = AccessIndex::build(*log);
    timeline = std::make_unique<Timeline>(*log);
  }
  // Each is asked of a bundle with an index too, and of the log with its records said shortly.
  Result<BlameAnswer> ask(const BlameQuery& query) {
    Result<BlameAnswer> answer = Blame(*index, *timeline, symbols).ask(query);
    if (!indexed) indexed = std::make_unique<testing::IndexedCopy>(bytes);
    const testing::AnswerByIndex other = testing::ask_bundle(indexed->bundle(), query);
    EXPECT_EQ(other.text, testing::text_of(answer));
    EXPECT_EQ(other.trouble, "");
    EXPECT_FALSE(other.whole);
    EXPECT_EQ(ask_with_short_records(query), testing::text_of(answer));
    return answer;
  }
  BlameAnswer answer(const BlameQuery& query) {
    Result<BlameAnswer> result = ask(query);
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return {};
    }
    return *result;
  }

  std::string ask_with_short_records(const BlameQuery& query) {
    if (short_bytes.empty()) short_bytes = testing::with_short_records(bytes);
    const auto short_log = ShmlogReader::from_memory(short_bytes, "test.shmlog");
    if (!short_log) return short_log.error().message;
    const auto short_index = AccessIndex::build(**short_log);
    EXPECT_EQ(short_index->records(), index->records());
    EXPECT_EQ(short_index->damage().size(), index->damage().size());
    const Timeline short_timeline(**short_log);
    return testing::text_of(Blame(*short_index, short_timeline, symbols).ask(query));
  }

  std::vector<uint8_t> bytes, short_bytes;
  std::unique_ptr<ShmlogReader> log;
  std::unique_ptr<AccessIndex> index;
  std::unique_ptr<Timeline> timeline;
  std::unique_ptr<testing::IndexedCopy> indexed;
  Symbols symbols{[](const std::string& path) { return path; }};
};

// "write 42 event 354" for each row, "?" for an unrecorded writer, "*" for the recording's own, ">"
// for what came after those.
std::vector<std::string> summary(const BlameAnswer& answer) {
  std::vector<std::string> lines;
  for (const BlameRow& row : answer.rows) {
    if (row.unrecorded_writer) {
      lines.push_back("? " + format_value(row.value));
      continue;
    }
    lines.push_back((row.current ? "* "
                     : row.later ? "> "
                                 : "") +
                    std::string(access_type(row.access)) + " " + format_value(row.value) + " @" +
                    std::to_string(row.access.header.event));
  }
  return lines;
}

using Lines = std::vector<std::string>;

bool has_note(const BlameAnswer& answer, const std::string& part) {
  for (const std::string& note : answer.notes) {
    if (note.find(part) != std::string::npos) return true;
  }
  return false;
}

// The first columns of a table, up to the end of Len.
std::string first_columns(const std::string& table, size_t width) {
  std::string text;
  for (size_t at = 0; at < table.size();) {
    const size_t end = table.find('\n', at);
    text += table.substr(at, std::min(width, end - at)) + "\n";
    at = end + 1;
  }
  return text;
}

// The record has no callers of its own, nor a pc: they are its place's.
TEST(Blame, AShortRecordHasTheCallersOfItsPlace) {
  ShmlogBuilder log;
  log.set_short(true);
  const uint32_t segment = log.add_segment(SegmentKind::kAnonymous, "");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.map_segment(a, segment, 0x7f61b0794000);
  const std::vector<uint64_t> one = {shmlog::caller_word(0, 0x401234)};
  const std::vector<uint64_t> two = {shmlog::caller_word(1, 0x405678),
                                     shmlog::caller_word(9, 0x409abc)};
  log.write(a, segment, 0x118, le32(1), {.pc = 0x401000, .callers = one});
  log.write(a, segment, 0x118, le32(2), {.pc = 0x401000, .callers = two});
  log.write(a, segment, 0x11c, le32(3), {.pc = 0x401000, .callers = one});
  log.write(a, segment, 0x118, le32(4), {.pc = 0x402000, .callers = one});
  Opened opened(log);
  const BlameAnswer answer =
      opened.answer({.where = "0x7f61b0794118", .length = 8, .history = kWholeHistory});
  EXPECT_EQ(summary(answer),
            (Lines{"* write 1 @1", "* write 2 @2", "* write 3 @3", "* write 4 @4"}));
  const std::vector<uint64_t> callers[] = {one, two, one, one};
  const uint64_t pcs[] = {0x401000, 0x401000, 0x401000, 0x402000};
  ASSERT_EQ(answer.rows.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer.rows[i].access.callers, callers[i]) << i;
    EXPECT_EQ(answer.rows[i].access.header.pc, pcs[i]) << i;
    EXPECT_EQ(answer.rows[i].access.header.address, i == 2 ? 0x7f61b079411c : 0x7f61b0794118) << i;
  }
}

TEST(Blame, PrintsTheTableOfTheCrashedConsumer) {
  ProducerConsumer run;
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "0x7f61b0794118", .length = 4});
  EXPECT_EQ(first_columns(blame_table(answer, false), 76),
            "    PID  Recording ID    Time in recording     Type    Address           Len\n"
            "  -----  --------------  --------------------  ------  --------------  -----\n"
            "    133  292b1631-c83d   2,822:0x5618d2d15c61  write   0x7f61b0794118      4\n"
            "*   137  97dd29dd-2c8f   3,040:0x5618d2d15bbf  read    0x7f61b0794118      4\n"
            "  later overwritten by\n"
            ">   133  292b1631-c83d   2,900:0x5618d2d15c61  write   0x7f61b0794118      4\n");
}

// A producer writes 1; a consumer reads it; the producer writes 2 and 3.
struct WrittenOn {
  ShmlogBuilder log;
  uint32_t segment = log.add_segment(SegmentKind::kAnonymous, "");
  uint32_t producer = log.add_process({.id_high = 1, .pid = 133, .name = "producer"});
  uint32_t consumer = log.add_process({.id_high = 2, .pid = 137, .name = "consumer"});
  WrittenOn() {
    for (const uint32_t process : {producer, consumer})
      log.map_segment(process, segment, 0x7f0000000000);
    log.write(producer, segment, 8, le32(1));
    log.read(consumer, segment, 8, 4);
    log.write(producer, segment, 8, le32(2));
    log.write(producer, segment, 8, le32(3));
  }
};

TEST(Blame, WhatOthersWroteAfterTheLastAccessHasRowsOfItsOwn) {
  WrittenOn run;
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "1+8", .recording = "consumer"});
  EXPECT_EQ(summary(answer), (Lines{"write 1 @1", "* read 1 @1", "> write 3 @3"}));
  EXPECT_TRUE(has_note(answer, "1 more writes"));
  EXPECT_NE(blame_table(answer, false).find("\n  later overwritten by\n>   133"), std::string::npos)
      << blame_table(answer, false);
  EXPECT_EQ(blame_json(answer)["rows"][2]["later"], true);
  EXPECT_EQ(blame_json(answer)["rows"][2]["number"], 3);
  // Asked about a time, nothing later counts.
  EXPECT_EQ(summary(opened.answer({.where = "1+8", .recording = "consumer", .time = {1}})),
            (Lines{"write 1 @1", "* read 1 @1"}));
}

TEST(Blame, WhoWroteLastNeedsNoRecording) {
  WrittenOn run;
  Opened opened(run.log);
  EXPECT_EQ(summary(opened.answer({.where = "1+8", .last = true})), (Lines{"write 3 @3"}));
  EXPECT_EQ(summary(opened.answer({.where = "1+8", .history = 1, .last = true})),
            (Lines{"write 2 @2", "write 3 @3"}));
  const BlameAnswer nobody = opened.answer({.where = "1+64", .last = true});
  EXPECT_TRUE(nobody.rows.empty());
  EXPECT_TRUE(has_note(nobody, "no recording wrote these bytes"));
}

TEST(Blame, AllAccessesAreListedByAllOrByOne) {
  WrittenOn run;
  Opened opened(run.log);
  EXPECT_EQ(opened.answer({.where = "1+8", .all = true}).rows.size(), 4u);
  EXPECT_EQ(summary(opened.answer({.where = "1+8", .recording = "consumer", .all = true})),
            (Lines{"* read 1 @1"}));
}

TEST(Blame, ALimitKeepsTheEndAndSaysWhatIsLeftOut) {
  WrittenOn run;
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "1+8", .recording = "consumer", .limit = 1});
  EXPECT_EQ(summary(answer), (Lines{"> write 3 @3"}));
  EXPECT_EQ(answer.left_out, 2u);
  EXPECT_TRUE(has_note(answer, "2 earlier rows are left out"));
}

TEST(ValueTypes, AreReadAsTheirNamesSay) {
  const auto text = [](const char* type, const std::vector<uint8_t>& bytes) {
    return value_text(*parse_value_type(type), bytes);
  };
  EXPECT_EQ(text("i32", le32(0xFFFFFFFF)), "-1");
  EXPECT_EQ(text("u32", le32(0xFFFFFFFF)), "4294967295");
  EXPECT_EQ(text("x16", {0x34, 0x12}), "0x1234");
  EXPECT_EQ(text("f32", le32(0x3DCCCCCD)), "0.1");
  EXPECT_EQ(text("double", le64(0xC004000000000000)), "-2.5");
  EXPECT_EQ(text("bool", {1}), "true");
  EXPECT_EQ(text("char[]", {'a', 'b', 0, 'c'}), "\"ab\"");
  EXPECT_EQ(text("i16", {1, 0, 2, 0}), "1 2");
  EXPECT_EQ(text("i32", {1, 2, 3}), "01 02 03") << "does not fit";
  const ValueType colour{ValueType::Kind::kEnum, 1, {{1, "kGreen"}}};
  EXPECT_EQ(value_text(colour, {1}), "kGreen");
  EXPECT_EQ(value_text(colour, {7}), "7");
  EXPECT_EQ(value_json(*parse_value_type("f64"), le64(0xC004000000000000)), -2.5);
  const auto unknown = parse_value_type("i128");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("expected one of i8"), std::string::npos);
}

TEST(Blame, PrintsTheChainOfInlinedFunctionsWhereAsked) {
  ProducerConsumer run;
  Opened opened(run.log);
  BlameAnswer answer = opened.answer({.where = "0x7f61b0794118", .length = 4});
  answer.rows[0].chain = {{"store", "/usr/include/c++/12/bits/atomic_base.h", 464},
                          {"set", "/src/gauge.cpp", 17},
                          {"fail_over", "/src/gauge.cpp", 21}};
  const std::string chain =
      "    inlined: store atomic_base.h:464 < set gauge.cpp:17 < fail_over "
      "gauge.cpp:21\n*   137";
  EXPECT_NE(blame_table(answer, false, true).find(chain), std::string::npos)
      << blame_table(answer, false, true);
  EXPECT_EQ(blame_table(answer, false).find("inlined"), std::string::npos);
  const nlohmann::json rows = blame_json(answer)["rows"];
  ASSERT_EQ(rows[0]["inlined"].size(), 3u);
  EXPECT_EQ(rows[0]["inlined"][0]["file"], "/usr/include/c++/12/bits/atomic_base.h");
  EXPECT_EQ(rows[0]["inlined"][2]["function"], "fail_over");
  EXPECT_EQ(rows[0]["inlined"][2]["line"], 21);
  EXPECT_FALSE(rows[1].contains("inlined"));
}

TEST(Blame, PrintsTheTableOfAWriteThatReplacedAnother) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kAnonymous, "");
  const uint32_t parent = log.add_process({.id_high = 0x6789abcd, .id_low = 0xef01, .pid = 126});
  log.map_segment(parent, segment, 0x7f894cb6c000);
  const uint32_t child = log.add_process({.id_high = 0xabcdef01,
                                          .id_low = 0x2345,
                                          .pid = 130,
                                          .start = shmlog::StartKind::kFork,
                                          .parent = parent});
  log.inherit_map(child, segment, 0x7f894cb6c000);
  log.write(child, segment, 0, le32(42), {.pc = 0x55eeabe09804, .event = 354});
  log.write(child, segment, 4, le32(123), {.pc = 0x55eeabe0980e, .event = 355});
  log.write(parent, segment, 0, le32(100), {.pc = 0x55eeabe09848, .event = 360});
  Opened opened(log);
  const BlameAnswer answer =
      opened.answer({.where = "0x7f894cb6c000", .recording = "6789abcd-ef01"});
  EXPECT_EQ(first_columns(blame_table(answer, false), 75),
            "    PID  Recording ID    Time in recording    Type    Address           Len\n"
            "  -----  --------------  -------------------  ------  --------------  -----\n"
            "    130  abcdef01-2345   354:0x55eeabe09804   write   0x7f894cb6c000      4\n"
            "*   126  6789abcd-ef01   360:0x55eeabe09848   write   0x7f894cb6c000      4\n");
  EXPECT_EQ(summary(answer), (Lines{"write 42 @354", "* write 100 @360"}));
}

TEST(Blame, ShowsNothingLaterThanTheTimeAsked) {
  ProducerConsumer run;
  Opened opened(run.log);
  const auto at = [&](const char* time) {
    return summary(
        opened.answer({.where = "1+0x118", .recording = "consumer", .time = *parse_time(time)}));
  };
  EXPECT_EQ(at("2,100:0x5618d2d15bbf"), (Lines{"write 83 @2000", "* read 83 @2100"}));
  EXPECT_EQ(at("3039"), (Lines{"write 83 @2000", "* read 83 @2100"}));
  EXPECT_EQ(at("3040"), (Lines{"write 100 @2822", "* read 100 @3040"}));
  EXPECT_EQ(at("end"), (Lines{"write 100 @2822", "* read 100 @3040", "> write 12 @2900"}));
}

TEST(Blame, ShowsNothingForBytesNeverAccessed) {
  ProducerConsumer run;
  Opened opened(run.log);
  const BlameAnswer not_yet =
      opened.answer({.where = "1+0x118", .recording = "137", .time = *parse_time("2099")});
  EXPECT_TRUE(not_yet.rows.empty());
  EXPECT_TRUE(has_note(not_yet, "never accessed by 97dd29dd-2c8f"));
  const BlameAnswer never = opened.answer({.where = "1+0x11c", .recording = "137"});
  EXPECT_TRUE(never.rows.empty());
  EXPECT_TRUE(opened.answer({.where = "1+0x800"}).rows.empty());
}

TEST(Blame, ChoosesTheCrashedRecordingElseTheLastToAccess) {
  ProducerConsumer run;
  Opened crashed(run.log);
  EXPECT_EQ(crashed.answer({.where = "1+0x118"}).recording->name, "consumer");
  EXPECT_EQ(crashed.answer({.where = "1+0x11c"}).recording->name, "producer")
      << "the consumer never accessed it";
  run.log.process(run.consumer).exit_status = 0;
  Opened orderly(run.log);
  EXPECT_EQ(orderly.answer({.where = "1+0x118"}).recording->name, "producer");
}

// Four processes that read the same bytes, in the order of their numbers.
struct Family {
  ShmlogBuilder log;
  uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/cell");
  std::array<uint32_t, 4> members{};

  explicit Family(const std::array<int, 4>& statuses, const std::array<uint64_t, 4>& ends,
                  uint32_t unmapped = 4) {
    for (uint32_t i = 0; i < 4; ++i) {
      members[i] = log.add_process({.id_high = i + 1, .pid = 10 + static_cast<int32_t>(i)});
      if (i != unmapped) log.map_segment(members[i], segment, 0x7f0000000000);
      log.read(members[i], segment, 0, 4);
      log.process(members[i]).exit_known = 1;
      log.process(members[i]).exit_status = statuses[i];
      log.process(members[i]).end_tsc = ends[i];
    }
  }
  int32_t chosen() {
    Opened opened(log);
    const BlameAnswer answer = opened.answer({.where = "/cell+0"});
    return answer.recording != nullptr ? answer.recording->pid : 0;
  }
};

TEST(Blame, AsksTheRecordingThatFailedFirst) {
  constexpr int kExit1 = 1 << 8;
  const struct {
    const char* title;
    std::array<int, 4> statuses;
    std::array<uint64_t, 4> ends;
    int32_t chosen;
  } cases[] = {
      {"a fault, however late", {kExit1, SIGTERM, SIGABRT, SIGKILL}, {1, 2, 9, 3}, 12},
      {"the first of several faults", {SIGBUS, SIGFPE, SIGSEGV, SIGILL}, {7, 6, 8, 9}, 11},
      {"the first of other signals", {0, SIGTERM, SIGKILL, kExit1}, {1, 5, 4, 2}, 12},
      {"known ends go before unknown ones", {0, SIGKILL, SIGTERM, 0}, {1, 0, 5, 2}, 12},
      {"the first that exited with an error", {0, kExit1, 0, kExit1}, {1, 8, 2, 7}, 13},
      {"the last access if none failed", {0, 0, 0, 0}, {4, 3, 2, 1}, 13},
  };
  for (const auto& c : cases) EXPECT_EQ(Family(c.statuses, c.ends).chosen(), c.chosen) << c.title;
  // The one that did not map it wrote by descriptor.
  EXPECT_EQ(Family({SIGSEGV, SIGTERM, 0, 0}, {1, 2, 3, 4}, 0).chosen(), 11);
}

TEST(Blame, APidOfAForkAndItsExecMeansTheOneThatMapsTheSegment) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/cell");
  const uint32_t forked = log.add_process({.id_high = 1, .pid = 7, .name = "shell"});
  const uint32_t executed = log.add_process({.id_high = 2, .pid = 7, .name = "worker"});
  log.map_segment(executed, segment, 0x7f0000000000);
  log.write(executed, segment, 0, le32(5));
  Opened one(log);
  EXPECT_EQ(one.answer({.where = "/cell+0", .recording = "7"}).recording->name, "worker");
  EXPECT_EQ(one.answer({.where = "/cell+8", .recording = "7"}).recording->name, "worker")
      << "also if it did not access it";
  log.map_segment(forked, segment, 0x7f0000000000);
  Opened both(log);
  EXPECT_EQ(both.answer({.where = "/cell+0", .recording = "7"}).recording->name, "worker")
      << "the one that accessed it";
  EXPECT_FALSE(both.ask({.where = "/cell+8", .recording = "7"})) << "nothing tells them apart";
  log.write(forked, segment, 0, le32(6));
  Opened ambiguous(log);
  const auto answer = ambiguous.ask({.where = "/cell+0", .recording = "7"});
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().message.find("more than one recording"), std::string::npos);
}

TEST(Blame, ComposesAValueFromSplitWrites) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 60, le64(0x1111111111111111));  // crosses the line
  log.write(b, segment, 62, {9, 9, 9, 9});              // crosses it too, splits the first
  log.write(a, segment, 61, {7});
  log.read(b, segment, 60, 8);
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "/ring+60", .recording = "b", .length = 8});
  EXPECT_EQ(summary(answer), (Lines{"write 0x1111111111111111 @1", "* write 151587081 @1",
                                    "write 7 @2", "* read 0x1111090909090711 @2"}));
  // Asked for one byte, only what made that byte.
  EXPECT_EQ(summary(opened.answer({.where = "/ring+67", .recording = "b", .length = 1})),
            (Lines{"write 17 @1", "* read 17 @2"}));
}

TEST(Blame, FollowsReadWriteOperationsToAPlainWrite) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/counter");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(1));
  log.write(a, segment, 0, le32(5));
  log.read_write(b, segment, 0, le32(6));
  log.read_then_write(a, segment, 0, le32(7));
  log.read(b, segment, 0, 4);
  Opened opened(log);
  EXPECT_EQ(summary(opened.answer({.where = "/counter+0", .recording = "b"})),
            (Lines{"write 5 @2", "* read/write 6 @1", "read/write 7 @3", "* read 7 @2"}));
}

TEST(Blame, CutsAnEndlessChainOfAtomicOperationsAndSaysSo) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/counter");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  for (uint32_t i = 1; i <= 200; ++i) log.read_write(a, segment, 0, le32(i));
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "/counter+0"});
  EXPECT_EQ(answer.rows.size(), static_cast<size_t>(kMaxInputSteps) + 1);
  EXPECT_TRUE(has_note(answer, "was cut"));
}

TEST(Blame, ReportsAnUnrecordedWriterBetweenWriteAndRead) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/data/file");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 8, le32(5));
  log.unrecorded_write(segment, 8, le32(77));
  log.read(b, segment, 8, 4);
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "file+8", .recording = "b"});
  EXPECT_EQ(summary(answer), (Lines{"write 5 @1", "? 77", "* read 77 @1"}));
  EXPECT_TRUE(has_note(answer, "no recorded process wrote"));
  EXPECT_NE(blame_table(answer, false).find("unrecorded writer"), std::string::npos);
}

TEST(Blame, SaysWhenHistoryWasOverwritten) {
  ShmlogBuilder log(2);
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(5));
  log.end_chunk(a);
  for (int i = 0; i < 3; ++i) {  // the third chunk takes the place of the first
    log.write(a, segment, 128, le32(1));
    log.end_chunk(a);
  }
  log.read(b, segment, 0, 4);
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "/ring+0", .recording = "b"});
  EXPECT_EQ(summary(answer), (Lines{"* read 5 @1"}));
  EXPECT_TRUE(has_note(answer, "part of the history was overwritten"));
  EXPECT_TRUE(has_note(answer, "records were overwritten"));
}

TEST(Blame, TellsAnInitialValueFromAnUnexplainedOne) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/data/file");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.read(a, segment, 0, 4);
  log.unrecorded_write(segment, 64, le32(9));
  log.read(a, segment, 64, 4);
  Opened opened(log);
  EXPECT_TRUE(has_note(opened.answer({.where = "1+0"}), "what the segment held at the start"));
  EXPECT_TRUE(has_note(opened.answer({.where = "1+64"}), "unrecorded writer"));
}

TEST(Blame, ListsEarlierWritesAsHistory) {
  ProducerConsumer run;
  Opened opened(run.log);
  const BlameQuery all = {.where = "1+0x118", .length = 4, .history = kWholeHistory};
  EXPECT_EQ(summary(opened.answer(all)),
            (Lines{"write 83 @2000", "write 100 @2822", "* read 100 @3040", "> write 12 @2900"}));
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  for (uint32_t i = 1; i <= 6; ++i) log.write(a, segment, 0, le32(i));
  Opened many(log);
  const BlameAnswer two = many.answer({.where = "1+0", .history = 2});
  EXPECT_EQ(summary(two), (Lines{"* write 3 @3", "* write 4 @4", "* write 5 @5", "* write 6 @6"}));
  EXPECT_TRUE(has_note(two, "2 earlier writes are not shown"));
}

TEST(Blame, ForwardListsWhoReadTheValueUntilItWasReplaced) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(1));
  log.read(b, segment, 0, 4);
  log.read(b, segment, 2, 1);
  log.read(b, segment, 4, 4);  // other bytes
  log.write(b, segment, 4, le32(3));
  log.read(b, segment, 0, 4);
  log.write(a, segment, 0, le32(2));
  log.read(b, segment, 0, 4);
  Opened opened(log);
  const BlameQuery query = {
      .where = "1+0", .recording = "a", .time = {1}, .length = 4, .forward = true};
  EXPECT_EQ(summary(opened.answer(query)),
            (Lines{"* write 1 @1", "read 1 @1", "read 0 @2", "read 1 @5"}));
}

TEST(Blame, OrdersRowsByVersionWhateverTheClocksSay) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.read(b, segment, 512, 4);  // b's chunk is the older one
  log.write(a, segment, 0, le32(1));
  log.write(b, segment, 0, le32(2));
  log.write(a, segment, 0, le32(3));
  Opened opened(log);
  EXPECT_EQ(summary(opened.answer({.where = "1+0", .recording = "a", .history = kWholeHistory})),
            (Lines{"* write 1 @1", "write 2 @2", "* write 3 @2"}));
}

TEST(Blame, RelaxedSegmentsAreOrderedByClock) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  const AccessOptions relaxed = {.flags = shmlog::kFlagRelaxed};
  log.write(a, segment, 0, le32(1), relaxed);
  log.write(b, segment, 0, le32(2), relaxed);
  log.read(a, segment, 0, 4, relaxed);
  Opened opened(log);
  EXPECT_EQ(summary(opened.answer({.where = "1+0", .recording = "a"})),
            (Lines{"write 2 @1", "* read 2 @2"}));
}

// Two writers, and a reader whose reads are not in the log.
struct WritesOnly {
  WritesOnly() {
    segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
    log.segment(segment).accesses = static_cast<uint16_t>(shmlog::Accesses::kWrites);
    a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
    b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
    reader = log.add_process({.id_high = 3, .pid = 3, .name = "reader"});
    for (const uint32_t process : {a, b, reader}) log.map_segment(process, segment, 0x7f0000000000);
  }
  void write(uint32_t process, uint32_t value) {
    log.clock(process);
    log.write(process, segment, 0, le32(value));
  }
  void end(uint32_t process, int signal) {
    log.process(process).exit_known = 1;
    log.process(process).exit_status = signal;
    log.process(process).end_tsc = log.tick();
  }
  ShmlogBuilder log;
  uint32_t segment, a, b, reader;
};

bool noted(const BlameAnswer& answer, const std::string& part) {
  return std::any_of(answer.notes.begin(), answer.notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

TEST(BlameWritesOnly, AtTheEndTheLastWriterIsExactForWhoeverAsks) {
  WritesOnly run;
  run.write(run.a, 1);
  run.write(run.b, 2);
  run.end(run.reader, SIGABRT);
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "1+0"});
  ASSERT_NE(answer.recording, nullptr);
  EXPECT_EQ(answer.recording->name, "reader");  // it failed, and may have read
  EXPECT_EQ(summary(answer), (Lines{"write 2 @1"}));
  EXPECT_TRUE(noted(answer, "this segment records writes only"));
  EXPECT_FALSE(noted(answer, "clock"));
  EXPECT_EQ(summary(opened.answer({.where = "1+0", .last = true})), (Lines{"write 2 @1"}));
}

TEST(BlameWritesOnly, WhatCameAfterARecordingEndedIsApart) {
  WritesOnly run;
  run.write(run.a, 1);
  run.end(run.reader, SIGABRT);
  run.write(run.b, 2);
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "1+0", .recording = "reader"});
  EXPECT_EQ(summary(answer), (Lines{"write 1 @1", "> write 2 @1"}));
  EXPECT_TRUE(noted(answer, "written before it ended, by others by a coarse clock"));
}

TEST(BlameWritesOnly, BeforeTheEndItsOwnWritesGoByEventAndOthersByTheClock) {
  WritesOnly run;
  run.write(run.a, 1);  // event 1
  run.write(run.b, 2);
  run.write(run.a, 3);  // event 2
  run.write(run.b, 4);
  run.write(run.a, 5);  // event 3
  Opened opened(run.log);
  const auto at = [&](uint64_t event) {
    const BlameAnswer answer = opened.answer({.where = "1+0", .recording = "a", .time = {event}});
    EXPECT_TRUE(noted(answer, "before that event, by others by a coarse clock"));
    return summary(answer).back();
  };
  EXPECT_EQ(at(1), "* write 1 @1");
  EXPECT_EQ(at(2), "* write 3 @2");
  EXPECT_EQ(at(3), "* write 5 @3");
}

TEST(BlameWritesOnly, WhatOthersHadWrittenByAnEventGoesByTheClock) {
  WritesOnly run;
  run.write(run.a, 1);
  run.log.clock(run.reader);
  run.log.write(run.reader, run.segment, 64, le32(7));  // event 1
  run.write(run.b, 2);
  run.log.clock(run.reader);
  run.log.write(run.reader, run.segment, 64, le32(8));  // event 2
  Opened opened(run.log);
  const auto at = [&](uint64_t event) {
    return summary(opened.answer({.where = "1+0", .recording = "reader", .time = {event}}));
  };
  EXPECT_EQ(at(1), (Lines{"write 1 @1"}));
  EXPECT_EQ(at(2), (Lines{"write 2 @1"}));
}

TEST(BlameWritesOnly, ARecordingIsNotSaidNeverToHaveRead) {
  WritesOnly run;
  run.log.write(run.a, run.segment, 64, le32(1));
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "1+0", .recording = "reader"});
  EXPECT_TRUE(answer.rows.empty());
  EXPECT_FALSE(noted(answer, "never"));
  EXPECT_TRUE(noted(answer, "no recording wrote these bytes up to that time"));
  EXPECT_TRUE(noted(answer, "what only read is not in the log"));
  const BlameAnswer forward =
      opened.answer({.where = "1+64", .recording = "reader", .forward = true});
  EXPECT_EQ(summary(forward), (Lines{"write 1 @1"}));
  EXPECT_TRUE(noted(forward, "who read the value is not known"));
}

TEST(Blame, AWriteInFlightIsShownAsSuchAndOneNotBegunIsNot) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.write(a, segment, 0, le32(1));
  log.write(a, segment, 0, le32(2), {.state = RecordState::kBegun});
  const uint64_t record = log.last_record();
  log.stripe(segment, 0) = shmlog::stripe_word_locked(1, a);  // killed before it released
  {
    Opened opened(log);
    const BlameAnswer answer = opened.answer({.where = "1+0"});
    EXPECT_EQ(summary(answer), (Lines{"* write 1 @1", "* write 2 @2"}));
    EXPECT_EQ(answer.rows[1].access.outcome, Outcome::kInFlight);
  }
  log.stripe(segment, 0) = shmlog::stripe_word(2);  // released: it happened
  EXPECT_EQ(Opened(log).answer({.where = "1+0"}).rows[1].access.outcome, Outcome::kDone);
  uint64_t* version = reinterpret_cast<uint64_t*>(&log.record(record) + 1);
  *version = 0;  // killed before it had the stripe
  EXPECT_EQ(summary(Opened(log).answer({.where = "1+0"})), (Lines{"* write 1 @1"}));
}

TEST(Blame, AWriteByDescriptorExplainsAReadThatCameBeforeItsVersion) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/data");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(1));
  log.write(a, segment, 64, le32(8));
  log.unrecorded_write(segment, 0, le32(2));  // what the kernel stores for a's pwrite
  log.read(b, segment, 0, 4);
  log.write_between(a, segment, 0, le32(2), 0, {.syscall = 19});
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "1+0", .recording = "b"});
  EXPECT_EQ(summary(answer), (Lines{"write 2 @3", "* read 2 @1"}));
  EXPECT_TRUE(answer.notes.empty());
  EXPECT_NE(blame_table(answer, false).find("pwrite64(2)"), std::string::npos);
}

TEST(Blame, AStoreThatMayHaveComeAfterAWriteByDescriptorExplainsWhatWasRead) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/data");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(7));
  log.write_between(b, segment, 0, le32(2), 1, {.syscall = 19});  // began before a's store
  log.unrecorded_write(segment, 0, le32(7));
  log.read(b, segment, 0, 4);
  Opened opened(log);
  EXPECT_EQ(summary(opened.answer({.where = "1+0", .recording = "b"})),
            (Lines{"write 7 @1", "* read 7 @2"}));
}

TEST(Blame, AReadByDescriptorMayHaveSeenAnOlderValue) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/data");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(1));
  log.write(a, segment, 0, le32(2));
  log.unrecorded_write(segment, 0, le32(1));
  log.read_between(b, segment, 0, 4, 1, {.syscall = 18});
  Opened opened(log);
  EXPECT_EQ(summary(opened.answer({.where = "1+0", .recording = "b"})),
            (Lines{"write 1 @1", "* read 1 @1"}));
}

TEST(Blame, AWriteByDescriptorWhoseProcessWasKilledInItMayExplainAValue) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/data");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.write(a, segment, 0, le32(1));
  log.write_between(a, segment, 0, le32(2), 0, {.syscall = 19, .state = RecordState::kBegun});
  reinterpret_cast<uint64_t*>(&log.record(log.last_record()) + 1)[1] = 0;
  log.stripe(segment, 0) = shmlog::stripe_word(1);
  log.read(b, segment, 0, 4);
  EXPECT_EQ(summary(Opened(log).answer({.where = "1+0", .recording = "b"})),
            (Lines{"write 2 @2", "* read 2 @1"}));
  log.unrecorded_write(segment, 0, le32(1));  // it was killed before the kernel stored
  log.read(b, segment, 0, 4);
  EXPECT_EQ(summary(Opened(log).answer({.where = "1+0", .recording = "b"})),
            (Lines{"write 1 @1", "* read 1 @2", "> write 2 @2"}));
}

TEST(Blame, ThreadsAndPartialRangesAreTakenLineByLine) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.write(a, segment, 0, std::vector<uint8_t>(128, 3), {.state = RecordState::kBegun});
  reinterpret_cast<uint64_t*>(&log.record(log.last_record()) + 1)[1] = 0;  // died between the lines
  Opened opened(log);
  EXPECT_EQ(opened.answer({.where = "1+8", .length = 8}).rows.size(), 1u);
  EXPECT_EQ(opened.answer({.where = "1+8", .length = 8}).rows[0].access.outcome, Outcome::kPartial);
  EXPECT_TRUE(opened.answer({.where = "1+72", .length = 8}).rows.empty());
}

TEST(Blame, PosixSharedMemoryIsFoundByItsNameAndByItsPath) {
  ShmlogBuilder log;
  const uint32_t ring = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t file = log.add_segment(SegmentKind::kFile, "/data");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.write(a, ring, 0, le32(1));
  log.write(a, file, 0, le32(2));
  Opened opened(log);
  for (const char* where : {"/ring+0", "ring+0", "/dev/shm/ring+0"})
    EXPECT_EQ(summary(opened.answer({.where = where})), Lines{"* write 1 @1"}) << where;
  EXPECT_FALSE(opened.ask({.where = "/dev/shm/data+0"}));
}

TEST(Blame, NamesTheSyscallThatMadeAnAccess) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring");
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  log.write(a, segment, 0, le32(1), {.syscall = 1});
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "1+0"});
  EXPECT_NE(blame_table(answer, false).find("read(2)"), std::string::npos);
  EXPECT_EQ(blame_json(answer)["rows"][0]["syscall"], "read");
}

TEST(Blame, JsonAndCommandLinesNameTheSameAccess) {
  ProducerConsumer run;
  Opened opened(run.log);
  const BlameAnswer answer = opened.answer({.where = "0x7f61b0794118", .length = 4});
  const nlohmann::json json = blame_json(answer);
  EXPECT_EQ(json["rows"].size(), 3u);
  EXPECT_EQ(json["rows"][0]["recording"], "292b1631-c83d");
  EXPECT_EQ(json["rows"][0]["value"], "64000000");
  EXPECT_EQ(json["rows"][1]["current"], true);
  EXPECT_EQ(blame_command_lines(answer, "my run.zst"),
            "shmrec blame 'my run.zst' --recording 292b1631-c83d --at 2,822:0x5618d2d15c61 --len 4 "
            "1+0x118\n"
            "shmrec blame 'my run.zst' --recording 97dd29dd-2c8f --at 3,040:0x5618d2d15bbf --len 4 "
            "1+0x118\n"
            "shmrec blame 'my run.zst' --recording 292b1631-c83d --at 2,900:0x5618d2d15c61 --len 4 "
            "1+0x118\n");
}

TEST(Blame, WrongQuestionsSayWhatWasExpected) {
  ProducerConsumer run;
  Opened opened(run.log);
  const auto error = [&](const BlameQuery& query) {
    const auto result = opened.ask(query);
    EXPECT_FALSE(result);
    if (result) return std::string();
    EXPECT_TRUE(result.error().bad_input);
    return result.error().message;
  };
  EXPECT_NE(error({.where = "0x1000"}).find("0x7f61b0794000-0x7f61b0795000"), std::string::npos);
  EXPECT_NE(error({.where = "nosuch+4"}).find("anon#1+OFFSET"), std::string::npos);
  EXPECT_NE(error({.where = "1+x"}).find("expected a number"), std::string::npos);
  EXPECT_NE(error({.where = "1+0", .recording = "nobody"}).find("97dd29dd-2c8f"),
            std::string::npos);
  EXPECT_NE(error({.where = "1+0", .length = kMaxBlameBytes + 1}).find("--len"), std::string::npos);
  for (const char* time : {"", "x", "12x", "12:", "12:zz", "12:0x", ":0x1", "-1"}) {
    EXPECT_FALSE(parse_time(time)) << time;
  }
}

TEST(Blame, AddressesFollowEachRecordingsOwnMap) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring", 16384);
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  log.map_segment(a, segment, 0x10000, 16384);
  log.map_segment(b, segment, 0x90000, 4096, 8192);
  log.write(a, segment, 8192 + 16, le32(5));
  log.read(b, segment, 8192 + 16, 4);
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "0x90010", .recording = "b"});
  EXPECT_EQ(answer.location.offset, 8192u + 16);
  ASSERT_EQ(answer.rows.size(), 2u);
  EXPECT_EQ(answer.rows[0].access.header.address, 0x10000u + 8192 + 16);
  EXPECT_EQ(answer.rows[1].access.header.address, 0x90010u);
}

TEST(Blame, ManyRecordsStayQuickAndExact) {
  ShmlogBuilder log(300);
  const uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/ring", 1 << 20);
  const uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  for (uint32_t i = 0; i < 200'000; ++i) {
    log.write(a, segment, (i * 64 + i % 60) & 0xFFFF8, le32(i));
    if (i % 1000 == 7) log.read(b, segment, 4096, 4);
  }
  uint32_t expected = 0;
  for (uint32_t i = 0; i < 199'008; ++i) {
    if (((i * 64 + i % 60) & 0xFFFF8) == 4096) expected = i;
  }
  Opened opened(log);
  const BlameAnswer answer = opened.answer({.where = "1+4096", .recording = "b", .length = 4});
  ASSERT_EQ(answer.rows.size(), 2u);
  EXPECT_EQ(answer.rows[0].value, le32(expected));
  EXPECT_EQ(opened.index->records(), 200'200u);
}

// A lock or a counter: of its accesses the newest are looked for, the others counted up to 500.
struct BusyLine {
  ShmlogBuilder log = ShmlogBuilder(40);
  uint32_t segment = log.add_segment(SegmentKind::kPosixShm, "/lock", 4096);
  uint32_t a = log.add_process({.id_high = 1, .pid = 1, .name = "a"});
  uint32_t b = log.add_process({.id_high = 2, .pid = 2, .name = "b"});
  BusyLine() {
    for (const uint32_t process : {a, b}) log.map_segment(process, segment, 0x7f0000000000);
    log.write(a, segment, 0, le32(1));
    log.read(b, segment, 8, 4);
    for (uint32_t i = 1; i <= 15'000; ++i) log.write(a, segment, 8, le32(i));
    log.read(b, segment, 0, 4);
    log.write(b, segment, 0, le32(2));
    log.read(a, segment, 0, 4);
  }
};

TEST(Blame, OfABusyLineTheNewestAreListedAndTheOthersNotAllCounted) {
  BusyLine run;
  Opened opened(run.log);
  const BlameAnswer all = opened.answer({.where = "1+8", .all = true});
  ASSERT_EQ(all.rows.size(), 15'001u);
  const BlameAnswer some = opened.answer({.where = "1+8", .all = true, .limit = 3});
  EXPECT_EQ(summary(some),
            (Lines{"* write 14998 @14999", "* write 14999 @15000", "* write 15000 @15001"}));
  EXPECT_TRUE(has_note(some, "more than 500 earlier rows"));
  EXPECT_EQ(some.left_out, 500u);
  const BlameAnswer history =
      opened.answer({.where = "1+8", .recording = "a", .length = 4, .history = 2});
  EXPECT_TRUE(has_note(history, "more than 500 earlier writes are not shown"));
  EXPECT_EQ(history.rows.size(), 4u);
  const BlameAnswer overwritten = opened.answer({.where = "1+8", .recording = "b", .length = 4});
  EXPECT_TRUE(has_note(overwritten, "more than 500 more writes"));
}

TEST(Blame, AReaderIsFoundFarFromItsWrite) {
  BusyLine run;
  Opened opened(run.log);
  EXPECT_EQ(summary(opened.answer(
                {.where = "1+0", .recording = "a", .time = {1}, .length = 4, .forward = true})),
            (Lines{"* write 1 @1", "read 1 @2"}));
  EXPECT_EQ(
      summary(opened.answer({.where = "1+0", .recording = "a", .length = 4, .forward = true})),
      (Lines{"write 2 @3", "* read 2 @15002"}));
}

TEST(Listing, SaysWhoMappedWhatAndHowOften) {
  ProducerConsumer run;
  run.log.header().next_usage = 3;
  run.log.usage(1) = {run.producer, run.segment, 0, 4, 0};
  run.log.usage(2) = {run.consumer, run.segment, 2, 0, 1};
  run.log.header().losses[static_cast<uint32_t>(shmlog::Loss::kRecordsDropped)] = 3;
  run.log.add_journal(shmlog::JournalType::kCoverage, run.consumer, 0, {}, "io_uring refused");
  Opened opened(run.log);
  Listing listing = make_listing(*opened.timeline);
  listing.coverage = list_coverage(&opened.timeline->reader(), "", {}, {});
  const nlohmann::json json = listing_json(listing);
  EXPECT_EQ(json["recordings"][1]["ended"], "SIGABRT");
  EXPECT_FALSE(json["complete"].get<bool>());
  EXPECT_EQ(json["coverage"], nlohmann::json(coverage_document(listing.coverage)["items"]));
  EXPECT_EQ(json["recordings"][1]["parent"], "292b1631-c83d");
  EXPECT_EQ(json["segments"][0]["users"][0]["writes"], 4);
  EXPECT_EQ(json["segments"][0]["users"][1]["mappings"][0]["begin"], "0x7f61b0794000")
      << "inherited by fork";
  const std::string text = listing_text(listing);
  for (const char* part :
       {"292b1631-c83d", "fork by 292b1631-c83d", "anon#1", "2 reads", "(1 by the kernel)",
        "3 accesses made but not logged: no chunk", "(consumer): io_uring refused\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

CoverageItem said(const char* what, const char* process, uint64_t count = 1) {
  return {"journal", what, "not recorded", count, process};
}

TEST(Gaps, ThoseAlikeAreOneRowAndManyAreCut) {
  ProducerConsumer run;
  Opened opened(run.log);
  std::vector<CoverageItem> items = {said("io_uring", "292b1631-c83d"), said("uffd", "a-1"),
                                     said("uffd", "a-2"), said("aio", "a-3", 7)};
  items.push_back({"log", "records discarded", "full", 1234});
  items.push_back({"log", "lines taken over", "died", 5, "", false});
  const std::string text = gaps_text(*opened.timeline, items);
  EXPECT_EQ(text,
            "\nNot recorded\n"
            "  292b1631-c83d (producer): io_uring\n"
            "  2 recordings: uffd\n"
            "  a-3: aio, 7 times\n"
            "  1,234 records discarded: full\n"
            "\nNothing is missing, but worth knowing\n"
            "  5 lines taken over: died\n");
  EXPECT_EQ(gaps_text(*opened.timeline, {}), "\nNot recorded\n  nothing is missing\n");
  items.clear();
  for (int i = 0; i < 1000; ++i) items.push_back({"process", "end " + std::to_string(i), "\x1b[m"});
  const std::string cut = gaps_text(*opened.timeline, items);
  EXPECT_EQ(std::count(cut.begin(), cut.end(), '\n'), 2 + 20 + 1) << cut;
  EXPECT_NE(cut.find("  and 980 more"), std::string::npos) << cut;
  EXPECT_EQ(cut.find('\x1b'), std::string::npos);
}

TEST(Gaps, ASegmentHasThoseThatConcernIt) {
  ShmlogBuilder log;
  const uint32_t mine = log.add_segment(SegmentKind::kFile, "/data/mine");
  const uint32_t other = log.add_segment(SegmentKind::kFile, "/data/other");
  const uint32_t user = log.add_process({.id_high = 1, .pid = 1});
  const uint32_t stranger = log.add_process({.id_high = 2, .pid = 2});
  log.map_segment(user, mine, 0x10000);
  log.map_segment(stranger, other, 0x10000);
  Opened opened(log);
  const std::vector<CoverageItem> items = {
      said("of the user", "00000001-0000"),
      said("of another", "00000002-0000"),
      said("/data/mine is read natively", "00000002-0000"),
      {"log", "records discarded", "full", 3},
      {"log", "lines taken over", "died", 5, "", false},
      {"binaries", "/lib/libc.so", "not there"},
      {"process", "end of x", "no exit record", 1, "00000001-0000"}};
  std::vector<std::string> found;
  for (const CoverageItem& item : gaps_of_segment(*opened.timeline, mine, items))
    found.push_back(item.what);
  EXPECT_EQ(found, (std::vector<std::string>{"of the user", "/data/mine is read natively",
                                             "records discarded"}));
}

TEST(Listing, CountsRecordingsThatOnlyMappedASegment) {
  ShmlogBuilder log;
  const uint32_t segment = log.add_segment(SegmentKind::kFile, "/usr/lib/cache");
  for (uint32_t i = 1; i <= 6; ++i) {
    log.map_segment(log.add_process({.id_high = i, .pid = static_cast<int32_t>(i)}), segment,
                    0x10000);
  }
  log.header().next_usage = 2;
  log.usage(1) = {1, segment, 5, 0, 0};
  Opened opened(log);
  const Listing listing = make_listing(*opened.timeline);
  EXPECT_NE(listing_text(listing).find("and 5 recordings that mapped it"), std::string::npos);
  EXPECT_EQ(listing_json(listing)["segments"][0]["users"].size(), 6u);
}

}  // namespace
}  // namespace shmrec::recording
