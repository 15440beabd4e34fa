// The reader of streams, its checks, the dump and the format document: streams made by hand, sound
// ones and each kind of damage.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/temporary_directory.h"
#include "recording/stream/stream_dump.h"
#include "recording/stream/stream_reader.h"
#include "tests/unit/stream_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace shmrec::recording {
namespace {

namespace fs = std::filesystem;
using namespace shmrec::testing;

class StreamTest : public ::testing::Test {
 protected:
  Result<StreamReader> open() { return StreamReader::open(directory_); }

  // What there is to say of the directory: the types of the records, and at last the error.
  struct Found {
    std::vector<Type> types;
    std::string error;
  };
  Found read() {
    Found found;
    auto reader = open();
    if (!reader) return {{}, reader.error().message};
    while (true) {
      const auto record = reader->next();
      if (!record) {
        EXPECT_TRUE(record.error().bad_input) << record.error().message;
        const auto again = reader->next();
        EXPECT_TRUE(!again && again.error().message == record.error().message) << "comes again";
        found.error = record.error().message;
        return found;
      }
      if (!*record) return found;
      found.types.push_back((*record)->type);
    }
  }
  std::string error_of(const StreamBuilder& stream) {
    stream.save(directory_, 0);
    return read().error;
  }
  std::vector<std::string> dump(bool json) {
    std::vector<std::string> lines;
    auto reader = open();
    EXPECT_TRUE(reader) << reader.error().message;
    const auto dumped = dump_stream(*reader, json, [&](const std::string& line) {
      lines.push_back(line);
      return true;
    });
    EXPECT_TRUE(dumped) << dumped.error().message;
    return lines;
  }
  std::string name(uint32_t number) { return (directory_ / stream_file_name(number)).string(); }
  std::string damaged(uint64_t at, const std::string& what) {
    return name(0) + ": damaged at byte " + std::to_string(at) + ": " + what;
  }

  TemporaryDirectory root_ = TemporaryDirectory::make(temporary_parent(), "stream_test-").value();
  fs::path directory_ = root_.path() / "recordings" / "292b1631-c83d";
};

// ---- What is there ------------------------------------------------------------------------------

TEST_F(StreamTest, EveryTypeOfRecordIsReadWithItsParts) {
  every_record().save(directory_, 0);
  auto reader = open();
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->recording(), "292b1631-c83d");
  EXPECT_EQ(reader->files(), 1u);
  EXPECT_EQ(reader->bytes(), every_record().bytes().size());
  std::map<Type, uint32_t> counts;
  while (true) {
    const auto record = reader->next();
    ASSERT_TRUE(record) << record.error().message;
    if (!*record) break;
    const StreamRecord& found = **record;
    ++counts[found.type];
    if (found.type == Type::kMemory) {
      EXPECT_EQ(memory_view(found).address, 0x7FFC49B9E140u);
      EXPECT_EQ(memory_view(found).content.size(), 14u);
    }
    if (found.type == Type::kFile && found.event == 4) {
      EXPECT_EQ(file_view(found).path, "/etc/ld.so.cache");
      EXPECT_EQ(file_view(found).file.number, 2u);
    }
    if (found.type == Type::kCall && found.event == 3) {
      const CallView view = call_view(found);
      EXPECT_EQ(view.call.number, 0u);
      EXPECT_EQ(view.arguments, (std::vector<uint64_t>{3, 0x7FFC49B9D000, 832}));
      ASSERT_EQ(view.outputs.size(), 1u);
      EXPECT_EQ(view.outputs[0].address, 0x7FFC49B9D000u);
      EXPECT_EQ(std::string(view.outputs[0].content.begin(), view.outputs[0].content.end()),
                "hello");
    }
    if (found.type == Type::kSignal && found.event == 6) {
      const SignalView view = signal_view(found);
      EXPECT_EQ(view.signal, 11);
      EXPECT_EQ(view.place, SignalPlace::kFault);
      EXPECT_EQ(view.kind, SignalKind::kHandler);
    }
    if (found.type == Type::kEnd && found.event == 7) {
      EXPECT_EQ(end_view(found).kind, EndKind::kUnreplayable);
      EXPECT_EQ(end_view(found).text, "a thread");
    }
  }
  EXPECT_EQ(counts.size(), 15u) << "each of them";
}

TEST_F(StreamTest, RecordsGoOnInTheNextFile) {
  StreamBuilder().start().save(directory_, 0);
  StreamBuilder(1).call(1, 39, {}, 4242).save(directory_, 1);
  StreamBuilder(2).save(directory_, 2);
  EXPECT_EQ(read().types, (std::vector{Type::kStart, Type::kCall}));
  EXPECT_EQ(read().error, "");
  EXPECT_EQ(open()->files(), 3u);
}

TEST_F(StreamTest, WhatIsBehindTheCommittedBytesMeansNothing) {
  StreamBuilder().start().save(directory_, 0, "left of a record that was not completed");
  EXPECT_EQ(read().types, std::vector{Type::kStart});
  EXPECT_EQ(read().error, "");
}

TEST_F(StreamTest, ACopyMayEndWithTheCommittedBytes) {
  StreamBuilder stream;
  stream.start().put(offsetof(FileHeader, file_bytes), uint64_t{256 << 10}).save(directory_, 0);
  EXPECT_EQ(read().error, "");
}

TEST_F(StreamTest, ALastFileThatNobodyWroteToIsTheEnd) {
  StreamBuilder().start().save(directory_, 0);
  for (const size_t bytes : {size_t{0}, size_t{4096}}) {
    std::ofstream(name(1)) << std::string(bytes, '\0');
    EXPECT_EQ(read().types, std::vector{Type::kStart});
    EXPECT_EQ(read().error, "");
    EXPECT_EQ(open()->files(), 1u);
  }
}

TEST_F(StreamTest, ARecordMayBeLargerThanWhatIsReadAtOnce) {
  const std::string large(3 << 20, 'x');
  StreamBuilder()
      .start()
      .call(1, 0, {3}, large.size(), {{0x1000, large}})
      .call(2, 39, {}, 1)
      .save(directory_, 0);
  EXPECT_EQ(read().types, (std::vector{Type::kStart, Type::kCall, Type::kCall}));
  EXPECT_EQ(read().error, "");
}

// ---- Damaged files ------------------------------------------------------------------------------

TEST_F(StreamTest, NoDirectoryNoFileNoHeader) {
  EXPECT_EQ(read().error, directory_.string() + ": no recording: No such file or directory");
  fs::create_directories(directory_);
  EXPECT_EQ(read().error, name(0) + ": missing; expected the first file of a recording");
  std::ofstream(name(0)) << "";
  EXPECT_EQ(read().error, name(0) + ": nothing was written to it");
  std::ofstream(name(0)) << "SHMRSTRM";
  EXPECT_EQ(read().error, name(0) + ": cut off after 8 bytes; expected a header of 64");
  std::ofstream(name(0)) << std::string(64, 'x');
  EXPECT_EQ(read().error, name(0) + ": no stream of a recording: it does not begin with SHMRSTRM");
}

TEST_F(StreamTest, LinksAreNotFollowed) {
  const fs::path real = root_.path() / "real";
  StreamBuilder().start().save(real, 0);
  fs::create_directories(directory_);
  fs::create_symlink(real / "0.stream", name(0));
  EXPECT_EQ(read().error, name(0) + ": a symbolic link; not followed");
  fs::remove_all(directory_);
  fs::create_directory_symlink(real, directory_);
  EXPECT_EQ(read().error, directory_.string() + ": no recording: Not a directory");
  fs::remove_all(directory_.parent_path());
  fs::create_directories(root_.path() / "other");
  fs::rename(real, root_.path() / "other" / "292b1631-c83d");
  fs::create_directory_symlink("other", directory_.parent_path());
  EXPECT_EQ(read().error, directory_.string() + ": no recording: Not a directory");
}

TEST_F(StreamTest, APipeIsNoStreamAndDoesNotBlock) {
  fs::create_directories(directory_);
  ASSERT_EQ(mkfifo(name(0).c_str(), 0600), 0);
  EXPECT_EQ(read().error, name(0) + ": not a regular file");
}

TEST_F(StreamTest, AFileThatIsMissingBetweenOthersIsNamed) {
  StreamBuilder().start().save(directory_, 0);
  StreamBuilder(2).call(1, 39, {}, 1).save(directory_, 2);
  EXPECT_EQ(read().types, std::vector{Type::kStart});
  EXPECT_EQ(read().error, name(1) + ": missing, and files that follow it are there");
  fs::remove(name(0));
  EXPECT_EQ(read().error, name(0) + ": missing, and files that follow it are there");
}

TEST_F(StreamTest, AFileWithoutAHeaderBetweenOthersIsNamed) {
  StreamBuilder().start().save(directory_, 0);
  std::ofstream(name(1)) << std::string(4096, '\0');
  StreamBuilder(2).save(directory_, 2);
  EXPECT_EQ(read().types, std::vector{Type::kStart});
  EXPECT_EQ(read().error, name(1) + ": nothing was written to it");
}

TEST_F(StreamTest, WhatIsInTheHeaderMustFit) {
  StreamBuilder good;
  good.start();
  EXPECT_EQ(error_of(StreamBuilder(good).put(offsetof(FileHeader, version), 77)),
            name(0) + ": of version 77; this shmrec reads version 1");
  EXPECT_EQ(error_of(StreamBuilder(good).put(offsetof(FileHeader, number), 3)),
            damaged(12, "file number 3; expected 0"));
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{63}, uint64_t{65}, ~uint64_t{0}})
    EXPECT_EQ(error_of(StreamBuilder(good).commit(bytes)),
              damaged(24, std::to_string(bytes) +
                              " bytes are committed; expected 64 to 8589934592, a multiple of 8"));
}

TEST_F(StreamTest, AFileOfAnotherRecordingIsNamed) {
  StreamBuilder().start().save(directory_, 0);
  StreamBuilder(1).put(offsetof(FileHeader, id_low), 1).save(directory_, 1);
  EXPECT_EQ(read().error,
            name(1) + ": damaged at byte 32: of recording 292b1631-0001; expected 292b1631-c83d");
}

// Power loss: the header is newer than the rest.
TEST_F(StreamTest, OfAFileThatIsCutOffWhatIsWholeIsRead) {
  StreamBuilder stream;
  stream.start().call(1, 39, {}, 1);
  const uint64_t second = stream.last(), all = stream.bytes().size();
  for (const uint64_t length : {second, second + 8, all - 8}) {
    stream.save(directory_, 0);
    fs::resize_file(name(0), length);
    EXPECT_EQ(read().types, std::vector{Type::kStart});
    EXPECT_EQ(read().error, name(0) + ": cut off at byte " + std::to_string(length) +
                                "; expected " + std::to_string(all) + " bytes, as its header says");
  }
}

TEST_F(StreamTest, ZerosInPlaceOfARecordAreNamed) {
  StreamBuilder stream;
  stream.start().call(1, 39, {}, 1);
  const std::string zeros(stream.bytes().size() - stream.last(), '\0');
  stream.save(directory_, 0);
  {
    std::fstream file(name(0), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(stream.last())) << zeros;
  }
  EXPECT_EQ(read().types, std::vector{Type::kStart});
  EXPECT_EQ(read().error,
            damaged(stream.last(), "a record of 0 bytes; expected at least 16, a multiple of 8"));
}

// ---- Damaged records ----------------------------------------------------------------------------

TEST_F(StreamTest, TheLengthOfARecordMustFit) {
  StreamBuilder stream;
  stream.start().call(1, 39, {}, 1);
  const uint64_t at = stream.last();
  for (const uint32_t bytes : {8u, 41u})
    EXPECT_EQ(error_of(StreamBuilder(stream).put(at, bytes)),
              damaged(at, "a record of " + std::to_string(bytes) +
                              " bytes; expected at least 16, a multiple of 8"));
  EXPECT_EQ(error_of(StreamBuilder(stream).put(at, 0xFFFFFFF8u)),
            damaged(at, "a record of 4294967288 bytes; expected at most the 40 that are left"));
  StreamBuilder(stream).commit(at + 8).save(directory_, 0);
  EXPECT_EQ(read().error, damaged(at, "8 bytes are left; expected a record"));
}

struct Lie {
  const char* name;
  std::function<void(StreamBuilder&)> tell;  // adds a record behind the start that cannot be
  const char* error;
};
void PrintTo(const Lie& lie, std::ostream* to) { *to << lie.name; }

constexpr MappingRecord kMapping = {0x1000, 0x2000, 1, 0, 0, 0, 0};
MappingRecord mapping(const std::function<void(MappingRecord&)>& change) {
  MappingRecord changed = kMapping;
  change(changed);
  return changed;
}

const Lie kLies[] = {
    {"Type", [](auto& s) { s.record(Type{16}, 0, 0, ""); },
     "a record of type 16; expected 1 to 15"},
    {"TypeZero", [](auto& s) { s.record(Type{}, 0, 0, ""); },
     "a record of type 0; expected 1 to 15"},
    {"Detail", [](auto& s) { s.record(Type::kValue, 4, 0, std::string(32, 0)); },
     "a value record with detail 4; expected 1 to 3"},
    {"Short", [](auto& s) { s.record(Type::kCheck, 0, 0, std::string(16, 0)); },
     "a check record with 16 bytes behind its header; expected 24"},
    {"Long", [](auto& s) { s.record(Type::kCheck, 0, 0, std::string(32, 0)); },
     "a check record with 32 bytes behind its header; expected 24"},
    {"ShortOpenEnded", [](auto& s) { s.record(Type::kCall, 0, 0, std::string(8, 0)); },
     "a call record with 8 bytes behind its header; expected at least 24"},
    {"SecondStart", [](auto& s) { s.start(); }, "a second start"},
    {"MappingEmpty", [](auto& s) { s.mapping(mapping([](auto& m) { m.end = m.begin; })); },
     "a mapping from 0x1000 to 0x1000; expected whole pages, at least one"},
    {"MappingUnaligned", [](auto& s) { s.mapping(mapping([](auto& m) { m.end = 0x2008; })); },
     "a mapping from 0x1000 to 0x2008; expected whole pages, at least one"},
    {"MappingProtection", [](auto& s) { s.mapping(mapping([](auto& m) { m.protection = 8; })); },
     "a mapping with protection 8; expected at most 7"},
    {"MappingFlags", [](auto& s) { s.mapping(mapping([](auto& m) { m.flags = 8; })); },
     "a mapping with flags 8; expected at most 7"},
    {"MappingFile", [](auto& s) { s.mapping(mapping([](auto& m) { m.file = 1; })); },
     "file 1 is mapped; expected a file's record before it"},
    {"MappingLate", [](auto& s) { s.call(1, 39, {}, 1).mapping(kMapping); },
     "a mapping of the start behind an event"},
    {"MemoryLength", [](auto& s) { s.memory(0x1000, "eight by").put_last(8, uint64_t{9}); },
     "9 bytes of memory; expected as many as the record's 8"},
    {"MemoryHuge", [](auto& s) { s.memory(0x1000, "eight by").put_last(8, ~uint64_t{0}); },
     "18446744073709551615 bytes of memory; expected as many as the record's 8"},
    {"MemoryWraps", [](auto& s) { s.memory(~uint64_t{0}, "eight by"); },
     "memory at 0xffffffffffffffff that goes beyond the address space"},
    {"FileNumber", [](auto& s) { s.file(2, "/a"); }, "file number 2; expected 1"},
    {"FileNumberAgain", [](auto& s) { s.file(1, "/a").file(1, "/b"); },
     "file number 1; expected 2"},
    {"FileNumberZero", [](auto& s) { s.file(0, "/a"); }, "file number 0; expected 1 to 65535"},
    {"FileKept", [](auto& s) { s.file(1, "/a").put_last(4, 2); },
     "a file with kept 2; expected at most 1"},
    {"PathWithoutNul", [](auto& s) { s.file(1, "/1234567").put_last(48 + 8, 0x7878787878787878); },
     "a file's path that does not end where its record does"},
    {"PathEndsEarly", [](auto& s) { s.file(1, "/1234567").put_last(48 + 2, '\0'); },
     "a file's path that does not end where its record does"},
    {"CallArguments",
     [](auto& s) {
       s.call(1, 39, {1, 2, 3, 4, 5, 6, 7}, 1);
     },
     "a call with arguments 7; expected at most 6"},
    {"CallArgumentsMissing", [](auto& s) { s.call(1, 39, {1}, 1).put_last(2, uint8_t{6}); },
     "a call with 8 bytes; expected 6 arguments"},
    {"CallFlags", [](auto& s) { s.call(1, 39, {}, 1).put_last(3, uint8_t{4}); },
     "a call with flags 4; expected at most 3"},
    {"CallOutputMissing", [](auto& s) { s.call(1, 39, {}, 1).put_last(4, uint16_t{1}); },
     "output 1 of a call's 1 reaches behind its record"},
    {"CallOutputLong",
     [](auto& s) {
       s.call(1, 39, {}, 1, {{0x1000, "a"}}).put_last(32, uint64_t{9});
     },
     "output 1 of a call's 1 reaches behind its record"},
    {"CallOutputHuge",
     [](auto& s) {
       s.call(1, 39, {}, 1, {{0x1000, "a"}}).put_last(32, ~uint64_t{0});
     },
     "output 1 of a call's 1 reaches behind its record"},
    {"CallOutputWraps",
     [](auto& s) {
       s.call(1, 39, {}, 1, {{~uint64_t{0}, "a"}});
     },
     "output at 0xffffffffffffffff that goes beyond the address space"},
    {"CallMore", [](auto& s) { s.call(1, 39, {1}, 1).put_last(2, uint8_t{0}); },
     "8 bytes behind a call's outputs; expected none"},
    {"CallFile", [](auto& s) { s.file(1, "/a").call(1, 9, {}, 1, {}, 2); },
     "file 2 is mapped; expected one of the 1 before it"},
    {"SignalPlace", [](auto& s) { s.signal(1, 11, SignalKind::kHandler, SignalPlace{5}); },
     "a signal at place 5; expected 1 to 4"},
    {"SignalPlaceZero", [](auto& s) { s.signal(1, 11, SignalKind::kHandler, SignalPlace{}); },
     "a signal at place 0; expected 1 to 4"},
    {"SignalNumber", [](auto& s) { s.signal(1, 65, SignalKind::kHandler, SignalPlace::kFault); },
     "signal 65; expected 1 to 64"},
    {"SignalKind", [](auto& s) { s.signal(1, 11, SignalKind{3}, SignalPlace::kFault); },
     "a signal record with detail 3; expected 1 to 2"},
    {"StopWords",
     [](auto& s) {
       s.stop_at(1, StopKind::kPlain, {}, {{8, 1}}, {}).put_last(164, uint16_t{49});
     },
     "a stop with words 49; expected at most 48"},
    {"StopRanges",
     [](auto& s) {
       s.stop_at(1, StopKind::kPlain, {}, {}, {{8, 1}}).put_last(166, uint16_t{257});
     },
     "a stop with ranges 257; expected at most 256"},
    {"StopShort",
     [](auto& s) {
       s.stop_at(1, StopKind::kPlain, {}, {{8, 1}}, {}).put_last(164, uint16_t{2});
     },
     "16 bytes behind a stop; expected 32 of its words and ranges"},
    {"StopKind", [](auto& s) { s.stop_at(1, StopKind{3}, {}, {}, {}); },
     "a stop record with detail 3; expected 1 to 2"},
    {"LeftOutOdd", [](auto& s) { s.record(Type::kLeftOut, 0, 1, std::string(24, 0)); },
     "24 bytes of what a check leaves out; expected ranges of 16 bytes, at most 256"},
    {"LeftOutMany", [](auto& s) { s.left_out(1, std::vector<Range>(257)); },
     "4112 bytes of what a check leaves out; expected ranges of 16 bytes, at most 256"},
    {"EndEmpty", [](auto& s) { s.stop(1, EndKind::kExec, "why").put_last(0, uint64_t{0}); },
     "an end with 0 bytes of text; expected a text that ends with NUL, in 8"},
    {"EndLong", [](auto& s) { s.stop(1, EndKind::kExec, "why").put_last(0, uint64_t{9}); },
     "an end with 9 bytes of text; expected a text that ends with NUL, in 8"},
    {"EndWithoutNul", [](auto& s) { s.stop(1, EndKind::kExec, "why").put_last(11, 'x'); },
     "an end with 4 bytes of text; expected a text that ends with NUL, in 8"},
    {"BehindTheEnd", [](auto& s) { s.stop(1, EndKind::kUnreplayable, "why").call(2, 39, {}, 1); },
     "a record behind the end of what can be replayed"},
};

class ARecordThatCannotBe : public StreamTest, public ::testing::WithParamInterface<Lie> {};

TEST_P(ARecordThatCannotBe, IsNamedBehindWhatIsSound) {
  StreamBuilder stream;
  stream.start();
  GetParam().tell(stream);
  stream.save(directory_, 0);
  const Found found = read();
  EXPECT_EQ(found.error, damaged(stream.last(), GetParam().error));
  ASSERT_FALSE(found.types.empty());
  EXPECT_EQ(found.types[0], Type::kStart);
}

INSTANTIATE_TEST_SUITE_P(Stream, ARecordThatCannotBe, ::testing::ValuesIn(kLies),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(StreamTest, TheFirstRecordIsAStart) {
  StreamBuilder stream;
  stream.call(1, 39, {}, 1);
  EXPECT_EQ(error_of(stream), damaged(64, "a record before the start"));
}

// Each byte of a stream that has every record, and lengths that records do not have.
TEST_F(StreamTest, WhateverTheBytesTheyAreReadOrNamed) {
  const std::string sound = every_record().bytes();
  for (size_t at = 0; at < sound.size(); ++at) {
    std::string bytes = sound;
    bytes[at] = static_cast<char>(~bytes[at]);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    if (at % 5 == 0) LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(sound.data()), at);
  }
}

TEST_F(StreamTest, WhatTheFuzzerFoundStaysFound) {
  size_t count = 0;
  for (const auto& entry :
       fs::directory_iterator(fs::path(SHMREC_SOURCE_DIR) / "tests/fuzz/corpus/stream")) {
    std::ostringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    const std::string bytes = text.str();
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    ++count;
  }
  EXPECT_GT(count, 4u);
}

// ---- The dump -----------------------------------------------------------------------------------

TEST_F(StreamTest, TheDumpHasALineForEachRecord) {
  every_record().save(directory_, 0);
  const std::vector<std::string> expected = {
      "stream of 292b1631-c83d  version 1  files 1  bytes " +
          std::to_string(every_record().bytes().size()),
      "       0  start exec  pid 4242  tid 4242  pc 0x401000  stack 0x7ffc49b9e140  heap "
      "0x5613a0f19000-0x5613a0f19000  blocked 0x0  ignored 0x0  xcr0 0x7  processor \"AMD EPYC\"  "
      "cpuid traps",
      "       0  file 1  /usr/bin/true  35664 bytes",
      "       0  mapping 0x400000-0x402000  r-x  private  file 1 at 0x1000",
      "       0  mapping 0x7ffc49b7f000-0x7ffc49ba0000  rw-  private  stack",
      R"(       0  memory 0x7ffc49b9e140+14 "\x01\x00\x00\x00\x00\x00\x00\x00\"\\\x1b[2J")",
      "       1  rdtsc 0xd71908e1 0x0 0x0 0x2677  pc 0x401000",
      "       2  openat(0xffffff9c, 0x402010, 0x80000, 0) = -1 ENOENT",
      "       3  read(3, 0x7ffc49b9d000, 832) = 5  0x7ffc49b9d000+5 \"hello\"",
      "       4  file 2  /etc/ld.so.cache  35664 bytes",
      "       4  mmap(0, 4096, 1, 2, 3, 0) = 0x7f21f9e05000  file 2",
      "       4  SIGALRM  code 0  handler  after event  pc 0x401234",
      "       5  end, exec: another program is executed",
      "       6  SIGSEGV  code 0  handler  fault  pc 0x401234",
      "       7  thread, begins  pc 0x401500  stack 0x7f21f9d00000",
      "       7  turn to tid 4243, the one before in its call",
      "       7  stop at an instruction  pc 0x401600  stack 0x7f21f9cfff00  words 1  left out 1",
      "       7  turn to tid 4242, the one before at its stop",
      "       7  made again",
      "       7  left out of the check  0x7f21f9c00000+12",
      "       7  page 0x5613a0f19000  0xcafe",
      "       7  check  registers 0xacd9  memory 0xbeef of 33 pages",
      "       7  exit_group(0) = ?",
      "       7  end, not replayable: a thread",
  };
  EXPECT_EQ(dump(false), expected);
}

TEST_F(StreamTest, LongMemoryIsShownByItsHead) {
  StreamBuilder().start().memory(0x1000, std::string(33, 'a')).save(directory_, 0);
  EXPECT_EQ(dump(false).back(), "       0  memory 0x1000+33 \"" + std::string(32, 'a') + "\"...");
}

TEST_F(StreamTest, WhatHasNoNameIsShownByItsNumber) {
  StreamBuilder().start().call(1, 9999, {}, static_cast<uint64_t>(-4000)).save(directory_, 0);
  EXPECT_EQ(dump(false).back(), "       1  syscall 9999() = -1 4000");
}

TEST_F(StreamTest, ACallThatMapsTracedMemorySaysSo) {
  StreamBuilder()
      .start()
      .call(1, 9, {}, 0x7F0000000000)
      .put_last(3, uint8_t{kCallTraces})
      .save(directory_, 0);
  EXPECT_EQ(dump(false).back(), "       1  mmap() = 0x7f0000000000  traced");
  EXPECT_EQ(nlohmann::json::parse(dump(true).back())["traced"], true);
}

TEST_F(StreamTest, ACallThatIsMadeAgainSaysSo) {
  StreamBuilder()
      .start()
      .call(1, 202, {}, 202)
      .put_last(3, uint8_t{kCallRepeats})
      .save(directory_, 0);
  EXPECT_EQ(dump(false).back(), "       1  futex() = 202  made again");
  EXPECT_EQ(nlohmann::json::parse(dump(true).back())["repeats"], true);
}

TEST_F(StreamTest, AForkNamesItsParent) {
  StartRecord start{};
  start.parent_high = 0x292B1631;
  start.parent_low = 0xC83D;
  start.parent_event = 294;
  StreamBuilder().start(start, shmlog::StartKind::kFork).save(directory_, 0);
  EXPECT_NE(dump(false).back().find("start fork  of 292b1631-c83d at event 294  pid 0"),
            std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(dump(true).back())["parent"], "292b1631-c83d");
}

TEST_F(StreamTest, TheDumpInJsonIsOneObjectALine) {
  every_record().save(directory_, 0);
  const std::vector<std::string> lines = dump(true);
  ASSERT_EQ(lines.size(), 24u);
  uint64_t before = 0;
  for (size_t i = 1; i < lines.size(); ++i) {
    const auto item = nlohmann::json::parse(lines[i]);
    EXPECT_GT(item["at"].get<uint64_t>(), before);
    before = item["at"];
    EXPECT_EQ(item["stream"], 0);
  }
  EXPECT_EQ(lines[0], R"({"type":"stream","recording":"292b1631-c83d","version":1,"files":1,)"
                      R"("bytes":)" +
                          std::to_string(every_record().bytes().size()) + "}");
  const auto call = nlohmann::json::parse(lines[8]);
  EXPECT_EQ(call["type"], "call");
  EXPECT_EQ(call["event"], 3);
  EXPECT_EQ(call["syscall"], "read");
  EXPECT_EQ(call["arguments"], (nlohmann::json{"0x3", "0x7ffc49b9d000", "0x340"}));
  EXPECT_EQ(call["result"], 5);
  EXPECT_FALSE(call.contains("error"));
  EXPECT_EQ(call["outputs"],
            nlohmann::json::parse(R"([{"address":"0x7ffc49b9d000","bytes":5,"head":"hello"}])"));
  EXPECT_EQ(nlohmann::json::parse(lines[7])["error"], "ENOENT");
  EXPECT_EQ(nlohmann::json::parse(lines[7])["result"], -2);
  EXPECT_EQ(nlohmann::json::parse(lines[15])["tid"], 4243);
  const auto stop = nlohmann::json::parse(lines[16]);
  EXPECT_EQ(stop["words"], nlohmann::json::parse(R"([{"address":"0x404010","value":"0x29"}])"));
  EXPECT_EQ(stop["ranges"], nlohmann::json::parse(R"([{"address":"0x7ffc49b9d000","bytes":832}])"));
  EXPECT_EQ(nlohmann::json::parse(lines[19])["ranges"],
            nlohmann::json::parse(R"([{"address":"0x7f21f9c00000","bytes":12}])"));
  EXPECT_EQ(nlohmann::json::parse(lines[2])["mapped"], "800002-4d2-8b50-68cf8a10.0");
  EXPECT_FALSE(nlohmann::json::parse(lines[21]).contains("result")) << "exit does not return";
}

TEST_F(StreamTest, TheDumpPrintsWhatIsBeforeTheDamageAndStopsWhenAsked) {
  StreamBuilder stream;
  stream.start().start().save(directory_, 0);
  auto reader = open();
  int lines = 0;
  EXPECT_FALSE(dump_stream(*reader, false, [&](const std::string&) { return ++lines > 0; }));
  EXPECT_EQ(lines, 2);
  reader = open();
  lines = 0;
  EXPECT_TRUE(dump_stream(*reader, false, [&](const std::string&) { return ++lines < 2; }));
  EXPECT_EQ(lines, 2);
}

// ---- The worked example of docs/stream_format.md ------------------------------------------------

StreamBuilder example() {
  StartRecord start{};
  start.regs[kStackPointer] = 0x7FFE7148F3B8;
  start.regs[kInstructionPointer] = 0x7FC23507E353;
  start.regs[kFlags] = 0x246;
  start.fs_base = 0x7FC234FA7740;
  start.agent_base = 0x10000000000;
  start.heap_begin = start.heap_end = 0x56234F30F000;
  start.pid = start.tid = 13669;
  start.parent_high = 0x2D9DFAD3;
  start.parent_low = 0xE9F8;
  start.parent_event = 217;
  start.features = 7;
  start.ignored = 4;
  std::memcpy(start.processor, "AMD EPYC", 8);
  StreamBuilder stream;
  stream.start(start, shmlog::StartKind::kFork)
      .memory(0x7FC234FA7A10, std::string("e5\0\0", 4))
      .call(2, 0, {3, 0x7FFE7148F000, 4096}, 5, {{0x7FFE7148F000, "hello"}})
      .stop(3, EndKind::kExec, "another program is executed");
  return stream;
}

// Rows of 16 bytes; those of zeros are left out.
std::string hex_rows(const std::string& bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    const std::string row = bytes.substr(at, 16);
    if (row.find_first_not_of('\0') == std::string::npos) continue;
    std::array<char, 24> part;
    std::snprintf(part.data(), part.size(), "%04zx:", at);
    text += part.data();
    for (const char byte : row) {
      std::snprintf(part.data(), part.size(), " %02x", static_cast<unsigned char>(byte));
      text += part.data();
    }
    text += "\n";
  }
  return text;
}

std::string block_of_document(const std::string& kind) {
  std::ostringstream text;
  text << std::ifstream(SHMREC_SOURCE_DIR "/docs/stream_format.md").rdbuf();
  const std::string document = text.str(), begin = "```" + kind + "\n";
  const size_t at = document.find(begin);
  if (at == std::string::npos) return "";
  const size_t from = at + begin.size();
  return document.substr(from, document.find("```", from) - from);
}

TEST_F(StreamTest, TheExampleOfTheDocumentIsThisStream) {
  EXPECT_EQ(block_of_document("hex"), hex_rows(example().bytes()));
}

TEST_F(StreamTest, TheExampleOfTheDocumentIsDumpedAsItSays) {
  example().save(directory_, 0);
  std::string text;
  for (const std::string& line : dump(false)) text += line + "\n";
  EXPECT_EQ(block_of_document("dump"), text);
}

}  // namespace
}  // namespace shmrec::recording
