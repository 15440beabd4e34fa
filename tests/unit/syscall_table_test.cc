// The syscall table against the kernel's headers and against docs/syscalls.md.
// SHMREC_WRITE_DOCS=1 syscall_table_test writes the tables of the document anew.
#include "syscalls/syscall_table.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <asm/unistd.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/if.h>
#include <linux/stat.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

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
      const bool writes = rule.direction == Direction::kOut || rule.direction == Direction::kInOut;
      EXPECT_EQ(writes, rule.written != Written::kNothing)
          << row.name << " argument " << int{rule.argument};
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
    EXPECT_EQ(syscall_rule(row.number)->knowledge, Knowledge::kCommand) << row.name;
    for (uint32_t i = 0; i < row.pointer_count; ++i) {
      const PointerRule& rule = row.pointers[i];
      EXPECT_NE(rule.argument, syscall_rule(row.number)->command_argument) << row.name;
      const bool writes = rule.direction == Direction::kOut || rule.direction == Direction::kInOut;
      EXPECT_EQ(writes, rule.written != Written::kNothing) << row.name;
      for (uint32_t j = 0; j < rule.inner_count; ++j) {
        EXPECT_LE(rule.inner[j].offset + 8u, rule.base) << row.name;
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
      {"waitid", 2, sizeof(siginfo_t)},
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

// ---- The document -------------------------------------------------------------------------------

std::string argument_name(uint8_t argument) { return "a" + std::to_string(argument); }

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
    default:
      return "";
  }
}

std::string pointer_text(const PointerRule& rule) {
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

std::string generated() {
  std::ostringstream text;
  text << "## Syscalls\n\n| Number | Name | Handled as | Memory |\n|---|---|---|---|\n";
  for (const SyscallRule& row : syscall_rows())
    text << "| " << row.number << " | " << row.name << " | " << class_name(class_of(row.handler))
         << " | " << effect_text(row) << " |\n";
  text << "\n## Commands\n\n| Syscall | Command | Number | Memory |\n|---|---|---|---|\n";
  for (const CommandRule& row : command_rows())
    text << "| " << syscall_name(row.number) << " | " << row.name << " | 0x" << std::hex
         << row.command << std::dec << " | "
         << (row.pointer_count ? pointers_text(row.pointers, row.pointer_count) : "no pointer")
         << " |\n";
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
