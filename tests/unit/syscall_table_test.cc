// The syscall table against the kernel's headers and against docs/syscalls.md.
// SHMREC_WRITE_DOCS=1 syscall_table_test writes the tables of the document anew.
#include "syscalls/syscall_table.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <asm/unistd.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/if.h>
#include <linux/stat.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "syscalls/replay_rule.h"

namespace shmrec::syscalls {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What <asm/unistd_64.h> defines: number to name.
std::map<uint32_t, std::string> kernel_header() {
  for (const char* path :
       {"/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"}) {
    std::istringstream lines(read_file(path));
    std::map<uint32_t, std::string> numbers;
    const std::regex define("#define __NR_([a-z0-9_]+) ([0-9]+)");
    std::smatch match;
    for (std::string line; std::getline(lines, line);)
      if (std::regex_match(line, match, define)) numbers[std::stoul(match[2])] = match[1];
    if (!numbers.empty()) return numbers;
  }
  return {};
}

const PointerRule* pointer_of(const char* name, uint8_t argument) {
  for (const SyscallRule& row : syscall_rows())
    if (std::string(row.name) == name)
      for (uint32_t i = 0; i < row.pointer_count; ++i)
        if (row.pointers[i].argument == argument) return &row.pointers[i];
  return nullptr;
}

void expect_written_fits(const char* name, const PointerRule& rule) {
  const bool written = rule.written != Written::kNothing;
  if (rule.direction == Direction::kKeep) return;
  EXPECT_EQ(written, rule.direction != Direction::kIn) << name << " " << int{rule.argument};
}

TEST(SyscallTable, HasEverySyscallOfTheKernelHeaderUnderItsName) {
  const auto header = kernel_header();
  ASSERT_GT(header.size(), 300u);
  for (const auto& [number, name] : header) {
    ASSERT_NE(syscall_name(number), nullptr) << number << " " << name << " is not in the table";
    EXPECT_EQ(syscall_name(number), name) << number;
  }
}

TEST(SyscallTable, SaysSomethingAboutEveryRow) {
  for (const SyscallRule& row : syscall_rows()) {
    EXPECT_NE(row.knowledge, Knowledge::kUnused) << row.name;
    EXPECT_EQ(row.knowledge == Knowledge::kPointers, row.pointer_count > 0) << row.name;
    EXPECT_EQ(row.knowledge == Knowledge::kCommand, row.command_argument != kNoArgument)
        << row.name;
    for (uint32_t i = 0; i < row.pointer_count; ++i) {
      const PointerRule& rule = row.pointers[i];
      EXPECT_LT(rule.argument, 6) << row.name;
      EXPECT_LT(rule.count, 6) << row.name;
      EXPECT_LT(rule.argument, row.argument_count) << row.name;
      expect_written_fits(row.name, rule);
    }
  }
}

TEST(SyscallTable, KnowsWhatItDoesNotKnow) {
  EXPECT_EQ(syscall_name(337), nullptr);
  EXPECT_EQ(syscall_name(100000), nullptr);
  EXPECT_EQ(syscall_name(0xFFFFFFFF), nullptr);
  EXPECT_EQ(command_rule(__NR_ioctl, 0xDEAD), nullptr);
  EXPECT_EQ(command_rule(__NR_read, 0), nullptr);
  EXPECT_EQ(syscall_rule(__NR__sysctl)->knowledge, Knowledge::kUnknown);
}

TEST(SyscallTable, FindsEveryCommandRow) {
  for (const CommandRule& row : command_rows()) {
    EXPECT_EQ(command_rule(row.number, row.command), &row) << row.name;
    ASSERT_NE(syscall_rule(row.number), nullptr) << row.name;
    EXPECT_NE(syscall_rule(row.number)->selector, kNoArgument) << row.name;
    for (uint32_t i = 0; i < row.pointer_count; ++i) {
      const PointerRule& rule = row.pointers[i];
      EXPECT_NE(rule.argument, syscall_rule(row.number)->selector) << row.name;
      EXPECT_LT(rule.argument, syscall_rule(row.number)->argument_count) << row.name;
      expect_written_fits(row.name, rule);
      for (uint32_t j = 0; j < rule.inner_count; ++j) {
        EXPECT_TRUE(rule.extent != Extent::kStructure || rule.inner[j].offset + 8u <= rule.base)
            << row.name;
        EXPECT_TRUE(j == 0 || rule.inner[j - 1].offset < rule.inner[j].offset) << row.name;
      }
    }
  }
}

TEST(SyscallTable, SizesAreThoseOfTheKernelStructures) {
  const struct {
    const char* name;
    uint8_t argument;
    size_t bytes;
  } sizes[] = {
      {"stat", 1, sizeof(struct stat)},
      {"statfs", 1, sizeof(struct statfs)},
      {"sysinfo", 0, sizeof(struct sysinfo)},
      {"uname", 0, sizeof(struct utsname)},
      {"getrusage", 1, sizeof(struct rusage)},
      {"adjtimex", 0, sizeof(struct timex)},
      {"timerfd_settime", 2, 32},
      {"statx", 4, sizeof(struct statx)},
      {"waitid", 4, sizeof(struct rusage)},
      {"mq_open", 3, sizeof(struct mq_attr)},
      {"timer_create", 1, sizeof(sigevent)},
      {"epoll_ctl", 3, sizeof(epoll_event)},
      {"prlimit64", 3, sizeof(struct rlimit)},
      {"clock_nanosleep", 2, sizeof(timespec)},
      {"capget", 0, sizeof(__user_cap_header_struct)},
  };
  for (const auto& [name, argument, bytes] : sizes) {
    const PointerRule* rule = pointer_of(name, argument);
    ASSERT_NE(rule, nullptr) << name;
    EXPECT_EQ(rule->extent, Extent::kFixed) << name;
    EXPECT_EQ(rule->base, bytes) << name;
  }
  EXPECT_EQ(pointer_of("epoll_wait", 1)->unit, sizeof(epoll_event));
  EXPECT_EQ(pointer_of("io_getevents", 3)->unit, sizeof(io_event));
  EXPECT_EQ(pointer_of("semop", 1)->unit, sizeof(sembuf));
  EXPECT_EQ(pointer_of("futex_waitv", 0)->unit, sizeof(futex_waitv));
  EXPECT_EQ(command_rule(__NR_shmctl, IPC_STAT)->pointers[0].base, sizeof(shmid_ds));
  EXPECT_EQ(command_rule(__NR_semctl, IPC_STAT)->pointers[0].base, sizeof(semid_ds));
}

TEST(SyscallTable, IoctlCommandsThatEncodeTheirSizeNeedNoRow) {
  PointerRule rule;
  ASSERT_TRUE(ioctl_rule(TCGETS2, &rule));
  EXPECT_EQ(rule.direction, Direction::kOut);
  EXPECT_EQ(rule.base, sizeof(termios2));
  EXPECT_EQ(rule.argument, 2);
  ASSERT_TRUE(ioctl_rule(TCSETS2, &rule));
  EXPECT_EQ(rule.direction, Direction::kIn);
  ASSERT_TRUE(ioctl_rule(_IOWR('x', 1, uint64_t), &rule));
  EXPECT_EQ(rule.direction, Direction::kInOut);
  EXPECT_FALSE(ioctl_rule(TCGETS, &rule));
}

// ---- Replay -------------------------------------------------------------------------------------

// Those that Linux 6.12 has, and which the header of this machine may not know yet.
TEST(SyscallTable, HasEverySyscallOfLinux612) {
  constexpr uint32_t kFirstGap = 337, kSecondBlock = 424, kLast = 466;
  for (uint32_t number = 0; number <= kLast; ++number) {
    const bool gap = number >= kFirstGap && number < kSecondBlock;
    EXPECT_EQ(syscall_rule(number) == nullptr, gap) << number;
  }
  EXPECT_STREQ(syscall_name(kLast), "removexattrat");
}

TEST(SyscallTable, ArgumentCountsAreThoseOfTheCalls) {
  const struct {
    uint32_t number, arguments;
  } calls[] = {{__NR_read, 3},       {__NR_mmap, 6},   {__NR_getpid, 0}, {__NR_clone, 5},
               {__NR_pselect6, 6},   {__NR_futex, 6},  {__NR_openat, 4}, {__NR_ioctl, 3},
               {__NR_fadvise64, 4},  {__NR_wait4, 4},  {__NR_waitid, 5}, {__NR_prctl, 5},
               {__NR_arch_prctl, 2}, {__NR_statx, 5},  {__NR_clone3, 2}, {__NR_execve, 3},
               {__NR_exit_group, 1}, {__NR_sendto, 6}, {__NR_ptrace, 4}, {__NR_preadv2, 6},
               {__NR_brk, 1},        {__NR_keyctl, 5}, {__NR_close, 1},  {463, 6}};
  for (const auto& [number, arguments] : calls)
    EXPECT_EQ(argument_count(number), arguments) << syscall_name(number);
  EXPECT_EQ(argument_count(400), 0u);
  for (const SyscallRule& row : syscall_rows()) EXPECT_LE(row.argument_count, 6) << row.name;
}

struct Args {
  uint64_t values[6] = {};
  Args(uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0) : values{a, b, c, d, 0, 0} {}
};

ReplayRule rule_of(uint32_t number, Args args = {}) { return replay_rule(number, args.values); }

TEST(ReplayRule, EveryRowHasAClassAndAReasonIfItEnds) {
  for (const SyscallRule& row : syscall_rows()) {
    EXPECT_EQ(row.replay == Replay::kEnds, row.reason != EndReason::kNone) << row.name;
    EXPECT_NE(std::string(replay_class_name(row.replay)), "") << row.name;
    EXPECT_TRUE(row.knowledge != Knowledge::kUnknown || row.replay == Replay::kEnds) << row.name;
  }
  for (const CommandRule& row : command_rows())
    EXPECT_EQ(row.replay == Replay::kEnds, row.reason != EndReason::kNone) << row.name;
}

// The kernel reads what these point to.
TEST(ReplayRule, UndescribedMemoryThatMayBeWrittenEndsIt) {
  const std::set<uint32_t> only_read = {__NR_execve, __NR_execveat, __NR_seccomp};
  for (const SyscallRule& row : syscall_rows())
    for (uint32_t i = 0; i < row.pointer_count; ++i)
      EXPECT_TRUE(row.pointers[i].extent != Extent::kUnknown || row.replay == Replay::kEnds ||
                  only_read.count(row.number))
          << row.name;
}

TEST(ReplayRule, WhatBuildsTheAddressSpaceIsMade) {
  for (uint32_t number : {__NR_munmap, __NR_mprotect, __NR_pkey_mprotect})
    EXPECT_EQ(replay_class(number), Replay::kAgain) << syscall_name(number);
  for (uint32_t number : {__NR_mmap, __NR_mremap, __NR_brk, __NR_shmat, __NR_shmdt, __NR_clone,
                          __NR_clone3, __NR_fork, __NR_execve, __NR_exit_group})
    EXPECT_EQ(replay_class(number), Replay::kChanged) << syscall_name(number);
  EXPECT_EQ(rule_of(__NR_madvise, {0, 4096, 4 /* MADV_DONTNEED */}).replay, Replay::kAgain);
  EXPECT_EQ(rule_of(__NR_madvise, {0, 4096, 8 /* MADV_FREE */}).replay, Replay::kChanged);
  EXPECT_EQ(rule_of(__NR_madvise, {0, 4096, 3 /* MADV_WILLNEED */}).replay, Replay::kEmulate);
}

TEST(ReplayRule, WhatOnlyAsksIsTakenFromTheRecording) {
  for (uint32_t number : {__NR_read, __NR_write, __NR_openat, __NR_getpid, __NR_clock_gettime,
                          __NR_futex, __NR_epoll_wait, __NR_wait4, __NR_getrandom, __NR_sendmsg})
    EXPECT_EQ(replay_class(number), Replay::kEmulate) << syscall_name(number);
}

TEST(ReplayRule, CommandsDifferFromTheirSyscall) {
  EXPECT_EQ(rule_of(__NR_arch_prctl, {0x1002 /* ARCH_SET_FS */}).replay, Replay::kAgain);
  EXPECT_EQ(rule_of(__NR_arch_prctl, {0x1003 /* ARCH_GET_FS */}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_arch_prctl, {0x5001}).reason, EndReason::kShadowStack);
  EXPECT_EQ(rule_of(__NR_fcntl, {0, F_GETFL}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_fcntl, {0, 0xABCD}).reason, EndReason::kUnknownCommand);
  EXPECT_EQ(rule_of(__NR_prctl, {PR_SET_NAME}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_getsockopt, {0, SOL_SOCKET, SO_ERROR}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_getsockopt, {0, 6, 35}).reason, EndReason::kUndescribed);
  EXPECT_EQ(rule_of(__NR_getsockopt, {0, SOL_SOCKET, 35}).replay, Replay::kEmulate);
}

TEST(ReplayRule, IoctlsThatAreNotDescribedEndIt) {
  EXPECT_EQ(rule_of(__NR_ioctl, {0, TCGETS}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_ioctl, {0, TCGETS2}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_ioctl, {0, FIONREAD}).replay, Replay::kEmulate);
  EXPECT_EQ(rule_of(__NR_ioctl, {0, 0xDEAD}).reason, EndReason::kUndescribed);
  // Its size says nothing about where its pointers lead.
  EXPECT_EQ(rule_of(__NR_ioctl, {0, _IOWR('d', 1, uint64_t)}).reason, EndReason::kUndescribed);
}

TEST(ReplayRule, ACallThatDidNothingEndsNothing) {
  const ReplayRule device = rule_of(__NR_ioctl, {0, 0xDEAD});
  EXPECT_TRUE(ends_replay(device, 0));
  EXPECT_TRUE(ends_replay(device, -EIO));
  EXPECT_FALSE(ends_replay(device, -ENOTTY));
  EXPECT_FALSE(ends_replay(device, -EBADF));
  EXPECT_FALSE(ends_replay(rule_of(500), -ENOSYS));
  EXPECT_TRUE(ends_replay(rule_of(500), 0));
  EXPECT_FALSE(ends_replay(rule_of(__NR_prctl, {12345}), -EINVAL));
  EXPECT_TRUE(ends_replay(rule_of(__NR_prctl, {12345}), 0));
  EXPECT_FALSE(ends_replay(rule_of(__NR_io_setup), -ENOMEM));
  EXPECT_TRUE(ends_replay(rule_of(__NR_io_setup), 0));
  EXPECT_FALSE(ends_replay(rule_of(__NR_io_uring_setup), -ENOSYS));
  EXPECT_FALSE(ends_replay(rule_of(__NR_read), 5));
}

TEST(ReplayRule, KnowsWhatCanWaitForOthers) {
  const auto blocks = [](uint32_t number, Args args = {}) {
    return may_block(number, args.values);
  };
  for (uint32_t number : {__NR_read, __NR_write, __NR_recvfrom, __NR_accept, __NR_wait4,
                          __NR_nanosleep, __NR_pause, __NR_select, __NR_semop, __NR_msgrcv,
                          __NR_flock, __NR_connect, __NR_openat, __NR_vfork, __NR_sched_yield})
    EXPECT_TRUE(blocks(number)) << syscall_name(number);
  for (uint32_t number : {__NR_fstat, __NR_lseek, __NR_getpid, __NR_mmap, __NR_brk, __NR_close,
                          __NR_rt_sigaction, __NR_stat, __NR_clone, __NR_madvise, __NR_kill})
    EXPECT_FALSE(blocks(number)) << syscall_name(number);
  EXPECT_TRUE(blocks(__NR_futex, {0, FUTEX_WAIT_PRIVATE}));
  EXPECT_FALSE(blocks(__NR_futex, {0, FUTEX_WAKE_PRIVATE}));
  EXPECT_TRUE(blocks(__NR_fcntl, {0, F_SETLKW}));
  EXPECT_FALSE(blocks(__NR_fcntl, {0, F_GETFL}));
  EXPECT_TRUE(blocks(__NR_poll, {0, 0, static_cast<uint64_t>(-1)}));
  EXPECT_FALSE(blocks(__NR_poll, {0, 1, 0}));
  EXPECT_FALSE(blocks(__NR_wait4, {0, 0, WNOHANG}));
  EXPECT_FALSE(blocks(__NR_recvfrom, {0, 0, 0, MSG_DONTWAIT}));
  EXPECT_FALSE(blocks(__NR_openat, {0, 0, O_NONBLOCK}));
  EXPECT_TRUE(blocks(__NR_clone, {0x4000 /* CLONE_VFORK */}));
  EXPECT_FALSE(blocks(__NR_ioctl, {0, TIOCGWINSZ}));
  EXPECT_TRUE(blocks(__NR_ioctl, {0, TCSETSW}));
  EXPECT_TRUE(blocks(__NR_ioctl, {0, 0xDEAD}));
  EXPECT_EQ(call_waits(__NR_close, Args().values), Waits::kFiles);
  EXPECT_EQ(call_waits(__NR_openat, Args(0, 0, O_DIRECTORY).values), Waits::kFiles);
}

// ---- The document -------------------------------------------------------------------------------

std::string argument_name(uint8_t argument) { return "a" + std::to_string(argument); }

std::string hex_text(uint32_t value) {
  std::ostringstream text;
  text << "0x" << std::hex << value;
  return text.str();
}

std::string scaled(const PointerRule& rule, const std::string& count) {
  std::string text = rule.base ? std::to_string(rule.base) + "+" : "";
  if (rule.unit > 1) text += std::to_string(rule.unit) + "*";
  return text + count;
}

const char* direction_text(Direction direction) {
  const char* const kDirections[] = {"in", "out", "inout", "kept"};
  return kDirections[static_cast<int>(direction)];
}

std::string structure_text(const PointerRule& rule) {
  std::string text = std::to_string(rule.base) + " with";
  for (uint32_t i = 0; i < rule.inner_count; ++i) {
    const InnerRule& inner = rule.inner[i];
    text += (i ? ", " : " ") + std::string(direction_text(inner.direction)) + " at " +
            std::to_string(inner.offset);
  }
  return text;
}

std::string extent_text(const PointerRule& rule) {
  const std::string count = argument_name(rule.count);
  switch (rule.extent) {
    case Extent::kFixed:
      return std::to_string(rule.base);
    case Extent::kArgument:
      return scaled(rule, count);
    case Extent::kPages:
      return "pages(" + count + ")";
    case Extent::kBits:
      return "bits(" + count + ")";
    case Extent::kString:
      return "string";
    case Extent::kLengthAt:
      return rule.field ? "*(" + count + "+" + std::to_string(rule.field) + ")" : "*" + count;
    case Extent::kSelfSized:
      return scaled(rule, "size within");
    case Extent::kCounted:
      return scaled(rule, "number within");
    case Extent::kStructure:
      return structure_text(rule);
    case Extent::kAddresses:
      return "addresses[" + count + "]";
    case Extent::kIoctl:
      return "encoded";
    case Extent::kIovec:
      return "iovec[" + count + "]";
    case Extent::kMessage:
      return "msghdr";
    case Extent::kMessages:
      return "mmsghdr[" + count + "]";
    case Extent::kRemote:
      return "remote iovec[" + count + "]";
    case Extent::kSigset:
      return "sigset pair";
    case Extent::kOneIovec:
      return "iovec";
    case Extent::kSemaphores:
      return "2*semaphores";
    case Extent::kXattr:
      return "xattr_args";
    case Extent::kUnknown:
      return "?";
  }
  return "";
}

std::string written_text(const PointerRule& rule) {
  switch (rule.written) {
    case Written::kResult:
      return rule.extent == Extent::kArgument ? ", writes " + scaled(rule, "result")
                                              : ", writes result";
    case Written::kPositive:
      return ", if result > 0";
    case Written::kLength:
      return ", writes *" + argument_name(rule.count);
    case Written::kFields:
      return ", writes " + std::to_string(rule.field_bytes) + " at " + std::to_string(rule.field) +
             " of each";
    case Written::kInterrupted:
      return ", if interrupted";
    case Written::kAlways:
      return ", also on error";
    case Written::kFlagged:
      return ", written if " + argument_name(rule.count) + " has " + hex_text(rule.unit);
    default:
      return "";
  }
}

std::string pointer_text(const PointerRule& rule) {
  if (rule.written == Written::kOnError)
    return argument_name(rule.argument) + ": writes " + std::to_string(rule.field_bytes) + " at " +
           std::to_string(rule.field) + " on error " + std::to_string(rule.unit);
  return argument_name(rule.argument) + ": " + direction_text(rule.direction) + " " +
         extent_text(rule) + written_text(rule);
}

std::string pointers_text(const PointerRule* rules, uint32_t count) {
  std::string text;
  for (uint32_t i = 0; i < count; ++i) text += (i ? "; " : "") + pointer_text(rules[i]);
  return text;
}

std::string effect_text(const SyscallRule& row) {
  if (row.knowledge == Knowledge::kNoPointers) return "no pointers";
  if (row.knowledge == Knowledge::kUnknown) return "not described";
  if (row.knowledge == Knowledge::kCommand)
    return "by command " + argument_name(row.command_argument);
  return pointers_text(row.pointers, row.pointer_count);
}

template <typename Row>
std::string replay_text(const Row& row) {
  const std::string text = replay_class_name(row.replay);
  return row.replay == Replay::kEnds ? text + ": " + end_reason_text(row.reason) : text;
}

std::string waits_text(const SyscallRule& row) {
  const std::string text = waits_name(row.waits), argument = argument_name(row.wait_argument);
  const std::string otherwise =
      row.waits_else == Waits::kNever ? "" : std::string(", then ") + waits_name(row.waits_else);
  switch (row.wait_test) {
    case WaitTest::kUnlessZero:
      return text + ", not if " + argument + " is 0";
    case WaitTest::kUnlessFlags:
      return text + ", not if " + argument + " has " + hex_text(row.wait_flags) + otherwise;
    case WaitTest::kIfFlags:
      return text + ", if " + argument + " has " + hex_text(row.wait_flags);
    case WaitTest::kAlways:
      break;
  }
  return text;
}

void put_syscalls(std::ostream& text) {
  text << "## Syscalls\n\n| Number | Name | Arguments | Handled as | In a replay | Waits for | "
          "Memory |\n|---|---|---|---|---|---|---|\n";
  for (const SyscallRule& row : syscall_rows())
    text << "| " << row.number << " | " << row.name << " | " << int{row.argument_count} << " | "
         << class_name(class_of(row.handler)) << " | "
         << (row.selector != kNoArgument ? "by command, else " : "") << replay_text(row) << " | "
         << waits_text(row) << " | " << effect_text(row) << " |\n";
}

void put_commands(std::ostream& text) {
  text << "\n## Commands\n\n| Syscall | Command | Number | In a replay | Waits for | Memory |\n"
          "|---|---|---|---|---|---|\n";
  for (const CommandRule& row : command_rows())
    text << "| " << syscall_name(row.number) << " | " << row.name << " | 0x" << std::hex
         << row.command << std::dec << " | " << replay_text(row) << " | " << waits_name(row.waits)
         << " | "
         << (row.pointer_count ? pointers_text(row.pointers, row.pointer_count) : "no pointer")
         << " |\n";
  text << "\n## Ioctls whose number says all\n\n| Of | Type | Numbers |\n|---|---|---|\n";
  for (const FlatIoctls& kind : flat_ioctls())
    text << "| " << kind.name << " | 0x" << std::hex << int{kind.type} << std::dec << " | "
         << int{kind.first} << " to " << int{kind.last} << " |\n";
}

std::string generated() {
  std::ostringstream text;
  put_syscalls(text);
  put_commands(text);
  return text.str();
}

TEST(SyscallTable, DocumentSaysWhatTheTableSays) {
  const std::string path = std::string(SHMREC_SOURCE_DIR) + "/docs/syscalls.md";
  const std::string begin = "<!-- generated by syscall_table_test -->\n";
  const std::string text = read_file(path);
  const size_t at = text.find(begin);
  ASSERT_NE(at, std::string::npos) << path;
  if (std::getenv("SHMREC_WRITE_DOCS"))
    std::ofstream(path) << text.substr(0, at) << begin << generated();
  else
    EXPECT_EQ(text.substr(at + begin.size()), generated())
        << "run: SHMREC_WRITE_DOCS=1 syscall_table_test";
}

}  // namespace
}  // namespace shmrec::syscalls
