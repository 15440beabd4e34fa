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

// Compiles `source` in C++ with each compiler that is installed, for both versions of DWARF that
// they write, and hands the programs out. clang is one of the packages for tests; without it only
// gcc's programs are looked at.
struct Compiled {
  std::string title;
  std::string file;
};
std::vector<Compiled> compile_everywhere(const std::string& directory, const std::string& name,
                                         const std::string& source, const std::string& flags) {
  const std::string text = directory + "/" + name;
  std::ofstream(text) << source;
  std::vector<Compiled> programs;
  // clang needs a package for link-time optimization that is not among those for tests.
  const bool link_time = flags.find("-flto") != std::string::npos;
  for (const char* compiler : {"g++", "clang++-14"}) {
    if (link_time && compiler != std::string("g++")) continue;
    const std::string present = "command -v " + std::string(compiler) + " >/dev/null";
    if (std::system(present.c_str()) != 0) {
      std::printf("not installed, so not tested: %s\n", compiler);
      continue;
    }
    for (const char* dwarf : {"-gdwarf-4", "-gdwarf-5"}) {
      const std::string title = std::string(compiler) + " " + dwarf + " " + flags;
      const std::string file = text + "." + std::to_string(programs.size());
      const std::string command =
          std::string(compiler) + " -g " + dwarf + " " + flags + " -o " + file + " " + text;
      EXPECT_EQ(std::system(command.c_str()), 0) << command;
      programs.push_back({title, file});
    }
  }
  return programs;
}

// Of a global variable, relative to it: where the rest of an expression leads.
struct Place {
  uint64_t offset = 0;
  uint64_t size = 0;
  bool operator==(const Place&) const = default;
};
void PrintTo(const Place& place, std::ostream* out) {
  *out << place.size << " bytes at " << place.offset;
}
Place place_in(const ModuleFile& module, const std::string& variable, const std::string& rest) {
  uint64_t start = 0;
  const ExpressionContext context = {
      [&](const std::string& name) -> Result<Variable> {
        const auto found = module.variable(name);
        if (!found) return Error{name + ": no such variable"};
        start = found->address;
        return *found;
      },
      [](uint64_t, const std::string& text) -> Result<uint64_t> { return Error{text}; }};
  const auto place = evaluate_expression(variable + rest, context);
  if (!place) {
    ADD_FAILURE() << place.error().message;
    return {};
  }
  return {place->address - start, place->size};
}

TEST_F(SymbolsTest, ABitFieldIsTheBytesThatItLiesIn) {
  const std::string source = R"(
struct Conn { unsigned long id; int fd; unsigned open : 1, dirty : 1, retries : 6, wide : 12; };
struct Packed { char tag; unsigned long low : 3, cross : 30; } __attribute__((packed));
struct Outer { short head; struct { unsigned first : 9, second : 7; }; };
Conn conn[4];
Packed packed;
Outer outer;
int main() { return conn[0].fd + packed.tag + outer.head; }
)";
  for (const Compiled& program : compile_everywhere(directory_, "bits.cpp", source, "-O0")) {
    SCOPED_TRACE(program.title);
    const auto module = ModuleFile::open(program.file);
    ASSERT_NE(module, nullptr);
    EXPECT_EQ(place_in(*module, "conn", "[2].open"), (Place{32 + 12, 1}));
    EXPECT_EQ(place_in(*module, "conn", "[2].retries"), (Place{32 + 12, 1}));
    EXPECT_EQ(place_in(*module, "conn", "[2].wide"), (Place{32 + 13, 2}));
    EXPECT_EQ(place_in(*module, "conn", "[2].fd"), (Place{32 + 8, 4}));
    EXPECT_EQ(place_in(*module, "packed", ".low"), (Place{1, 1}));
    EXPECT_EQ(place_in(*module, "packed", ".cross"), (Place{1, 5}));
    EXPECT_EQ(place_in(*module, "outer", ".first"), (Place{4, 2}));
    EXPECT_EQ(place_in(*module, "outer", ".second"), (Place{5, 1}));
  }
}

// Where the symbol table has it, by its readable name.
uint64_t linked_at(const std::string& program, const std::string& name) {
  const std::string list = program + ".nm";
  const std::string command = "nm -C " + program + " | awk '{a=$1; $1=$2=\"\"; if ($0 == \"  " +
                              name + "\") print a}' > " + list;
  EXPECT_EQ(std::system(command.c_str()), 0);
  std::string word = "0";
  std::ifstream(list) >> word;
  return std::stoull(word, nullptr, 16);
}

// A static member is defined outside of its class; clang's DWARF 5 gives addresses as indexes into
// .debug_addr.
TEST_F(SymbolsTest, NamesCarryNamespacesAndClasses) {
  const std::string source = R"(
struct Cell { int id, state; double rate; };
namespace ns { Cell outer[2]; namespace deep { Cell inner; Cell twice; } static Cell local; }
namespace { Cell unnamed; }
struct Holder { static Cell inst; };
Cell Holder::inst;
namespace ns { struct Nested { static Cell inst; }; Cell Nested::inst; }
Cell twice;
int main() { return ns::local.id + unnamed.id; }
)";
  const struct {
    const char* asked;
    const char* linked;
  } cases[] = {
      {"ns::outer", "ns::outer"},
      {"outer", "ns::outer"},
      {"ns::deep::inner", "ns::deep::inner"},
      {"deep::inner", "ns::deep::inner"},
      {"ns::local", "ns::local"},
      {"unnamed", "(anonymous namespace)::unnamed"},
      {"Holder::inst", "Holder::inst"},
      {"ns::Nested::inst", "ns::Nested::inst"},
      {"Nested::inst", "ns::Nested::inst"},
      {"twice", "twice"},
      {"deep::twice", "ns::deep::twice"},
  };
  for (const char* flags : {"-O0", "-O0 -flto"}) {
    for (const Compiled& program : compile_everywhere(directory_, "names.cpp", source, flags)) {
      const auto module = ModuleFile::open(program.file);
      ASSERT_NE(module, nullptr);
      for (const auto& [asked, linked] : cases) {
        SCOPED_TRACE(program.title + ": " + asked);
        const auto variable = module->variable(asked);
        ASSERT_TRUE(variable);
        EXPECT_EQ(variable->address, linked_at(program.file, linked));
        EXPECT_NE(variable->address, 0u);
        EXPECT_TRUE(variable->type.known());
        EXPECT_EQ(variable->lacking, "");
      }
      EXPECT_EQ(place_in(*module, "ns::outer", "[1].rate"), (Place{24, 8}));
      EXPECT_FALSE(module->variable("deep::outer"));
      EXPECT_FALSE(module->variable("uter"));
    }
  }
}

// Messages of an expression that needs the type of `cell`.
std::string error_of(const ModuleFile& module) {
  const ExpressionContext context = {
      [&](const std::string& name) -> Result<Variable> {
        const auto found = module.variable(name);
        if (!found) return Error{name + ": no such variable"};
        return *found;
      },
      [](uint64_t, const std::string&) -> Result<uint64_t> { return uint64_t{4096}; }};
  const auto place = evaluate_expression("cell->id", context);
  return place ? "" : place.error().message;
}

TEST_F(SymbolsTest, WhatIsLackingIsSaidWithTheFile) {
  std::ofstream(path("cell.c")) << "struct cell { int id; }; struct cell *cell;\n";
  std::ofstream(path("main.c")) << "int main(void) { return 0; }\n";
  const auto build = [](const std::string& flags, const std::string& output) {
    const std::string command = "cd " + directory_ + " && cc " + flags +
                                " -c cell.c -o cell.o && cc -g -c main.c -o main.o && cc -o " +
                                output + " cell.o main.o";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  };
  build("-g", "whole");
  EXPECT_EQ(error_of(*open("whole")), "");
  build("-g0", "half");
  EXPECT_NE(error_of(*open("half")).find(path("half") + " has debug information, but none for"),
            std::string::npos)
      << error_of(*open("half"));
  build("-g -gsplit-dwarf", "split");
  EXPECT_EQ(error_of(*open("split")), "");
  std::filesystem::remove(path("cell.dwo"));
  EXPECT_NE(error_of(*open("split")).find("cell.dwo could not be read"), std::string::npos)
      << error_of(*open("split"));
  EXPECT_EQ(std::system(("strip -g " + path("half")).c_str()), 0);
  EXPECT_NE(error_of(*open("half")).find(path("half") + " has no debug information"),
            std::string::npos)
      << error_of(*open("half"));
}

// The store of an accessor in a header of the standard library is shown where the program makes it.
TEST_F(SymbolsTest, AnInlinedAccessIsShownInTheOutermostFrameOfTheProgram) {
  const std::string source = R"(#include <atomic>
namespace app { struct Gauge { std::atomic<long> v; };
Gauge gauge;
__attribute__((always_inline)) inline void set(Gauge& g, long v) {
  g.v.store(v, std::memory_order_relaxed);
}
extern "C" __attribute__((noinline)) void fail_over() {
  set(gauge, -1);
} }
int main() { app::fail_over(); }
)";
  for (const Compiled& program : compile_everywhere(directory_, "gauge.cpp", source, "-O2")) {
    SCOPED_TRACE(program.title);
    const auto module = ModuleFile::open(program.file);
    ASSERT_NE(module, nullptr);
    const uint64_t begin = linked_at(program.file, "fail_over");
    // The instruction with the longest chain stores.
    SourcePlace store;
    for (uint64_t address = begin; address < begin + 16; ++address) {
      SourcePlace place = module->place(address);
      if (place.function == "fail_over" && place.chain.size() > store.chain.size())
        store = std::move(place);
    }
    EXPECT_EQ(store.function, "fail_over");
    EXPECT_EQ(store.file, path("gauge.cpp"));
    EXPECT_EQ(store.line, 8);
    ASSERT_EQ(store.chain.size(), 3u);
    EXPECT_EQ(store.chain[0].function, "store");
    EXPECT_TRUE(store.chain[0].file.ends_with("/atomic_base.h")) << store.chain[0].file;
    EXPECT_EQ(store.chain[1].function, "set");
    EXPECT_EQ(store.chain[1].line, 5);
    EXPECT_EQ(store.chain[2].function, "fail_over");
    EXPECT_EQ(store.chain[2].line, 8);
    const SourcePlace main = module->place(linked_at(program.file, "main"));
    EXPECT_TRUE(main.chain.empty()) << main.chain.size();
  }
}

TEST(SystemSource, IsOfCompilersAndLanguagesNotOfTheProgram) {
  for (const char* file :
       {"/usr/include/boost/container/vector.hpp", "/usr/bin/../lib/gcc/x86_64-linux-gnu/12/x.h",
        "/rustc/897e37553bba8b42751c67658967889d11ecd120/library/core/src/sync/atomic.rs",
        "library/std/src/panicking.rs",
        "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/slice/mod.rs",
        "/usr/lib/go-1.19/src/sync/atomic/type.go"})
    EXPECT_TRUE(is_system_source(file)) << file;
  for (const char* file : {"ring.c", "/src/app/ring.rs", "/usr/src/app/ring.c", "/home/go/ring.go"})
    EXPECT_FALSE(is_system_source(file)) << file;
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

std::string pointer_pair(uint64_t address, uint64_t value) {
  const shmlog::PointerPair pair{address, value};
  return std::string(reinterpret_cast<const char*>(&pair), sizeof pair);
}

TEST_F(SymbolsTest, APrivatePointerIsFollowedAsItWasSeenAndNeverGuessed) {
  const uint64_t touch = address_of("pie", "touch");
  const uint64_t page = touch & ~uint64_t{4095};
  RecordedRun run;
  fill_run(run, path("pie"), 0x555555554000 + page, page, 0x555555554000 + touch);
  const BlameQuery query{.where = "&shmem_data_array[5]", .recording = "consumer"};
  const auto unseen = ask(run, query);
  ASSERT_FALSE(unseen);
  for (const char* part : {"private pointer", "SEGMENT+OFFSET", "anon#1+0x0"})
    EXPECT_NE(unseen.error().message.find(part), std::string::npos) << unseen.error().message;

  const uint64_t variable = 0x555555554000 + address_of("pie", "shmem_data_array");
  const auto pointers = shmlog::JournalType::kPointers;
  run.log.add_journal(pointers, run.consumer, 0, {1, 1}, pointer_pair(variable, 0x7f0000000000));
  for (const char* where : {"&shmem_data_array[5]", "shmem_data_array[5]"}) {
    const auto answer = ask(run, {.where = where, .recording = "consumer"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->location.offset, 20u);
    EXPECT_EQ(answer->location.length, 4u);
    EXPECT_EQ(answer->rows.size(), 2u);
  }
  // It moved on by two elements, and later it led elsewhere.
  run.log.add_journal(pointers, run.consumer, 0, {2, 1}, pointer_pair(variable, 0x7f0000000008));
  run.log.add_journal(pointers, run.consumer, 0, {3, 0});
  const auto moved = ask(run, {.where = "&shmem_data_array[3]", .recording = "consumer"});
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(moved->location.offset, 20u);
  ASSERT_FALSE(moved->notes.empty());
  EXPECT_NE(moved->notes[0].find("later it was something else"), std::string::npos);
}

TEST_F(SymbolsTest, AForkedProcessHasThePointersOfItsParentUntilItIsLookedAt) {
  const uint64_t touch = address_of("pie", "touch");
  const uint64_t page = touch & ~uint64_t{4095};
  RecordedRun run;
  fill_run(run, path("pie"), 0x555555554000 + page, page, 0x555555554000 + touch);
  const uint64_t variable = 0x555555554000 + address_of("pie", "shmem_data_array");
  run.log.add_journal(shmlog::JournalType::kPointers, run.producer, 0, {1, 1},
                      pointer_pair(variable, 0x7f0000000000));
  const uint32_t late = run.log.add_process({.id_high = 3,
                                             .pid = 138,
                                             .name = "late",
                                             .start = shmlog::StartKind::kFork,
                                             .parent = run.producer,
                                             .executable = path("pie")});
  run.log.inherit_map(late, run.segment, 0x7f0000000000);
  run.log.read(late, run.segment, 20, 4);
  const auto answer = ask(run, {.where = "shmem_data_array[5]", .recording = "late"});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_NE(answer->notes[0].find("in the process that this one was forked from"),
            std::string::npos);
  // Forked before its parent was looked at.
  EXPECT_FALSE(ask(run, {.where = "shmem_data_array[5]", .recording = "consumer"}));
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
