// The launcher's parts that need no second process: the filter's program run through an
// interpreter, reading of foreign memory, checks of the agent's image, the report.
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/agent_abi.h"
#include "launcher/exec_info.h"
#include "launcher/filter.h"
#include "launcher/inject.h"
#include "launcher/log_size.h"
#include "launcher/oom.h"
#include "launcher/report.h"
#include "launcher/termination_note.h"
#include "launcher/zone.h"

namespace shmrec::launcher {
namespace {

// ---- Filter -------------------------------------------------------------------------------------

constexpr uint32_t kStuck = 0xDEAD;  // the interpreter met what seccomp's verifier refuses

bool jump_taken(uint16_t operation, uint32_t a, uint32_t k) {
  switch (operation) {
    case BPF_JEQ:
      return a == k;
    case BPF_JGT:
      return a > k;
    case BPF_JGE:
      return a >= k;
    case BPF_JSET:
      return (a & k) != 0;
  }
  return false;
}

// The subset of classic BPF that libseccomp emits.
uint32_t interpret(const FilterProgram& program, const seccomp_data& data) {
  uint32_t a = 0;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& instruction = program[pc];
    const uint16_t operation = BPF_OP(instruction.code);
    switch (BPF_CLASS(instruction.code)) {
      case BPF_LD:
        if (instruction.k + 4 > sizeof data) return kStuck;
        memcpy(&a, reinterpret_cast<const char*>(&data) + instruction.k, 4);
        break;
      case BPF_ALU:
        if (operation != BPF_AND) return kStuck;
        a &= instruction.k;
        break;
      case BPF_JMP:
        if (operation == BPF_JA)
          pc += instruction.k;
        else
          pc += jump_taken(operation, a, instruction.k) ? instruction.jt : instruction.jf;
        break;
      case BPF_RET:
        return instruction.k;
      default:
        return kStuck;
    }
  }
  return kStuck;
}

class Filter : public ::testing::Test {
 protected:
  void SetUp() override {
    auto built = build_filter();
    ASSERT_TRUE(built.ok()) << built.error().message;
    program_ = *built;
  }
  uint32_t ask(int syscall, std::vector<uint64_t> arguments = {},
               uint32_t arch = AUDIT_ARCH_X86_64) {
    seccomp_data data{};
    data.nr = syscall;
    data.arch = arch;
    data.instruction_pointer = 0x7fff12345678;
    for (size_t i = 0; i < arguments.size(); ++i) data.args[i] = arguments[i];
    return interpret(program_, data);
  }
  FilterProgram program_;
};

constexpr uint64_t kMinusOne = ~uint64_t{0};

TEST_F(Filter, AsksAboutEveryExecButTheAgentsWayOut) {
  const uint64_t out = agent::kExecUnrecorded;
  // Each differs from the way out in one half, which a comparison of 32-bit halves may miss.
  const uint64_t ordinary[] = {0,
                               1,
                               kMinusOne,
                               out & 0xFFFFFFFF,
                               out & ~uint64_t{0xFFFFFFFF},
                               out ^ 1,
                               out ^ (uint64_t{1} << 63),
                               out ^ (uint64_t{1} << 32)};
  for (int number : {SYS_execve, SYS_execveat}) {
    for (uint64_t sixth : ordinary)
      EXPECT_EQ(ask(number, {1, 2, 3, 4, 5, sixth}), SECCOMP_RET_USER_NOTIF)
          << number << " " << sixth;
    EXPECT_EQ(ask(number, {1, 2, 3, 4, 5, out}), SECCOMP_RET_ALLOW);
    EXPECT_EQ(ask(number, {out, out, out, out, out, 0}), SECCOMP_RET_USER_NOTIF);
  }
}

TEST_F(Filter, AsksAboutHelloAndNoOtherFcntl) {
  const uint64_t command = agent::kCallCommand, hello = agent::kCallHello;
  EXPECT_EQ(ask(SYS_fcntl, {kMinusOne, command, hello}), SECCOMP_RET_USER_NOTIF);
  EXPECT_EQ(ask(SYS_fcntl, {0xFFFFFFFF, command, hello}), SECCOMP_RET_USER_NOTIF);
  EXPECT_EQ(ask(SYS_fcntl, {3, command, hello}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_fcntl, {kMinusOne, F_GETFD, hello}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_fcntl, {kMinusOne, command, 0}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_fcntl, {kMinusOne, command, hello | uint64_t{1} << 32}), SECCOMP_RET_ALLOW);
  for (uint64_t other : {agent::kCallIsRecording, agent::kCallMark, agent::kCallStop})
    EXPECT_EQ(ask(SYS_fcntl, {kMinusOne, command, other}), SECCOMP_RET_ALLOW) << other;
}

TEST_F(Filter, RefusesIoUringAndUserfaultfdWithoutLookingAtArguments) {
  for (std::vector<uint64_t> arguments :
       {std::vector<uint64_t>(6, 0), std::vector<uint64_t>(6, kMinusOne)}) {
    EXPECT_EQ(ask(SYS_io_uring_setup, arguments), SECCOMP_RET_USER_NOTIF);
    EXPECT_EQ(ask(SYS_userfaultfd, arguments), SECCOMP_RET_USER_NOTIF);
    EXPECT_EQ(ask(SYS_io_uring_enter, arguments), SECCOMP_RET_ERRNO | ENOSYS);
    EXPECT_EQ(ask(SYS_io_uring_register, arguments), SECCOMP_RET_ERRNO | ENOSYS);
  }
}

TEST_F(Filter, AllowsEveryOtherSyscall) {
  const int special[] = {SYS_execve,         SYS_execveat,       SYS_fcntl,
                         SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
                         SYS_userfaultfd};
  for (int number = 0; number < 1000; ++number) {
    if (std::find(std::begin(special), std::end(special), number) != std::end(special)) continue;
    EXPECT_EQ(ask(number, std::vector<uint64_t>(6, agent::kExecUnrecorded)), SECCOMP_RET_ALLOW)
        << number;
  }
  EXPECT_EQ(ask(-1), SECCOMP_RET_ALLOW);
}

TEST_F(Filter, AllowsEverythingOfForeignArchitectures) {
  for (int number : {SYS_execve, 11 /* execve of i386 */, SYS_fcntl, 425})
    EXPECT_EQ(ask(number, {kMinusOne, agent::kCallCommand, agent::kCallHello}, AUDIT_ARCH_I386),
              SECCOMP_RET_ALLOW);
  constexpr int kX32 = 0x40000000;
  EXPECT_EQ(ask(kX32 | 520 /* execve of x32 */), SECCOMP_RET_ALLOW);
}

// ---- First stack of a program -------------------------------------------------------------------

// A stack as the kernel makes it, at address kStack.
class Stack {
 public:
  static constexpr uint64_t kStack = 0x7ffc00001000;
  Stack& word(uint64_t value) {
    words_.push_back(value);
    return *this;
  }
  Stack& string(const std::string& text) {  // a pointer to it
    fixes_.push_back({words_.size(), strings_.size()});
    strings_ += text + '\0';
    return word(0);
  }
  Stack& same_string() {  // one more pointer to the last one
    fixes_.push_back({words_.size(), fixes_.back().second});
    return word(0);
  }
  std::vector<unsigned char> bytes() {
    for (auto [word, offset] : fixes_) words_[word] = kStack + words_.size() * 8 + offset;
    std::vector<unsigned char> all(words_.size() * 8 + strings_.size());
    memcpy(all.data(), words_.data(), words_.size() * 8);
    memcpy(all.data() + words_.size() * 8, strings_.data(), strings_.size());
    return all;
  }

 private:
  std::vector<uint64_t> words_;
  std::string strings_;
  std::vector<std::pair<size_t, size_t>> fixes_;
};

std::vector<unsigned char> ordinary_stack() {
  return Stack()
      .word(2)
      .string("cat")
      .string("-n")
      .word(0)
      .string("HOME=/root")
      .word(0)
      .word(AT_PAGESZ)
      .word(4096)
      .word(AT_EXECFN)
      .string("/bin/cat")
      .word(AT_NULL)
      .word(0)
      .bytes();
}

TEST(InitialStack, YieldsPathArgumentsAndEnvironment) {
  const ExecInfo info = parse_initial_stack(ordinary_stack(), Stack::kStack);
  EXPECT_EQ(info.executable, "/bin/cat");
  EXPECT_EQ(info.arguments, (std::vector<std::string>{"cat", "-n"}));
  EXPECT_EQ(info.environment, std::vector<std::string>{"HOME=/root"});
  EXPECT_TRUE(info.complete);
}

TEST(InitialStack, CutAtAnyByteIsSaidToBeIncompleteOrWhole) {
  const auto whole = ordinary_stack();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const ExecInfo info = parse_initial_stack({whole.data(), bytes}, Stack::kStack);
    EXPECT_FALSE(info.complete) << bytes;
    EXPECT_LE(info.arguments.size(), 2u);
  }
}

TEST(InitialStack, PointersOutsideAreSkipped) {
  const auto stack =
      Stack().word(2).word(8).word(kMinusOne).word(0).string("A=1").word(0).word(0).word(0).bytes();
  const ExecInfo info = parse_initial_stack(stack, Stack::kStack);
  EXPECT_TRUE(info.arguments.empty());
  EXPECT_EQ(info.environment, std::vector<std::string>{"A=1"});
  EXPECT_FALSE(info.complete);
}

// Each string has its own bytes there, unless the program has changed its pointers.
TEST(InitialStack, StringsThatPointersShareTakeNoMoreRoomThanTheStack) {
  Stack stack;
  stack.word(1000).string(std::string(1000, 'x'));
  for (int i = 1; i < 1000; ++i) stack.same_string();
  const auto bytes = stack.word(0).word(0).word(0).bytes();
  const ExecInfo info = parse_initial_stack(bytes, Stack::kStack);
  EXPECT_LE(info.arguments.size() * 1000, bytes.size());
  EXPECT_FALSE(info.complete);
}

// ---- Image --------------------------------------------------------------------------------------

agent::ImageHeader good_header() {
  agent::ImageHeader header{};
  memcpy(header.magic, agent::kImageMagic, sizeof header.magic);
  header.abi_version = agent::kAbiVersion;
  header.segment_count = 1;
  header.span_bytes = 8192;
  header.entry = 0;
  header.boot_info = 4096;
  header.relocation_offset = sizeof header;
  header.relocation_count = 1;
  header.segments[0] = {0, sizeof header, 16, 4096};
  return header;
}

bool opens(const agent::ImageHeader& header) {
  static unsigned char bytes[sizeof header + 16];
  memcpy(bytes, &header, sizeof header);
  return AgentImage::open(bytes).ok();
}

TEST(AgentImage, OpensOnlyWhatLiesInside) {
  EXPECT_TRUE(opens(good_header()));
  auto broken = [](auto change) {
    agent::ImageHeader header = good_header();
    change(header);
    return !opens(header);
  };
  EXPECT_TRUE(broken([](auto& h) { h.magic[0] = 'x'; }));
  EXPECT_TRUE(broken([](auto& h) { ++h.abi_version; }));
  EXPECT_TRUE(broken([](auto& h) { h.segment_count = 9; }));
  EXPECT_TRUE(broken([](auto& h) { h.entry = 8192; }));
  EXPECT_TRUE(broken([](auto& h) { h.relocation_offset += 16; }));
  EXPECT_TRUE(broken([](auto& h) { h.relocation_offset = kMinusOne; }));
  EXPECT_TRUE(broken([](auto& h) { h.relocation_count = 5; }));
  EXPECT_TRUE(broken([](auto& h) { h.span_bytes = 0; }));
  EXPECT_TRUE(broken([](auto& h) { h.span_bytes = kMinusOne; }));
  EXPECT_TRUE(broken([](auto& h) { h.segments[0].file_bytes = 17; }));
  EXPECT_TRUE(broken([](auto& h) { h.segments[0].file_offset = kMinusOne; }));
  EXPECT_TRUE(broken([](auto& h) { h.segments[0].memory_bytes = 8193; }));
  EXPECT_TRUE(broken([](auto& h) { h.segments[0].address = 8192; }));
  EXPECT_TRUE(broken([](auto& h) { h.segments[0].memory_bytes = 8; }));
  EXPECT_FALSE(AgentImage::open({}).ok());
}

// The words that move get the base, whichever segment they are in; the others stay.
TEST(AgentImage, MovesTheWordsThatItsListNames) {
  struct {
    agent::ImageHeader header;
    uint64_t first[2], second[2];
    uint32_t list[2];
  } file{good_header(), {1, 2}, {3, 4}, {8, 4096}};
  file.header.segment_count = 2;
  file.header.relocation_offset = offsetof(decltype(file), list);
  file.header.relocation_count = 2;
  file.header.segments[0] = {0, offsetof(decltype(file), first), 16, 4096};
  file.header.segments[1] = {4096, offsetof(decltype(file), second), 16, 4096};
  auto image = AgentImage::open({reinterpret_cast<const unsigned char*>(&file), sizeof file});
  ASSERT_TRUE(image.ok());
  auto words = [&](size_t zone, uint32_t segment) {
    std::array<uint64_t, 2> out;
    const auto bytes = image->segment(zone, segment);
    EXPECT_EQ(bytes.size(), sizeof out);
    memcpy(out.data(), bytes.data(), sizeof out);
    return out;
  };
  EXPECT_EQ(words(0, 0), (std::array<uint64_t, 2>{1, agent::kBases[0] + 2}));
  EXPECT_EQ(words(0, 1), (std::array<uint64_t, 2>{agent::kBases[0] + 3, 4}));
  EXPECT_EQ(words(1, 1), (std::array<uint64_t, 2>{agent::kBases[1] + 3, 4}));
}

// ---- Zone ---------------------------------------------------------------------------------------

constexpr char kOrdinaryMaps[] =
    "55d1c41c2000-55d1c41c3000 r--p 00000000 fe:00 123    /bin/true\n"
    "7fd7d620a000-7fd7d623f000 r--p 00000000 fe:00 332383 /usr/lib/ld-linux-x86-64.so.2\n"
    "7fff38aa4000-7fff38ac5000 rw-p 00000000 00:00 0      [stack]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";

std::string maps_line(uint64_t begin, uint64_t end, const char* path) {
  char line[120];
  snprintf(line, sizeof line, "%lx-%lx rw-p 00000000 00:00 0 %s\n", begin, end, path);
  return line;
}

TEST(Zone, TheFirstCandidateSuitsAnOrdinaryProgram) {
  EXPECT_EQ(choose_zone(kOrdinaryMaps, 0), 0u);
}

// Else one program of fifty goes where the memory sanitizer has its shadow.
TEST(Zone, TheLowestPlaceOfTheLoaderIsNotNearTheFirstCandidate) {
  const uint64_t lowest = (uint64_t{1} << 47) - (uint64_t{1} << 40) - (uint64_t{17} << 30);
  EXPECT_EQ(choose_zone(kOrdinaryMaps + maps_line(lowest, lowest + 4096, "/lib/ld.so"), 0), 0u);
}

TEST(Zone, AMappingInOrNearAZoneMovesOnToTheNext) {
  const uint64_t base = agent::kBases[0], end = base + agent::kZoneBytes;
  for (uint64_t at : {base - 4096, base, base + agent::kZoneBytes / 2, end, end + (1 << 30)})
    EXPECT_EQ(choose_zone(kOrdinaryMaps + maps_line(at, at + 4096, "/lib/ld.so"), 0), 1u) << at;
  EXPECT_EQ(choose_zone(kOrdinaryMaps + maps_line(4096, uint64_t{1} << 47, ""), 0),
            std::size(agent::kBases));
}

TEST(Zone, AStackThatReachesIntoTheRoomIsNoObstacle) {
  const uint64_t end = agent::kBases[0] + agent::kZoneBytes;
  EXPECT_EQ(choose_zone(maps_line(end + 4096, end + 8192, "[stack]"), 0), 0u);
}

TEST(Zone, ZonesThatWereTriedAreNotTriedAgain) {
  EXPECT_EQ(choose_zone(kOrdinaryMaps, 1), 1u);
  EXPECT_EQ(choose_zone(kOrdinaryMaps, std::size(agent::kBases)), std::size(agent::kBases));
}

TEST(Zone, TextThatIsNoListIsNoObstacle) {
  for (const char* text : {"", "\n\n", "-", "zz-", "10-", "-10 rw-p", "7e80"})
    EXPECT_EQ(choose_zone(text, 0), 0u) << text;
}

TEST(Zone, CandidatesDoNotOverlapAndLieInTheLowHalf) {
  for (uint64_t base : agent::kBases) {
    EXPECT_EQ(base % (uint64_t{1} << 30), 0u);
    EXPECT_LT(base + agent::kZoneBytes, uint64_t{1} << 47);
    for (uint64_t other : agent::kBases)
      EXPECT_TRUE(base == other || base + agent::kZoneBytes <= other ||
                  other + agent::kZoneBytes <= base);
  }
}

// ---- Report -------------------------------------------------------------------------------------

TEST(Report, SaysWhatWasLostAndWhereTheBundleIs) {
  Summary summary;
  summary.recordings = 1;
  summary.accesses = 1234567;
  summary.losses[static_cast<size_t>(shmlog::Loss::kRecordsOverwritten)] = 1000;
  summary.unrecorded = {{"wine (pid 7)", "it uses gs"}};
  const std::string text = report_text(summary, {{"io_uring by x (pid 1)", "why"}}, "a.zst");
  EXPECT_NE(text.find("1 recording, 1,234,567 accesses to 0 shared segments"), text.npos) << text;
  EXPECT_NE(text.find("lost: 1,000 records discarded with the oldest chunks: the log was full"),
            text.npos)
      << text;
  EXPECT_NE(text.find("not recorded: wine (pid 7): it uses gs"), text.npos) << text;
  EXPECT_NE(text.find("not recorded: io_uring by x (pid 1): why"), text.npos) << text;
  EXPECT_NE(text.find("shmrec ls a.zst"), text.npos) << text;
}

TEST(Report, CutsALongListOfGaps) {
  const std::vector<Gap> gaps(8, Gap{"x", "y"});
  EXPECT_NE(report_text({}, gaps, "").find("not recorded: 3 more"), std::string::npos);
}

// ---- OomCounter ---------------------------------------------------------------------------------

class Oom : public testing::Test {
 protected:
  Oom() {
    char name[] = "/tmp/launcher_test.XXXXXX";
    root_ = mkdtemp(name);
  }
  ~Oom() override { std::filesystem::remove_all(root_); }

  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = root_ + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  OomCounter counter() { return OomCounter(root_ + "/membership", root_); }

  std::string root_;
};

constexpr const char* kV1 = "5:devices:/a\n4:cpu,memory:/a\n0::/\n";

TEST_F(Oom, CountsWhatRoseSinceTheStart) {
  write("/membership", "0::/pod/app\n");
  write("/pod/app/memory.events", "low 0\nhigh 1\nmax 2\noom 5\noom_kill 3\noom_group_kill 0\n");
  OomCounter events = counter();
  EXPECT_EQ(events.path(), root_ + "/pod/app/memory.events");
  EXPECT_EQ(events.rise(), 0u);
  write("/pod/app/memory.events", "oom 9\noom_kill 5\n");
  EXPECT_EQ(events.rise(), 2u);
  EXPECT_EQ(events.rise(), 0u);
}

TEST_F(Oom, IsFoundInBothVersionsAndWhereTheGroupIsMountedAtTheRoot) {
  write("/membership", kV1);
  write("/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
  EXPECT_EQ(counter().path(), root_ + "/memory/memory.oom_control");
  write("/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
  EXPECT_EQ(counter().path(), root_ + "/memory/a/memory.oom_control");
  write("/membership", "0::/host/path\n");
  write("/memory.events", "oom_kill 1\n");
  EXPECT_EQ(counter().path(), root_ + "/memory.events");
}

TEST_F(Oom, WithoutACounterNothingRises) {
  EXPECT_EQ(counter().path(), "");  // no membership
  write("/membership", kV1);
  write("/memory/a/memory.oom_control", "under_oom 0\n");  // before Linux 4.13
  OomCounter none = counter();
  EXPECT_EQ(none.path(), "");
  EXPECT_EQ(none.rise(), 0u);
}

TEST_F(Oom, ACounterThatIsGoneOrSmallerIsNoRise) {
  write("/membership", "0::/\n");
  write("/memory.events", "oom_kill 4\n");
  OomCounter events = counter();
  write("/memory.events", "oom_kill 1\n");
  EXPECT_EQ(events.rise(), 0u);
  std::filesystem::remove(root_ + "/memory.events");
  EXPECT_EQ(events.rise(), 0u);
}

// ---- The termination message

class Note : public Oom {
 protected:
  std::string noted(const std::string& text) {
    write_termination_note(text, root_ + "/log");
    std::ifstream file(root_ + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(Note, IsWrittenOnlyWhereTheFileIsThereAndEmpty) {
  EXPECT_EQ(noted("a"), "");
  EXPECT_FALSE(std::filesystem::exists(root_ + "/log"));
  write("/log", "");
  EXPECT_EQ(noted(""), "");
  EXPECT_EQ(noted("a\033[2J"), "shmrec: a\\x1b[2J\n");
  EXPECT_EQ(noted("b"), "shmrec: a\\x1b[2J\n");
  write("/log", "the program's");
  EXPECT_EQ(noted("a"), "the program's");
  write("/log", "");
  EXPECT_EQ(noted(std::string(10000, 'x')).size(), 4096u);
}

TEST_F(Note, IsNotWrittenThroughALink) {
  write("/other", "");
  symlink((root_ + "/other").c_str(), (root_ + "/log").c_str());
  EXPECT_EQ(noted("a"), "");
}

// ---- The log's size -----------------------------------------------------------------------------

constexpr uint64_t kMiB = uint64_t{1} << 20;

class Room : public Oom {
 protected:
  MemoryRoom room() { return memory_room(root_ + "/membership", root_, root_ + "/meminfo"); }
  void group(const std::string& path, const std::string& limit, uint64_t used,
             uint64_t reclaimable = 0) {
    write(path + "/memory.max", limit + "\n");
    write(path + "/memory.current", std::to_string(used) + "\n");
    write(path + "/memory.stat",
          "anon 1\ninactive_file " + std::to_string(reclaimable) + "\nslab 2\n");
  }
};

TEST_F(Room, IsWhatTheTightestLimitOnTheWayUpLeaves) {
  write("/membership", "0::/pod/app\n");
  group("/pod/app", std::to_string(300 * kMiB), 100 * kMiB, 20 * kMiB);
  EXPECT_EQ(room().free_bytes, 220 * kMiB);
  EXPECT_EQ(room().of, root_ + "/pod/app/memory.max");
  group("/pod", std::to_string(256 * kMiB), 200 * kMiB);
  EXPECT_EQ(room().free_bytes, 56 * kMiB);
  EXPECT_EQ(room().of, root_ + "/pod/memory.max");
  group("/pod", "max", 200 * kMiB);
  EXPECT_EQ(room().free_bytes, 220 * kMiB);
  group("/pod/app", std::to_string(64 * kMiB), 65 * kMiB);
  EXPECT_EQ(room().free_bytes, 0u);
}

TEST_F(Room, IsFoundWhereTheGroupIsMountedAtTheRootAndInVersionOne) {
  write("/membership", "0::/host/path\n");
  group("", std::to_string(64 * kMiB), 10 * kMiB);
  EXPECT_EQ(room().free_bytes, 54 * kMiB);
  write("/membership", kV1);
  write("/memory.max", "max\n");
  write("/memory/memory.limit_in_bytes", std::to_string(128 * kMiB));
  write("/memory/memory.usage_in_bytes", std::to_string(48 * kMiB));
  write("/memory/memory.stat", "inactive_file 1\ntotal_inactive_file " + std::to_string(kMiB));
  EXPECT_EQ(room().free_bytes, 81 * kMiB);
  write("/memory/a/memory.limit_in_bytes", "9223372036854771712");  // none
  write("/memory/a/memory.usage_in_bytes", "4096");
  EXPECT_EQ(room().free_bytes, 81 * kMiB);
}

TEST_F(Room, IsTheMachinesWhereNoGroupHasALimit) {
  EXPECT_EQ(room().free_bytes, UINT64_MAX);
  write("/membership", "0::/a\n");
  group("/a", "max", 5);
  write("/meminfo", "MemTotal: 9 kB\nMemAvailable:   2048 kB\n");
  EXPECT_EQ(room().free_bytes, 2 * kMiB);
  EXPECT_EQ(room().of, root_ + "/meminfo");
  write("/meminfo", "junk");
  EXPECT_EQ(room().free_bytes, UINT64_MAX);
}

TEST(LogSize, InMemoryIsAnEighthOfWhatIsFreeOrTheSmallestOfAQuarter) {
  const DiskRoom memory{true, 1024 * kMiB};
  EXPECT_EQ(choose_log_size(256 * kMiB, memory, {2048 * kMiB, "f"}).bytes, 256 * kMiB);
  EXPECT_EQ(choose_log_size(256 * kMiB, memory, {2048 * kMiB, "f"}).why, "");
  const LogSize cut = choose_log_size(256 * kMiB, memory, {250 * kMiB + 5, "f"});
  EXPECT_EQ(cut.bytes, 31 * kMiB);
  EXPECT_EQ(cut.kept_bytes, 250 * kMiB / 16);
  EXPECT_NE(cut.why.find("250 MiB are free (f)"), std::string::npos) << cut.why;
  EXPECT_EQ(choose_log_size(256 * kMiB, memory, {63 * kMiB, "f"}).bytes, 8 * kMiB);
  EXPECT_EQ(choose_log_size(256 * kMiB, memory, {32 * kMiB, "f"}).bytes, 8 * kMiB);
  EXPECT_EQ(choose_log_size(256 * kMiB, memory, {32 * kMiB - 1, "f"}).bytes, 0u);
  EXPECT_EQ(choose_log_size(16 * kMiB, memory, {1024 * kMiB, "f"}).bytes, 16 * kMiB);
}

TEST(LogSize, OnADiskMemoryIsNoLimitAndHalfOfTheSpaceIs) {
  const DiskRoom disk{false, 100 * kMiB};
  EXPECT_EQ(choose_log_size(50 * kMiB, disk, {kMiB, "f"}).bytes, 50 * kMiB);
  EXPECT_EQ(choose_log_size(50 * kMiB, disk, {kMiB, "f"}).kept_bytes, UINT64_MAX);
  EXPECT_EQ(choose_log_size(51 * kMiB, disk, {kMiB, "f"}).bytes, 50 * kMiB);
  EXPECT_EQ(choose_log_size(8 * kMiB, {false, 15 * kMiB}, {}).bytes, 0u);
  EXPECT_EQ(choose_log_size(256 * kMiB, {true, 64 * kMiB}, {}).bytes, 32 * kMiB);
}

TEST(LogSize, SaysWhatWasChosenAndWhy) {
  EXPECT_EQ(describe({9 * kMiB, 0, ""}, 9 * kMiB), "the log has 9MiB");
  EXPECT_EQ(describe({9 * kMiB, 0, "of that"}, 256 * kMiB),
            "the log has 9MiB of the 256MiB that the policy allows: of that");
  EXPECT_EQ(describe({0, 0, "of that"}, 256 * kMiB),
            "no room for a log of 8MiB, the smallest that is of use: of that");
}

}  // namespace
}  // namespace shmrec::launcher
