// Functions, lines, variables and expressions, on programs compiled here: position independent and
// fixed, without debug information, and with it in a separate file.
#include "recording/blame/symbols.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "recording/blame/blame.h"
#include "recording/blame/blame_print.h"
#include "recording/blame/expression.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::recording {
namespace {

using shmlog::SegmentKind;
using testing::le32;
using testing::le64;
using testing::ShmlogBuilder;

constexpr const char* kProgram =
    R"(struct item { int id; long value; struct item *next; char tag[8]; union { int i; float f; }; };
struct item ring[4];
int *shmem_data_array;
static struct item *head;
int matrix[3][5];
void *opaque;
typedef const int *alias_t;
alias_t through_typedef;
int touch(int *p) {
  return *p + 1;
}
int main(void) { return touch(shmem_data_array) + head->id + ring[0].id + matrix[0][0] + (opaque != 0) + *through_typedef; }
)";

class SymbolsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/shmrec_symbols_XXXXXX";
    directory_ = mkdtemp(name);
    std::ofstream(directory_ + "/program.c") << kProgram;
    const std::pair<const char*, const char*> builds[] = {{"pie", "-g -O0 -pie -fPIE"},
                                                          {"fixed", "-g -O0 -no-pie -fno-pie"},
                                                          {"bare", "-O0 -s"},
                                                          {"symtab", "-O0"}};
    for (const auto& [output, flags] : builds) {
      const std::string command = "cc " + std::string(flags) + " -o " + directory_ + "/" + output +
                                  " " + directory_ + "/program.c";
      ASSERT_EQ(std::system(command.c_str()), 0) << command;
    }
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(directory_); }

  static std::string path(const std::string& name) { return directory_ + "/" + name; }
  static std::unique_ptr<ModuleFile> open(const std::string& name) {
    return ModuleFile::open(path(name));
  }
  // As the ELF file has it.
  static uint64_t address_of(const std::string& program, const std::string& symbol) {
    const std::string command =
        "nm " + path(program) + " | awk '$3==\"" + symbol + "\"{print $1}' > " + path("nm.out");
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::string word;
    std::ifstream(path("nm.out")) >> word;
    return std::stoull(word, nullptr, 16);
  }

  static std::string directory_;
};
std::string SymbolsTest::directory_;

TEST_F(SymbolsTest, CodeHasFunctionAndLineWhetherPieOrFixed) {
  for (const char* build : {"pie", "fixed"}) {
    const auto module = open(build);
    ASSERT_NE(module, nullptr);
    const SourcePlace place = module->place(address_of(build, "touch"));
    EXPECT_EQ(place.function, "touch") << build;
    EXPECT_EQ(place.file, path("program.c")) << build;
    EXPECT_EQ(place.line, 9) << build;
  }
}

TEST_F(SymbolsTest, FileOffsetsBecomeAddresses) {
  const auto fixed = open("fixed");
  const uint64_t touch = address_of("fixed", "touch");
  // The linker puts code of a fixed program at 0x400000 + file offset.
  EXPECT_EQ(fixed->address_of_offset(touch - 0x400000), touch);
  EXPECT_EQ(open("pie")->address_of_offset(address_of("pie", "touch")), address_of("pie", "touch"));
  EXPECT_FALSE(fixed->address_of_offset(uint64_t{1} << 40));
}

TEST_F(SymbolsTest, WithoutDebugInformationTheSymbolTableServes) {
  const auto module = open("symtab");
  const SourcePlace place = module->place(address_of("symtab", "touch"));
  EXPECT_EQ(place.function, "touch");
  EXPECT_EQ(place.file, "");
  const auto ring = module->variable("ring");
  ASSERT_TRUE(ring);
  EXPECT_EQ(ring->address, address_of("symtab", "ring"));
  EXPECT_EQ(ring->size, 4u * 40);
  EXPECT_FALSE(ring->type.known());
  EXPECT_FALSE(open("bare")->variable("ring"));
}

TEST_F(SymbolsTest, FilesThatAreNotElfHaveNoSymbols) {
  EXPECT_EQ(open("program.c"), nullptr);
  EXPECT_EQ(open("nonexistent"), nullptr);
  std::ofstream(path("cut"), std::ios::binary) << "\177ELF\2\1\1";
  const auto cut = open("cut");
  if (cut) {
    EXPECT_FALSE(cut->variable("ring"));
  }
}

TEST_F(SymbolsTest, ExpressionsAreEvaluatedByType) {
  const auto module = open("pie");
  const uint64_t ring = address_of("pie", "ring");
  const uint64_t matrix = address_of("pie", "matrix");
  const ExpressionContext context = {
      [&](const std::string& name) -> Result<Variable> {
        auto variable = module->variable(name);
        if (!variable) return Error{name + ": no such variable"};
        return *variable;
      },
      [&](uint64_t address, const std::string& text) -> Result<uint64_t> {
        if (address == address_of("pie", "shmem_data_array")) return uint64_t{0x10000};
        if (address == address_of("pie", "head")) return uint64_t{0x20000};
        if (address == 0x20010) return uint64_t{0x30000};  // head->next
        if (address == address_of("pie", "through_typedef")) return uint64_t{0x40000};
        return Error{text + ": unknown pointer"};
      }};
  struct Case {
    const char* text;
    uint64_t address;
    uint64_t size;
  };
  const Case cases[] = {
      {"ring", ring, 160},
      {"&ring", ring, 160},
      {"ring[2]", ring + 80, 40},
      {"&ring[2].value", ring + 88, 8},
      {" & ring [ 2 ] . value ", ring + 88, 8},
      {"ring->id", ring, 4},
      {"(*ring).tag[3]", ring + 27, 1},
      {"ring[1].f", ring + 72, 4},
      {"*&ring[1]", ring + 40, 40},
      {"(&ring[1])->value", ring + 48, 8},
      {"(&ring[1])[1].value", ring + 88, 8},
      {"*shmem_data_array", 0x10000, 4},
      {"shmem_data_array[5]", 0x10014, 4},
      {"&shmem_data_array[5]", 0x10014, 4},
      {"shmem_data_array[-1]", 0xFFFC, 4},
      {"head->value", 0x20008, 8},
      {"head->next->tag", 0x30018, 8},
      {"head[1].next", 0x20000 + 40 + 16, 8},
      {"matrix[1]", matrix + 20, 20},
      {"matrix[1][2]", matrix + 28, 4},
      {"*matrix", matrix, 20},
      {"*through_typedef", 0x40000, 4},
  };
  for (const Case& c : cases) {
    const auto place = evaluate_expression(c.text, context);
    ASSERT_TRUE(place) << c.text << ": " << place.error().message;
    EXPECT_EQ(place->address, c.address) << c.text;
    EXPECT_EQ(place->size, c.size) << c.text;
  }
  const std::pair<const char*, const char*> errors[] = {
      {"", "expected the name"},
      {"ring[", "expected a number"},
      {"ring[1", "expected ']'"},
      {"ring[0].nosuch", "no member"},
      {"matrix.x", "not a struct"},
      {"&&ring", "needs something"},
      {"*ring[0].id", "not a pointer"},
      {"ring)", "expected '['"},
      {"(ring", "expected ')'"},
      {"nosuch", "no such variable"},
      {"opaque", nullptr},
      {"opaque[1]", "unknown pointer"},
      {"ring[99999999999999999999]", "expected a number"},
      {"ring[9223372036854775807]", "index too large"},
  };
  for (const auto& [text, part] : errors) {
    const auto place = evaluate_expression(text, context);
    EXPECT_EQ(place.ok(), part == nullptr) << text;
    if (place || part == nullptr) continue;
    EXPECT_NE(place.error().message.find(part), std::string::npos) << place.error().message;
  }
  EXPECT_FALSE(evaluate_expression(std::string(100000, '('), context)) << "depth is limited";
  EXPECT_FALSE(evaluate_expression(std::string(100000, '*') + "ring", context));
}

// A run of `program` with its code mapped at a load address, and one shared array.
struct RecordedRun {
  ShmlogBuilder log;
  uint32_t producer = 0, consumer = 0, segment = 0;
};

void fill_run(RecordedRun& run, const std::string& program, uint64_t code_base,
              uint64_t code_offset, uint64_t pc) {
  run.segment = run.log.add_segment(SegmentKind::kAnonymous, "");
  run.producer =
      run.log.add_process({.id_high = 1, .pid = 133, .name = "producer", .executable = program});
  run.log.add_module(run.producer, program, code_base, 0x1000, code_offset);
  run.log.map_segment(run.producer, run.segment, 0x7f0000000000);
  run.consumer = run.log.add_process({.id_high = 2,
                                      .pid = 137,
                                      .name = "consumer",
                                      .start = shmlog::StartKind::kFork,
                                      .parent = run.producer,
                                      .executable = program});
  run.log.inherit_map(run.consumer, run.segment, 0x7f0000000000);
  run.log.write(run.producer, run.segment, 20, le32(100), {.pc = pc});
  run.log.read(run.consumer, run.segment, 20, 4, {.pc = pc + 4});
}

Result<BlameAnswer> ask(RecordedRun& run, const BlameQuery& query) {
  const std::vector<uint8_t> bytes = run.log.build();
  const auto log = ShmlogReader::from_memory(bytes, "test");
  EXPECT_TRUE(log);
  const auto index = AccessIndex::build(**log);
  static std::vector<std::unique_ptr<Timeline>> timelines;  // answers point into them
  timelines.push_back(std::make_unique<Timeline>(**log));
  Symbols symbols([](const std::string& path) { return path; });
  return Blame(*index, *timelines.back(), symbols).ask(query);
}

TEST_F(SymbolsTest, BlameNamesFunctionAndLineOfEachAccess) {
  for (const char* build : {"pie", "fixed"}) {
    const uint64_t touch = address_of(build, "touch");
    const uint64_t page = touch & ~uint64_t{4095};
    const bool pie = build == std::string("pie");
    const uint64_t base = pie ? 0x555555554000 + page : page;
    RecordedRun run;
    fill_run(run, path(build), base, pie ? page : page - 0x400000, base + (touch - page));
    const auto answer = ask(run, {.where = "1+20", .recording = "consumer"});
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->rows.size(), 2u);
    EXPECT_EQ(answer->rows[0].function, "touch") << build;
    EXPECT_EQ(answer->rows[0].line, 9) << build;
    EXPECT_EQ(answer->rows[1].module, path(build)) << "inherited by fork";
    EXPECT_NE(blame_table(*answer, false).find("program.c:9"), std::string::npos);
  }
}

TEST_F(SymbolsTest, APrivatePointerToTheOnlySegmentIsFollowedAndSaid) {
  const uint64_t touch = address_of("pie", "touch");
  const uint64_t page = touch & ~uint64_t{4095};
  RecordedRun run;
  fill_run(run, path("pie"), 0x555555554000 + page, page, 0x555555554000 + touch);
  for (const char* where : {"&shmem_data_array[5]", "shmem_data_array[5]"}) {
    const auto answer = ask(run, {.where = where, .recording = "consumer"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->location.offset, 20u);
    EXPECT_EQ(answer->location.length, 4u);
    EXPECT_EQ(answer->rows.size(), 2u);
    ASSERT_FALSE(answer->notes.empty());
    EXPECT_NE(answer->notes[0].find("shmem_data_array is a private pointer"), std::string::npos);
  }
  const uint32_t other = run.log.add_segment(SegmentKind::kPosixShm, "/other");
  run.log.map_segment(run.consumer, other, 0x7f0000100000);
  const auto ambiguous = ask(run, {.where = "shmem_data_array[5]", .recording = "consumer"});
  ASSERT_FALSE(ambiguous);
  for (const char* part : {"private pointer", "anon#1+0x0", "/other+0x0", "0x7f0000100000"}) {
    EXPECT_NE(ambiguous.error().message.find(part), std::string::npos) << ambiguous.error().message;
  }
}

TEST_F(SymbolsTest, APointerInSharedMemoryIsFollowedThroughTheLog) {
  const uint64_t touch = address_of("pie", "touch");
  const uint64_t page = touch & ~uint64_t{4095};
  const uint64_t bias = 0x555555554000;
  RecordedRun run;
  fill_run(run, path("pie"), bias + page, page, bias + touch);
  // The page of `head` itself is shared, as with a linker section mapped over.
  const uint64_t head = bias + address_of("pie", "head");
  const uint32_t globals = run.log.add_segment(SegmentKind::kPosixShm, "/globals", 8192);
  run.log.map_segment(run.consumer, globals, head & ~uint64_t{4095}, 8192);
  run.log.write(run.consumer, globals, head & 4095, le64(0x7f0000000014));
  const auto answer = ask(run, {.where = "head->id", .recording = "consumer"});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->location.segment, run.segment);
  EXPECT_EQ(answer->location.offset, 20u);
  const auto itself = ask(run, {.where = "&head", .recording = "consumer"});
  ASSERT_TRUE(itself) << itself.error().message;
  EXPECT_EQ(itself->location.segment, globals);
  EXPECT_EQ(itself->location.length, 8u);
}

}  // namespace
}  // namespace shmrec::recording
