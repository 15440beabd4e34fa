// launcher/core/: what is read of a process that dies, and the file that is written of it.
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "debugger/core_session.h"
#include "debugger/frame_place.h"
#include "launcher/core/core_memory.h"
#include "launcher/core/elf_core.h"
#include "launcher/core/process_memory.h"
#include "launcher/core/program_view.h"
#include "launcher/core/stopped_threads.h"
#include "launcher/process_status.h"
#include "recording/bundle/cores.h"
#include "recording/bundle/elf_id.h"

namespace shmrec::launcher {
namespace {

TEST(Mappings, LinesAreRead) {
  const std::vector<Mapping> found = parse_mappings(
      "55d0c0de0000-55d0c0de2000 r-xp 00001000 fd:01 42                         /bin/with space\n"
      "7f0000000000-7f0000001000 ---s 00000000 00:05 7 /dev/zero (deleted)\n"
      "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].begin, 0x55d0c0de0000u);
  EXPECT_EQ(found[0].end, 0x55d0c0de2000u);
  EXPECT_TRUE(found[0].readable && found[0].executable && !found[0].writable && !found[0].shared);
  EXPECT_EQ(found[0].offset, 0x1000u);
  EXPECT_EQ(found[0].name, "/bin/with space");
  EXPECT_TRUE(found[1].shared && !found[1].readable && found[1].of_file());
  EXPECT_EQ(found[1].name, "/dev/zero (deleted)");
  EXPECT_FALSE(found[2].of_file());
  EXPECT_EQ(found[2].name, "");
}

TEST(Mappings, WhatIsNoLineIsLeftOut) {
  EXPECT_TRUE(parse_mappings("").empty());
  EXPECT_TRUE(parse_mappings("\n\nnonsense\n1-").empty());
  EXPECT_TRUE(parse_mappings("2000-1000 r-xp 00000000 00:00 0\n").empty());
  EXPECT_TRUE(parse_mappings("1000-2000 r-\n").empty());
  EXPECT_TRUE(parse_mappings("1000-2000 r-xp 0 0:0").empty());
  EXPECT_EQ(parse_mappings("x\n1000-2000 r-xp 0 0:0 9 a").size(), 1u);
}

TEST(CoreName, IsThatOfARecording) {
  using recording::is_core_name;
  EXPECT_TRUE(is_core_name("cores/292b1631-c83d.core"));
  EXPECT_TRUE(is_core_name(recording::core_name("292b1631-c83d")));
  for (const char* other :
       {"cores/292b1631-c83d.core.partial", "cores/../292b1631-c83d.core", "292b1631-c83d.core",
        "cores/292B1631-c83d.core", "cores/292b1631xc83d.core", "cores/.core", "cores/", ""})
    EXPECT_FALSE(is_core_name(other)) << other;
}

// The library's file is often called otherwise: libstdc++.so.6.0.30.
TEST(Soname, IsWhatProgramsAskFor) {
  std::string library;
  for (const Mapping& mapping : parse_mappings(read_proc_file("/proc/self/maps")))
    if (mapping.name.find("/libstdc++.so") != std::string::npos) library = mapping.name;
  ASSERT_NE(library, "");
  const UniqueFd file(open(library.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(recording::soname(file.get()), "libstdc++.so.6");
  const UniqueFd program(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(recording::soname(program.get()), "");
  const UniqueFd text(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(recording::soname(text.get()), "");
}

TEST(PlaceIn, StaysInside) {
  using debugger::place_in;
  EXPECT_EQ(place_in("/root", "/usr/lib/a.so"), "/root/usr/lib/a.so");
  for (const char* other : {"", "a", "/", "/../a", "/a/../../b", "/a/./b", "/a/", "/a\nb"})
    EXPECT_EQ(place_in("/root", other), "") << other;
}

TEST(FrameQuestion, HasAFrameAndAnExpression) {
  const auto named = debugger::frame_question("ns::Ring<int>::push : &head->next ");
  ASSERT_TRUE(named);
  EXPECT_EQ(std::get<std::string>(named->frame), "ns::Ring<int>::push");
  EXPECT_EQ(named->expression, "&head->next");
  const auto numbered = debugger::frame_question("frame 4: ns::table[1] ? a : b");
  ASSERT_TRUE(numbered);
  EXPECT_EQ(std::get<unsigned>(numbered->frame), 4u);
  EXPECT_EQ(numbered->expression, "ns::table[1] ? a : b");
}

TEST(FrameQuestion, OtherFormsAreNone) {
  for (const char* other : {"", "0x1000", "1+0x10", "/ring+8", "memfd:buf+8", "sysv:0x1234+0",
                            "ns::table->x", "libfoo.so:table", "/tmp/a:b+8", ":x", "&a:b", "3:x"})
    EXPECT_FALSE(debugger::frame_question(other)) << other;
}

// A child with a second thread, both of which wait, until it is destroyed.
class Child {
 public:
  static constexpr int kPattern = 0x5AFE;
  Child() {
    shared_ = static_cast<int*>(
        mmap(nullptr, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pid_ = fork();
    if (pid_ == 0) run();
    while (__atomic_load_n(&shared_[0], __ATOMIC_ACQUIRE) < 2) usleep(100);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    munmap(shared_, 2 * 4096);
  }
  pid_t pid() const { return pid_; }
  uint64_t shared() const { return reinterpret_cast<uint64_t>(shared_); }
  int rounds() const { return __atomic_load_n(&shared_[1], __ATOMIC_ACQUIRE); }

 private:
  [[noreturn]] void run() {
    shared_[1024] = kPattern;
    // As a traced segment is: not for the program itself.
    mprotect(shared_ + 1024, 4096, PROT_NONE);
    std::thread other([this] {
      __atomic_add_fetch(&shared_[0], 1, __ATOMIC_RELEASE);
      for (;;) pause();
    });
    __atomic_add_fetch(&shared_[0], 1, __ATOMIC_RELEASE);
    for (;;) __atomic_add_fetch(&shared_[1], 1, __ATOMIC_RELEASE);
  }
  int* shared_;
  pid_t pid_;
};

const std::atomic<bool> kStay = false;
constexpr timespec kSecond{1, 0};

// `use` with the threads of `pid` stopped. On a thread of its own, as whoever stops them must end:
// one that dies when others have been let go is the tracer's to wait for.
template <typename Use>
void while_stopped(pid_t pid, std::chrono::milliseconds limit, const std::atomic<bool>& give_way,
                   Use use) {
  std::thread([&] { use(StoppedThreads::stop(pid, 0, limit, give_way)); }).join();
}
template <typename Use>
void while_stopped(pid_t pid, Use use) {
  while_stopped(pid, std::chrono::seconds(5), kStay, [&](const Result<StoppedThreads>& threads) {
    ASSERT_TRUE(threads) << threads.error().message;
    use(*threads);
  });
}

TEST(StoppedThreads, StopAndRunOn) {
  const Child child;
  while_stopped(child.pid(), [&](const StoppedThreads& threads) {
    EXPECT_EQ(threads.threads().size(), 2u);
    EXPECT_EQ(threads.missing(), 0u);
    for (const StoppedThread& thread : threads.threads()) {
      EXPECT_NE(thread.registers.rip, 0u);
      EXPECT_GE(thread.vector_state.size(), 512u);
    }
    const int before = child.rounds();
    usleep(20'000);
    EXPECT_EQ(child.rounds(), before);
  });
  const int before = child.rounds();
  for (int i = 0; i < 2000 && child.rounds() == before; ++i) usleep(1000);
  EXPECT_NE(child.rounds(), before);
}

// A main thread that has ended is no obstacle.
TEST(StoppedThreads, WithoutTheirFirst) {
  int* const begun = static_cast<int*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t pid = fork();
  if (pid == 0) {
    std::thread([begun] {
      usleep(50'000);
      __atomic_store_n(begun, 1, __ATOMIC_RELEASE);
      for (;;) pause();
    }).detach();
    syscall(SYS_exit, 0);
  }
  while (!__atomic_load_n(begun, __ATOMIC_ACQUIRE)) usleep(100);
  while_stopped(pid, [](const StoppedThreads& threads) {
    EXPECT_EQ(threads.threads().size(), 1u);
    EXPECT_EQ(threads.missing(), 0u);
  });
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  munmap(begun, 4096);
}

// What is about to be delivered when they are stopped is delivered afterwards.
TEST(StoppedThreads, KeepSignals) {
  const Child child;
  while_stopped(child.pid(), [&](const StoppedThreads&) { kill(child.pid(), SIGTERM); });
  int status = 0;
  for (int i = 0; i < 10000 && waitpid(child.pid(), &status, WNOHANG) == 0; ++i) usleep(1000);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
}

// A call that a stop would end waits on; one whose handler runs ends, as it does alone.
TEST(StoppedThreads, CallsWaitOn) {
  int* const returned = static_cast<int*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t pid = fork();
  if (pid == 0) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR1, &action, nullptr);
    epoll_event event;
    epoll_wait(epoll_create1(0), &event, 1, -1);
    __atomic_store_n(returned, errno, __ATOMIC_RELEASE);
    for (;;) pause();
  }
  const auto result = [returned] { return __atomic_load_n(returned, __ATOMIC_ACQUIRE); };
  usleep(50'000);
  for (int i = 0; i < 3; ++i) while_stopped(pid, [](const StoppedThreads&) {});
  usleep(50'000);
  EXPECT_EQ(result(), 0);
  while_stopped(pid, [pid](const StoppedThreads&) { kill(pid, SIGUSR1); });
  for (int i = 0; i < 2000 && result() == 0; ++i) usleep(1000);
  EXPECT_EQ(result(), EINTR);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  munmap(returned, 4096);
}

// What cannot be stopped runs on when the thread that wanted to stop it has ended.
TEST(StoppedThreads, LetsGoWhatDoesNotStop) {
  int* const rounds = static_cast<int*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t pid = fork();
  if (pid == 0) {
    const pid_t child = vfork();  // the parent waits where no stop reaches it
    if (child == 0) {
      syscall(SYS_nanosleep, &kSecond, nullptr);
      _exit(0);
    }
    for (;;) __atomic_add_fetch(rounds, 1, __ATOMIC_RELEASE);
  }
  usleep(50'000);
  while_stopped(pid, std::chrono::milliseconds(50), kStay, [](const auto& threads) {
    ASSERT_TRUE(threads) << threads.error().message;
    EXPECT_EQ(threads->missing(), 1u);
  });
  usleep(1'500'000);
  const int before = __atomic_load_n(rounds, __ATOMIC_ACQUIRE);
  EXPECT_GT(before, 0);
  usleep(20'000);
  EXPECT_GT(__atomic_load_n(rounds, __ATOMIC_ACQUIRE), before);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  munmap(rounds, 4096);
}

TEST(StoppedThreads, GiveWay) {
  const Child child;
  const std::atomic<bool> give_way = true;
  while_stopped(child.pid(), std::chrono::seconds(5), give_way,
                [](const auto& threads) { EXPECT_FALSE(threads); });
}

TEST(StoppedThreads, NobodyIsNoThreads) {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  while_stopped(gone,
                [](const StoppedThreads& threads) { EXPECT_TRUE(threads.threads().empty()); });
}

TEST(ProcessMemory, ReadsWhatTheProgramMayNot) {
  const Child child;
  const auto memory = ProcessMemory::open(child.pid());
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(memory->word(child.shared() + 4096).value_or(0), uint64_t{Child::kPattern});
  EXPECT_FALSE(memory->word(8));
  const Mapping* mapping = memory->mapping_at(child.shared() + 5000);
  ASSERT_NE(mapping, nullptr);
  EXPECT_TRUE(mapping->shared && !mapping->readable);
  EXPECT_EQ(memory->mapping_at(8), nullptr);
}

struct Loaded {
  Elf64_Phdr header;
  bool holds(uint64_t address) const {
    return header.p_type == PT_LOAD && address >= header.p_vaddr &&
           address - header.p_vaddr < header.p_memsz;
  }
};

class CoreFile : public testing::Test {
 protected:
  void write(const CoreChoice& choice, Range hidden = {}) {
    const auto threads = StoppedThreads::stop(child_.pid(), 0, std::chrono::seconds(5), kStay);
    ASSERT_TRUE(threads) << threads.error().message;
    const auto memory = ProcessMemory::open(child_.pid());
    ASSERT_TRUE(memory) << memory.error().message;
    CoreProcess process;
    process.pid = child_.pid();
    std::vector<user_regs_struct> registers;
    for (const StoppedThread& thread : threads->threads()) {
      process.threads.push_back({thread.tid, thread.registers, thread.vector_state, 0});
      registers.push_back(thread.registers);
      EXPECT_EQ(find_program(*memory, registers.back()).found, ProgramView::Found::kUnchanged);
    }
    stack_ = registers[0].rsp;
    chosen_ = choose_core_memory(*memory, hidden, registers, choice, {});
    fd_.reset(memfd_create("core", MFD_CLOEXEC));
    const auto written = write_elf_core(fd_.get(), process, *memory, hidden, chosen_.ranges);
    ASSERT_TRUE(written) << written.error().message;
    read_headers();
  }

  void read_headers() {
    Elf64_Ehdr header;
    ASSERT_EQ(pread(fd_.get(), &header, sizeof header, 0), ssize_t{sizeof header});
    ASSERT_EQ(memcmp(header.e_ident, ELFMAG, SELFMAG), 0);
    ASSERT_EQ(header.e_type, ET_CORE);
    segments_.resize(header.e_phnum);
    for (size_t i = 0; i < segments_.size(); ++i)
      ASSERT_EQ(pread(fd_.get(), &segments_[i].header, sizeof(Elf64_Phdr),
                      static_cast<off_t>(header.e_phoff + i * sizeof(Elf64_Phdr))),
                ssize_t{sizeof(Elf64_Phdr)});
  }

  const Elf64_Phdr* segment_of(uint64_t address) const {
    for (const Loaded& segment : segments_)
      if (segment.holds(address)) return &segment.header;
    return nullptr;
  }

  int int_at(uint64_t address) const {
    const Elf64_Phdr* segment = segment_of(address);
    int value = 0;
    if (!segment || address - segment->p_vaddr >= segment->p_filesz) return 0;
    EXPECT_EQ(pread(fd_.get(), &value, sizeof value,
                    static_cast<off_t>(segment->p_offset + address - segment->p_vaddr)),
              ssize_t{sizeof value});
    return value;
  }

  Child child_;
  UniqueFd fd_;
  std::vector<Loaded> segments_;
  CoreMemory chosen_;
  uint64_t stack_ = 0;
};

TEST_F(CoreFile, HasStacksAndSegments) {
  write({});
  EXPECT_EQ(chosen_.left_out_bytes, 0u);
  EXPECT_EQ(int_at(child_.shared() + 4096), Child::kPattern);
  const Elf64_Phdr* stack = segment_of(stack_);
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->p_filesz, stack->p_memsz);
  // Ranges rise and lie apart.
  for (size_t i = 1; i < chosen_.ranges.size(); ++i)
    EXPECT_LT(chosen_.ranges[i - 1].end, chosen_.ranges[i].begin);
}

TEST_F(CoreFile, HasNothingOfWhatIsHidden) {
  write({}, {child_.shared(), child_.shared() + 8192});
  EXPECT_EQ(segment_of(child_.shared() + 4096), nullptr);
  EXPECT_NE(segment_of(stack_), nullptr);
}

TEST_F(CoreFile, EndsAtItsLimit) {
  CoreChoice choice;
  choice.limit_bytes = 64 << 10;
  choice.memory = CoreMemoryChoice::kAll;
  write(choice);
  uint64_t bytes = 0;
  for (const Loaded& segment : segments_)
    if (segment.header.p_type == PT_LOAD) bytes += segment.header.p_filesz;
  EXPECT_LE(bytes, choice.limit_bytes);
  EXPECT_GT(chosen_.left_out_bytes, 0u);
}

TEST_F(CoreFile, OfAllIsMore) {
  write({});
  const size_t stacks = chosen_.ranges.size();
  CoreChoice all;
  all.memory = CoreMemoryChoice::kAll;
  all.limit_bytes = uint64_t{1} << 30;  // this program is large itself
  write(all);
  uint64_t mapped = 0, taken = 0;
  for (const Loaded& segment : segments_)
    if (segment.header.p_type == PT_LOAD)
      mapped += segment.header.p_memsz, taken += segment.header.p_filesz;
  EXPECT_GT(taken, 0u);
  EXPECT_GT(stacks, 0u);
  // But for [vvar] and its like, everything.
  EXPECT_GT(taken + (256 << 10), mapped);
}

}  // namespace
}  // namespace shmrec::launcher
