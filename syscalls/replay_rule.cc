#include "syscalls/replay_rule.h"

#include <asm/errno.h>

namespace shmrec::syscalls {
namespace {

constexpr uint32_t kIoctl = 16;

constexpr FlatIoctls kFlatIoctls[] = {
    {0x12, 112, 115, "block"},   // BLKBSZGET to BLKTRACESETUP
    {'!', 0, 4, "seccomp"},      // notifications
    {'E', 0x01, 0x91, "input"},  // but EVIOCGMASK, whose structure holds a pointer
    {'R', 0, 7, "random"},      {'T', 0, 255, "terminal"},  // also timerfd and tun
    {'W', 0, 10, "watchdog"},   {'p', 1, 0x13, "clock"},    // real-time clocks
    {0x89, 6, 7, "socket"},                                 // SIOCGSTAMP_NEW, SIOCGSTAMPNS_NEW
    {0x8A, 1, 2, "epoll"},      {0xB7, 5, 13, "namespace"},
    {0xFF, 11, 11, "pidfd"},  // PIDFD_GET_INFO
};

bool flat_ioctl(uint32_t command) {
  PointerRule rule;
  if (!ioctl_rule(command, &rule)) return false;
  const uint32_t type = command >> 8 & 0xFF, number = command & 0xFF;
  for (const FlatIoctls& kind : kFlatIoctls)
    if (kind.type == type && number >= kind.first && number <= kind.last) return true;
  return false;
}

bool one_of(int64_t result, const int64_t* errors, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i)
    if (result == -errors[i]) return true;
  return false;
}

bool failed(int64_t result) { return result < 0 && result >= -4095; }

bool test_says_wait(const SyscallRule& rule, const uint64_t* args) {
  const uint32_t value = static_cast<uint32_t>(args[rule.wait_argument]);
  switch (rule.wait_test) {
    case WaitTest::kUnlessFlags:
      return !(value & rule.wait_flags);
    case WaitTest::kIfFlags:
      return value & rule.wait_flags;
    case WaitTest::kUnlessZero:
      return value;
    case WaitTest::kAlways:
      break;
  }
  return true;
}

}  // namespace

ReplayRule replay_rule(uint32_t number, const uint64_t* args) {
  const SyscallRule* rule = syscall_rule(number);
  if (!rule) return {Replay::kEnds, EndReason::kUndescribed};
  if (const CommandRule* command = selected_rule(*rule, args))
    return {command->replay, command->reason};
  if (number == kIoctl && flat_ioctl(static_cast<uint32_t>(args[1])))
    return {Replay::kEmulate, EndReason::kNone};
  return {rule->replay, rule->reason};
}

Replay replay_class(uint32_t number) {
  const SyscallRule* rule = syscall_rule(number);
  return rule ? rule->replay : Replay::kEnds;
}

// Nobody looked at a call that ends so; a command is unknown to the kernel too, or not allowed.
bool ends_replay(const ReplayRule& rule, int64_t result) {
  constexpr int64_t kNobody[] = {ENOSYS, EBADF, ENOTTY};
  constexpr int64_t kRefused[] = {EINVAL, EPERM, EACCES, EOPNOTSUPP};
  if (rule.replay != Replay::kEnds || one_of(result, kNobody, 3)) return false;
  if (rule.reason == EndReason::kUndescribed) return true;
  if (rule.reason == EndReason::kUnknownCommand) return !one_of(result, kRefused, 4);
  return !failed(result);
}

uint32_t argument_count(uint32_t number) {
  const SyscallRule* rule = syscall_rule(number);
  return rule ? rule->argument_count : 0;
}

Waits call_waits(uint32_t number, const uint64_t* args) {
  const SyscallRule* rule = syscall_rule(number);
  if (!rule) return Waits::kOthers;
  if (const CommandRule* command = selected_rule(*rule, args)) return command->waits;
  return test_says_wait(*rule, args) ? rule->waits : rule->waits_else;
}

const char* replay_class_name(Replay replay) {
  static constexpr const char* kNames[] = {"emulate", "again", "changed", "ends"};
  return kNames[static_cast<int>(replay)];
}

const char* end_reason_text(EndReason reason) {
  static constexpr const char* kTexts[] = {
      "",
      "the kernel may have written memory that is not described",
      "a command that is not known",
      "the kernel writes memory after the call",
      "io_uring accesses memory by itself",
      "another thread or process answers page faults",
      "maps a device, or memory that others write",
      "the program reads ports",
      "shadow stacks",
  };
  return kTexts[static_cast<int>(reason)];
}

const char* waits_name(Waits waits) {
  static constexpr const char* kNames[] = {"never", "files", "others"};
  return kNames[static_cast<int>(waits)];
}

FlatIoctlRange flat_ioctls() {
  return {kFlatIoctls, kFlatIoctls + sizeof kFlatIoctls / sizeof kFlatIoctls[0]};
}

}  // namespace shmrec::syscalls
