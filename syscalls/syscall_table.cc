#include "syscalls/syscall_table.h"

#include <asm/errno.h>

namespace shmrec::syscalls {
namespace {

// ---- The table's words --------------------------------------------------------------------------

constexpr PointerRule fixed(uint32_t bytes) { return {.extent = Extent::kFixed, .base = bytes}; }
constexpr PointerRule argument(uint8_t count, uint32_t unit = 1, uint32_t base = 0) {
  return {.extent = Extent::kArgument, .count = count, .base = base, .unit = unit};
}
constexpr PointerRule bits(uint8_t count) { return {.extent = Extent::kBits, .count = count}; }
constexpr PointerRule length_at(uint8_t count) {
  return {.extent = Extent::kLengthAt, .count = count};
}
constexpr PointerRule self_sized(uint32_t base, uint8_t field) {
  return {.extent = Extent::kSelfSized, .field = field, .base = base};
}
constexpr PointerRule counted(uint32_t base, uint8_t field, uint8_t field_bytes, uint32_t unit) {
  return {.extent = Extent::kCounted,
          .field = field,
          .field_bytes = field_bytes,
          .base = base,
          .unit = unit};
}
template <typename... Inner>
constexpr PointerRule structure(uint32_t bytes, Inner... inner) {
  return {.extent = Extent::kStructure,
          .base = bytes,
          .inner_count = sizeof...(inner),
          .inner = {inner...}};
}
constexpr PointerRule length_within(uint8_t count, uint8_t field) {
  return {.extent = Extent::kLengthAt, .count = count, .field = field, .unit = 1};
}
constexpr PointerRule instructions_at(uint8_t count) {
  return {.extent = Extent::kLengthAt, .count = count, .unit = 8};
}
constexpr PointerRule special(Extent extent, uint8_t count = 0) {
  return {.extent = extent, .count = count};
}
constexpr PointerRule iovec(uint8_t count) { return special(Extent::kIovec, count); }

constexpr InnerRule inner(uint8_t offset, Direction direction, uint8_t length_offset,
                          uint8_t length_bytes, uint32_t unit = 1) {
  return {offset, direction, length_offset, length_bytes, unit};
}

constexpr PointerRule pointer(uint8_t position, Direction direction, Written written,
                              PointerRule rule) {
  rule.argument = position;
  rule.direction = direction;
  rule.written = written;
  return rule;
}
constexpr PointerRule in(uint8_t position, PointerRule rule) {
  return pointer(position, Direction::kIn, Written::kNothing, rule);
}
constexpr PointerRule out(uint8_t position, PointerRule rule, Written written = Written::kAll) {
  return pointer(position, Direction::kOut, written, rule);
}
constexpr PointerRule inout(uint8_t position, PointerRule rule, Written written = Written::kAll) {
  return pointer(position, Direction::kInOut, written, rule);
}
constexpr PointerRule keep(uint8_t position, PointerRule rule,
                           Written written = Written::kNothing) {
  return pointer(position, Direction::kKeep, written, rule);
}
// A word that is kept, and written if args[flags_in] has one of the flags.
constexpr PointerRule flagged(uint8_t position, PointerRule rule, uint8_t flags_in,
                              uint32_t flags) {
  rule.count = flags_in;
  rule.unit = flags;
  return keep(position, rule, Written::kFlagged);
}
// What else is written if the call fails with `error`; says nothing about how far the pointer
// reaches.
constexpr PointerRule on_error(uint8_t position, uint8_t offset, uint8_t bytes, uint32_t error) {
  return keep(position,
              {.extent = Extent::kFixed, .field = offset, .field_bytes = bytes, .unit = error},
              Written::kOnError);
}
template <typename... Inner>
constexpr PointerRule holding(PointerRule rule, Inner... inner) {
  rule.inner_count = sizeof...(inner);
  InnerRule all[kMaxInner] = {inner...};
  for (uint32_t i = 0; i < kMaxInner; ++i) rule.inner[i] = all[i];
  return rule;
}
constexpr PointerRule unknown_at(uint8_t position) {
  return pointer(position, Direction::kKeep, Written::kNothing, special(Extent::kUnknown));
}
constexpr PointerRule text(uint8_t position, uint32_t limit) {
  return in(position, {.extent = Extent::kString, .base = limit});
}
constexpr PointerRule path(uint8_t position) { return text(position, 4096); }
constexpr PointerRule name(uint8_t position) { return text(position, 256); }
constexpr PointerRule pollfds(uint8_t position, uint8_t count) {
  return pointer(
      position, Direction::kInOut, Written::kFields,
      {.extent = Extent::kArgument, .count = count, .field = 6, .field_bytes = 2, .unit = 8});
}

constexpr uint32_t kTime = 16;  // struct timespec, timeval
constexpr uint32_t kStat = 144, kStatfs = 120, kRusage = 144, kSiginfo = 128, kTimex = 208;
constexpr uint32_t kChildInfo = 28;        // the fields of siginfo_t that waitid sets
constexpr uint32_t kParentTid = 0x101000;  // CLONE_PARENT_SETTID, CLONE_PIDFD
constexpr uint32_t kChildTid = 0x1000000;  // CLONE_CHILD_SETTID
constexpr uint32_t kItimer = 32, kFlock = 32, kEpollEvent = 12, kIfreq = 40, kIoEvent = 32;

template <typename Rule>
constexpr Rule named(const char* called, Rule rule) {
  for (uint32_t i = 0; called[i]; ++i) rule.name[i] = called[i];  // too long is no constant
  return rule;
}

constexpr SyscallRule none(uint16_t number, const char* called, uint8_t arguments) {
  return named(called, SyscallRule{.number = number,
                                   .knowledge = Knowledge::kNoPointers,
                                   .handler = Handler::kMemory,
                                   .command_argument = kNoArgument,
                                   .argument_count = arguments});
}
constexpr SyscallRule unknown(uint16_t number, const char* called, uint8_t arguments) {
  SyscallRule rule = none(number, called, arguments);
  rule.knowledge = Knowledge::kUnknown;
  rule.replay = Replay::kEnds;
  rule.reason = EndReason::kUndescribed;
  return rule;
}
constexpr SyscallRule command(uint16_t number, const char* called, uint8_t arguments,
                              uint8_t command_argument, uint8_t pointer_argument) {
  SyscallRule rule = unknown(number, called, arguments);
  rule.knowledge = Knowledge::kCommand;
  rule.reason = EndReason::kUnknownCommand;
  rule.command_argument = rule.selector = command_argument;
  rule.pointer_argument = pointer_argument;
  return rule;
}
template <typename... Rules>
constexpr SyscallRule call(uint16_t number, const char* called, uint8_t arguments, Rules... rules) {
  return named(called, SyscallRule{.number = number,
                                   .knowledge = Knowledge::kPointers,
                                   .handler = Handler::kMemory,
                                   .command_argument = kNoArgument,
                                   .pointer_count = sizeof...(rules),
                                   .argument_count = arguments,
                                   .pointers = {rules...}});
}
constexpr SyscallRule by(Handler handler, SyscallRule rule) {
  rule.handler = handler;
  return rule;
}

// How a syscall or a command is replayed, if it is not just taken from the recording.
template <typename Rule>
constexpr Rule again(Rule rule) {
  rule.replay = Replay::kAgain;
  return rule;
}
template <typename Rule>
constexpr Rule changed(Rule rule) {
  rule.replay = Replay::kChanged;
  return rule;
}
template <typename Rule>
constexpr Rule ends(EndReason reason, Rule rule) {
  rule.replay = Replay::kEnds;
  rule.reason = reason;
  return rule;
}
constexpr SyscallRule by_command(uint8_t argument, SyscallRule rule, uint32_t mask = 0xFFFFFFFF) {
  rule.selector = argument;
  rule.selector_mask = mask;
  return rule;
}
// By level and name of a socket's option.
constexpr SyscallRule by_option(SyscallRule rule) {
  rule.selector_high = 1;
  return by_command(2, rule);
}

// What it can wait for.
template <typename Rule>
constexpr Rule files(Rule rule) {
  rule.waits = Waits::kFiles;
  return rule;
}
template <typename Rule>
constexpr Rule waits(Rule rule) {
  rule.waits = Waits::kOthers;
  return rule;
}
constexpr SyscallRule waits(WaitTest test, uint8_t argument, uint32_t flags, SyscallRule rule) {
  rule.waits_else = rule.waits;
  rule.wait_test = test;
  rule.wait_argument = argument;
  rule.wait_flags = flags;
  return waits(rule);
}
constexpr SyscallRule waits_unless(uint8_t argument, uint32_t flags, SyscallRule rule) {
  return waits(WaitTest::kUnlessFlags, argument, flags, rule);
}
constexpr SyscallRule waits_for(uint8_t timeout, SyscallRule rule) {
  return waits(WaitTest::kUnlessZero, timeout, 0, rule);
}
constexpr uint32_t kDontWait = 0x40;            // MSG_DONTWAIT
constexpr uint32_t kIpcNoWait = 0x800;          // IPC_NOWAIT
constexpr uint32_t kNotAFifo = 0x210800;        // O_NONBLOCK, O_DIRECTORY, O_PATH
constexpr uint32_t kQuotaCommand = 0xFFFFFF00;  // without the kind of quota
constexpr uint32_t kUniqueMountId = 1;          // AT_HANDLE_MNT_ID_UNIQUE
constexpr uint32_t kVfork = 0x4000;             // CLONE_VFORK
constexpr uint32_t kSpliceNonBlock = 2, kNoHang = 1, kLockNonBlock = 4, kReadNoWait = 8;

// ---- The syscalls, by number --------------------------------------------------------------------

constexpr SyscallRule kRows[] = {
    waits(call(0, "read", 3, out(1, argument(2), Written::kResult))),
    waits(call(1, "write", 3, in(1, argument(2)))),
    waits_unless(1, kNotAFifo, files(by(Handler::kOpen, call(2, "open", 3, path(0))))),
    files(none(3, "close", 1)),
    files(call(4, "stat", 2, path(0), out(1, fixed(kStat)))),
    call(5, "fstat", 2, out(1, fixed(kStat))),
    files(call(6, "lstat", 2, path(0), out(1, fixed(kStat)))),
    waits_for(2, call(7, "poll", 3, pollfds(0, 1))),
    none(8, "lseek", 3),
    changed(by(Handler::kMmap, none(9, "mmap", 6))),
    again(by(Handler::kMprotect, none(10, "mprotect", 3))),
    again(by(Handler::kMunmap, none(11, "munmap", 2))),
    changed(by(Handler::kBrk, none(12, "brk", 1))),
    again(
        by(Handler::kSigaction, call(13, "rt_sigaction", 4, in(1, fixed(32)), out(2, fixed(32))))),
    again(by(Handler::kSigprocmask,
             call(14, "rt_sigprocmask", 4, in(1, argument(3)), out(2, argument(3))))),
    again(by(Handler::kSigreturn, none(15, "rt_sigreturn", 0))),
    waits(ends(EndReason::kUndescribed, command(16, "ioctl", 3, 1, 2))),
    files(call(17, "pread64", 4, out(1, argument(2), Written::kResult))),
    files(call(18, "pwrite64", 4, in(1, argument(2)))),
    waits(call(19, "readv", 3, out(1, iovec(2), Written::kResult))),
    waits(call(20, "writev", 3, in(1, iovec(2)))),
    files(call(21, "access", 2, path(0))),
    call(22, "pipe", 1, out(0, fixed(8))),
    waits(call(23, "select", 5, inout(1, bits(0)), inout(2, bits(0)), inout(3, bits(0)),
               inout(4, fixed(kTime), Written::kAlways))),
    waits(none(24, "sched_yield", 0)),
    changed(by(Handler::kMremap, none(25, "mremap", 5))),
    files(none(26, "msync", 3)),
    call(27, "mincore", 3, out(2, special(Extent::kPages, 1), Written::kAlways)),
    ends(EndReason::kUnknownCommand, by_command(2, by(Handler::kMadvise, none(28, "madvise", 3)))),
    none(29, "shmget", 3),
    changed(by(Handler::kShmat, none(30, "shmat", 3))),
    by(Handler::kShmctl, command(31, "shmctl", 3, 1, 2)),
    none(32, "dup", 1),
    files(none(33, "dup2", 2)),
    waits(none(34, "pause", 0)),
    waits(
        call(35, "nanosleep", 2, in(0, fixed(kTime)), out(1, fixed(kTime), Written::kInterrupted))),
    call(36, "getitimer", 2, out(1, fixed(kItimer))),
    none(37, "alarm", 1),
    call(38, "setitimer", 3, in(1, fixed(kItimer)), out(2, fixed(kItimer))),
    none(39, "getpid", 0),
    waits(call(40, "sendfile", 4, inout(2, fixed(8)))),
    none(41, "socket", 3),
    waits(call(42, "connect", 3, in(1, argument(2)))),
    waits(call(43, "accept", 3, inout(2, fixed(4)), out(1, length_at(2), Written::kLength))),
    waits_unless(3, kDontWait, call(44, "sendto", 6, in(1, argument(2)), in(4, argument(5)))),
    waits_unless(3, kDontWait,
                 call(45, "recvfrom", 6, out(1, argument(2), Written::kResult), inout(5, fixed(4)),
                      out(4, length_at(5), Written::kLength))),
    waits_unless(2, kDontWait, call(46, "sendmsg", 3, in(1, special(Extent::kMessage)))),
    waits_unless(2, kDontWait,
                 call(47, "recvmsg", 3, out(1, special(Extent::kMessage), Written::kResult))),
    none(48, "shutdown", 2),
    call(49, "bind", 3, in(1, argument(2))),
    none(50, "listen", 2),
    call(51, "getsockname", 3, inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    call(52, "getpeername", 3, inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    call(53, "socketpair", 4, out(3, fixed(8), Written::kAlways)),
    by_option(call(54, "setsockopt", 5, in(3, argument(4)))),
    by_option(call(55, "getsockopt", 5, inout(4, fixed(4), Written::kAlways),
                   out(3, length_at(4), Written::kLength))),
    waits(WaitTest::kIfFlags, 0, kVfork,
          changed(by(Handler::kClone, call(56, "clone", 5, flagged(2, fixed(4), 0, kParentTid),
                                           flagged(3, fixed(4), 0, kChildTid))))),
    changed(by(Handler::kClone, none(57, "fork", 0))),
    waits(changed(by(Handler::kClone, none(58, "vfork", 0)))),
    files(
        changed(by(Handler::kExec, call(59, "execve", 3, path(0), unknown_at(1), unknown_at(2))))),
    changed(by(Handler::kExit, none(60, "exit", 1))),
    waits_unless(2, kNoHang,
                 by(Handler::kWait4, call(61, "wait4", 4, out(1, fixed(4), Written::kPositive),
                                          out(3, fixed(kRusage), Written::kPositive)))),
    none(62, "kill", 2),
    call(63, "uname", 1, out(0, fixed(390))),
    none(64, "semget", 3),
    waits(call(65, "semop", 3, in(1, argument(2, 6)))),
    command(66, "semctl", 4, 2, 3),
    changed(by(Handler::kShmdt, none(67, "shmdt", 1))),
    none(68, "msgget", 2),
    waits_unless(3, kIpcNoWait, call(69, "msgsnd", 4, in(1, argument(2, 1, 8)))),
    waits_unless(4, kIpcNoWait, call(70, "msgrcv", 5, out(1, argument(2, 1, 8), Written::kResult))),
    command(71, "msgctl", 3, 1, 2),
    by(Handler::kFcntl, command(72, "fcntl", 3, 1, 2)),
    waits_unless(1, kLockNonBlock, none(73, "flock", 2)),
    files(none(74, "fsync", 1)),
    files(none(75, "fdatasync", 1)),
    files(call(76, "truncate", 2, path(0))),
    files(none(77, "ftruncate", 2)),
    files(call(78, "getdents", 3, out(1, argument(2), Written::kResult))),
    call(79, "getcwd", 2, out(0, argument(1), Written::kResult)),
    files(call(80, "chdir", 1, path(0))),
    files(none(81, "fchdir", 1)),
    files(call(82, "rename", 2, path(0), path(1))),
    files(call(83, "mkdir", 2, path(0))),
    files(call(84, "rmdir", 1, path(0))),
    waits(call(85, "creat", 2, path(0))),
    files(call(86, "link", 2, path(0), path(1))),
    files(call(87, "unlink", 1, path(0))),
    files(call(88, "symlink", 2, path(0), path(1))),
    files(call(89, "readlink", 3, path(0), out(1, argument(2), Written::kResult))),
    files(call(90, "chmod", 2, path(0))),
    files(none(91, "fchmod", 2)),
    files(call(92, "chown", 3, path(0))),
    files(none(93, "fchown", 3)),
    files(call(94, "lchown", 3, path(0))),
    none(95, "umask", 1),
    call(96, "gettimeofday", 2, out(0, fixed(kTime)), out(1, fixed(8))),
    call(97, "getrlimit", 2, out(1, fixed(16))),
    call(98, "getrusage", 2, out(1, fixed(kRusage))),
    call(99, "sysinfo", 1, out(0, fixed(112))),
    call(100, "times", 1, out(0, fixed(32))),
    by(Handler::kPtrace, command(101, "ptrace", 4, 0, 3)),
    none(102, "getuid", 0),
    waits(call(103, "syslog", 3, out(1, argument(2), Written::kResult))),
    none(104, "getgid", 0),
    none(105, "setuid", 1),
    none(106, "setgid", 1),
    none(107, "geteuid", 0),
    none(108, "getegid", 0),
    none(109, "setpgid", 2),
    by(Handler::kGetppid, none(110, "getppid", 0)),
    none(111, "getpgrp", 0),
    none(112, "setsid", 0),
    none(113, "setreuid", 2),
    none(114, "setregid", 2),
    call(115, "getgroups", 2, out(1, argument(0, 4), Written::kResult)),
    call(116, "setgroups", 2, in(1, argument(0, 4))),
    none(117, "setresuid", 3),
    call(118, "getresuid", 3, out(0, fixed(4)), out(1, fixed(4)), out(2, fixed(4))),
    none(119, "setresgid", 3),
    call(120, "getresgid", 3, out(0, fixed(4)), out(1, fixed(4)), out(2, fixed(4))),
    none(121, "getpgid", 1),
    none(122, "setfsuid", 1),
    none(123, "setfsgid", 1),
    none(124, "getsid", 1),
    call(125, "capget", 2, inout(0, fixed(8), Written::kAlways), out(1, fixed(24))),
    call(126, "capset", 2, in(0, fixed(8)), in(1, fixed(24)), on_error(0, 0, 4, EINVAL)),
    by(Handler::kSigpending, call(127, "rt_sigpending", 2, out(0, argument(1)))),
    waits(by(Handler::kSigtimedwait,
             call(128, "rt_sigtimedwait", 4, in(0, argument(3)),
                  out(1, fixed(kSiginfo), Written::kPositive), in(2, fixed(kTime))))),
    call(129, "rt_sigqueueinfo", 3, in(2, fixed(kSiginfo))),
    waits(by(Handler::kMaskedWait, call(130, "rt_sigsuspend", 2, in(0, argument(1))))),
    again(by(Handler::kSigaltstack,
             call(131, "sigaltstack", 2, in(0, fixed(24)), out(1, fixed(24))))),
    files(call(132, "utime", 2, path(0), in(1, fixed(16)))),
    files(call(133, "mknod", 3, path(0))),
    files(ends(EndReason::kMaps, call(134, "uselib", 1, path(0)))),
    again(none(135, "personality", 1)),
    call(136, "ustat", 2, out(1, fixed(32))),
    files(call(137, "statfs", 2, path(0), out(1, fixed(kStatfs)))),
    files(call(138, "fstatfs", 2, out(1, fixed(kStatfs)))),
    unknown(139, "sysfs", 3),
    none(140, "getpriority", 2),
    none(141, "setpriority", 3),
    call(142, "sched_setparam", 2, in(1, fixed(4))),
    call(143, "sched_getparam", 2, out(1, fixed(4))),
    call(144, "sched_setscheduler", 3, in(2, fixed(4))),
    none(145, "sched_getscheduler", 1),
    none(146, "sched_get_priority_max", 1),
    none(147, "sched_get_priority_min", 1),
    call(148, "sched_rr_get_interval", 2, out(1, fixed(kTime))),
    by(Handler::kMlock, none(149, "mlock", 2)),
    by(Handler::kMlock, none(150, "munlock", 2)),
    by(Handler::kMlockall, none(151, "mlockall", 1)),
    by(Handler::kMunlockall, none(152, "munlockall", 0)),
    none(153, "vhangup", 0),
    by_command(0, call(154, "modify_ldt", 3, inout(1, argument(2), Written::kResult))),
    files(call(155, "pivot_root", 2, path(0), path(1))),
    unknown(156, "_sysctl", 0),
    by(Handler::kPrctl, command(157, "prctl", 5, 0, 1)),
    by(Handler::kArchPrctl, command(158, "arch_prctl", 2, 0, 1)),
    call(159, "adjtimex", 1, inout(0, fixed(kTimex), Written::kAlways)),
    call(160, "setrlimit", 2, in(1, fixed(16))),
    files(call(161, "chroot", 1, path(0))),
    files(none(162, "sync", 0)),
    files(call(163, "acct", 1, path(0))),
    call(164, "settimeofday", 2, in(0, fixed(kTime)), in(1, fixed(8))),
    files(call(165, "mount", 5, path(0), path(1), name(2), path(4))),
    files(call(166, "umount2", 2, path(0))),
    files(call(167, "swapon", 2, path(0))),
    files(call(168, "swapoff", 1, path(0))),
    call(169, "reboot", 4, name(3)),
    call(170, "sethostname", 2, in(0, argument(1))),
    call(171, "setdomainname", 2, in(0, argument(1))),
    ends(EndReason::kPorts, none(172, "iopl", 1)),
    ends(EndReason::kPorts, none(173, "ioperm", 3)),
    unknown(174, "create_module", 0),
    call(175, "init_module", 3, in(0, argument(1)), path(2)),
    call(176, "delete_module", 2, name(0)),
    unknown(177, "get_kernel_syms", 0),
    unknown(178, "query_module", 0),
    files(ends(EndReason::kUndescribed,
               by_command(0, call(179, "quotactl", 4, path(1), unknown_at(3)), kQuotaCommand))),
    unknown(180, "nfsservctl", 0),
    unknown(181, "getpmsg", 0),
    unknown(182, "putpmsg", 0),
    unknown(183, "afs_syscall", 0),
    unknown(184, "tuxcall", 0),
    unknown(185, "security", 0),
    none(186, "gettid", 0),
    files(none(187, "readahead", 3)),
    files(call(188, "setxattr", 5, path(0), name(1), in(2, argument(3)))),
    files(call(189, "lsetxattr", 5, path(0), name(1), in(2, argument(3)))),
    files(call(190, "fsetxattr", 5, name(1), in(2, argument(3)))),
    files(call(191, "getxattr", 4, path(0), name(1), out(2, argument(3), Written::kResult))),
    files(call(192, "lgetxattr", 4, path(0), name(1), out(2, argument(3), Written::kResult))),
    files(call(193, "fgetxattr", 4, name(1), out(2, argument(3), Written::kResult))),
    files(call(194, "listxattr", 3, path(0), out(1, argument(2), Written::kResult))),
    files(call(195, "llistxattr", 3, path(0), out(1, argument(2), Written::kResult))),
    files(call(196, "flistxattr", 3, out(1, argument(2), Written::kResult))),
    files(call(197, "removexattr", 2, path(0), name(1))),
    files(call(198, "lremovexattr", 2, path(0), name(1))),
    files(call(199, "fremovexattr", 2, name(1))),
    none(200, "tkill", 2),
    call(201, "time", 1, out(0, fixed(8))),
    waits(by_command(1,
                     by(Handler::kFutex, call(202, "futex", 6, keep(0, fixed(4)),
                                              in(3, fixed(kTime)), keep(4, fixed(4)))),
                     0x7F)),
    call(203, "sched_setaffinity", 3, in(2, argument(1))),
    call(204, "sched_getaffinity", 3, out(2, argument(1), Written::kResult)),
    unknown(205, "set_thread_area", 0),
    ends(EndReason::kWritesLater, call(206, "io_setup", 2, inout(1, fixed(8)))),
    files(none(207, "io_destroy", 1)),
    waits(call(208, "io_getevents", 5, out(3, argument(2, kIoEvent), Written::kResult),
               in(4, fixed(kTime)))),
    files(ends(EndReason::kWritesLater,
               by(Handler::kIoSubmit, call(209, "io_submit", 3, in(2, argument(1, 8)))))),
    call(210, "io_cancel", 3, keep(1, fixed(64)), out(2, fixed(kIoEvent))),
    unknown(211, "get_thread_area", 0),
    call(212, "lookup_dcookie", 3, out(1, argument(2), Written::kResult)),
    none(213, "epoll_create", 1),
    unknown(214, "epoll_ctl_old", 0),
    unknown(215, "epoll_wait_old", 0),
    changed(by(Handler::kRemapFilePages, none(216, "remap_file_pages", 5))),
    files(call(217, "getdents64", 3, out(1, argument(2), Written::kResult))),
    by(Handler::kSetTidAddress, call(218, "set_tid_address", 1, keep(0, fixed(4)))),
    waits(none(219, "restart_syscall", 0)),
    waits(call(220, "semtimedop", 4, in(1, argument(2, 6)), in(3, fixed(kTime)))),
    none(221, "fadvise64", 4),
    call(222, "timer_create", 3, in(1, fixed(64)), out(2, fixed(4), Written::kAlways)),
    call(223, "timer_settime", 4, in(2, fixed(kItimer)), out(3, fixed(kItimer))),
    call(224, "timer_gettime", 2, out(1, fixed(kItimer))),
    none(225, "timer_getoverrun", 1),
    none(226, "timer_delete", 1),
    call(227, "clock_settime", 2, in(1, fixed(kTime))),
    call(228, "clock_gettime", 2, out(1, fixed(kTime))),
    call(229, "clock_getres", 2, out(1, fixed(kTime))),
    waits(call(230, "clock_nanosleep", 4, in(2, fixed(kTime)),
               out(3, fixed(kTime), Written::kInterrupted))),
    changed(by(Handler::kExit, none(231, "exit_group", 1))),
    waits_for(3, call(232, "epoll_wait", 4, out(1, argument(2, kEpollEvent), Written::kResult))),
    call(233, "epoll_ctl", 4, in(3, fixed(kEpollEvent))),
    none(234, "tgkill", 3),
    files(call(235, "utimes", 2, path(0), in(1, fixed(2 * kTime)))),
    unknown(236, "vserver", 0),
    by(Handler::kMbind, call(237, "mbind", 6, in(3, bits(4)))),
    call(238, "set_mempolicy", 3, in(1, bits(2))),
    call(239, "get_mempolicy", 5, out(0, fixed(4)), out(1, bits(2)), keep(3, fixed(1))),
    call(240, "mq_open", 4, path(0), in(3, fixed(64))),
    call(241, "mq_unlink", 1, path(0)),
    waits(call(242, "mq_timedsend", 5, in(1, argument(2)), in(4, fixed(kTime)))),
    waits(call(243, "mq_timedreceive", 5, out(1, argument(2), Written::kResult), out(3, fixed(4)),
               in(4, fixed(kTime)))),
    call(244, "mq_notify", 2, in(1, fixed(64))),
    call(245, "mq_getsetattr", 3, in(1, fixed(64)), out(2, fixed(64))),
    unknown(246, "kexec_load", 4),
    waits_unless(
        3, kNoHang,
        by(Handler::kWaitid, call(247, "waitid", 5, out(2, fixed(kChildInfo), Written::kAlways),
                                  out(4, fixed(kRusage))))),
    call(248, "add_key", 5, name(0), path(1), in(2, argument(3))),
    waits(call(249, "request_key", 4, name(0), path(1), path(2))),
    command(250, "keyctl", 5, 0, 2),
    none(251, "ioprio_set", 3),
    none(252, "ioprio_get", 2),
    none(253, "inotify_init", 0),
    files(call(254, "inotify_add_watch", 3, path(1))),
    none(255, "inotify_rm_watch", 2),
    call(256, "migrate_pages", 4, in(2, bits(1)), in(3, bits(1))),
    waits_unless(2, kNotAFifo, files(by(Handler::kOpen, call(257, "openat", 4, path(1))))),
    files(call(258, "mkdirat", 3, path(1))),
    files(call(259, "mknodat", 4, path(1))),
    files(call(260, "fchownat", 5, path(1))),
    files(call(261, "futimesat", 3, path(1), in(2, fixed(2 * kTime)))),
    files(call(262, "newfstatat", 4, path(1), out(2, fixed(kStat)))),
    files(call(263, "unlinkat", 3, path(1))),
    files(call(264, "renameat", 4, path(1), path(3))),
    files(call(265, "linkat", 5, path(1), path(3))),
    files(call(266, "symlinkat", 3, path(0), path(2))),
    files(call(267, "readlinkat", 4, path(1), out(2, argument(3), Written::kResult))),
    files(call(268, "fchmodat", 3, path(1))),
    files(call(269, "faccessat", 3, path(1))),
    waits(by(Handler::kMaskedWait,
             call(270, "pselect6", 6, inout(1, bits(0)), inout(2, bits(0)), inout(3, bits(0)),
                  inout(4, fixed(kTime), Written::kAlways), in(5, special(Extent::kSigset))))),
    waits(by(Handler::kMaskedWait,
             call(271, "ppoll", 5, pollfds(0, 1), inout(2, fixed(kTime), Written::kAlways),
                  in(3, argument(4))))),
    none(272, "unshare", 1),
    by(Handler::kSetRobustList, none(273, "set_robust_list", 2)),
    call(274, "get_robust_list", 3, out(1, fixed(8)), out(2, fixed(8))),
    waits(call(275, "splice", 6, inout(1, fixed(8)), inout(3, fixed(8)))),
    waits_unless(3, kSpliceNonBlock, none(276, "tee", 4)),
    files(none(277, "sync_file_range", 4)),
    waits_unless(3, kSpliceNonBlock, call(278, "vmsplice", 4, keep(1, iovec(2), Written::kResult))),
    call(279, "move_pages", 6, in(2, special(Extent::kAddresses, 1)), in(3, argument(1, 4)),
         out(4, argument(1, 4), Written::kAlways)),
    files(call(280, "utimensat", 4, path(1), in(2, fixed(2 * kTime)))),
    waits_for(3, by(Handler::kMaskedWait,
                    call(281, "epoll_pwait", 6, out(1, argument(2, kEpollEvent), Written::kResult),
                         in(4, argument(5))))),
    by(Handler::kSignalfd, call(282, "signalfd", 3, in(1, argument(2)))),
    none(283, "timerfd_create", 2),
    none(284, "eventfd", 1),
    files(none(285, "fallocate", 4)),
    call(286, "timerfd_settime", 4, in(2, fixed(kItimer)), out(3, fixed(kItimer))),
    call(287, "timerfd_gettime", 2, out(1, fixed(kItimer))),
    waits(call(288, "accept4", 4, inout(2, fixed(4)), out(1, length_at(2), Written::kLength))),
    by(Handler::kSignalfd, call(289, "signalfd4", 4, in(1, argument(2)))),
    none(290, "eventfd2", 2),
    none(291, "epoll_create1", 1),
    files(none(292, "dup3", 3)),
    call(293, "pipe2", 2, out(0, fixed(8))),
    none(294, "inotify_init1", 1),
    files(call(295, "preadv", 5, out(1, iovec(2), Written::kResult))),
    files(call(296, "pwritev", 5, in(1, iovec(2)))),
    call(297, "rt_tgsigqueueinfo", 4, in(3, fixed(kSiginfo))),
    call(298, "perf_event_open", 5, in(0, self_sized(0, 4)), on_error(0, 4, 4, E2BIG)),
    waits_unless(3, kDontWait,
                 call(299, "recvmmsg", 5, out(1, special(Extent::kMessages, 2), Written::kResult),
                      inout(4, fixed(kTime), Written::kPositive))),
    none(300, "fanotify_init", 2),
    files(call(301, "fanotify_mark", 5, path(4))),
    call(302, "prlimit64", 4, in(2, fixed(16)), out(3, fixed(16))),
    files(by_command(
        4,
        call(303, "name_to_handle_at", 5, path(1), inout(2, self_sized(8, 0), Written::kAlways),
             out(3, fixed(4), Written::kAlways)),
        kUniqueMountId)),
    call(304, "open_by_handle_at", 3, in(1, self_sized(8, 0))),
    call(305, "clock_adjtime", 2, inout(1, fixed(kTimex))),
    files(none(306, "syncfs", 1)),
    waits_unless(3, kDontWait, call(307, "sendmmsg", 4, in(1, special(Extent::kMessages, 2)))),
    none(308, "setns", 2),
    call(309, "getcpu", 3, out(0, fixed(4)), out(1, fixed(4))),
    call(310, "process_vm_readv", 6, out(1, iovec(2), Written::kResult),
         in(3, special(Extent::kRemote, 4))),
    call(311, "process_vm_writev", 6, in(1, iovec(2)), in(3, special(Extent::kRemote, 4))),
    none(312, "kcmp", 5),
    call(313, "finit_module", 3, path(1)),
    call(314, "sched_setattr", 3, in(1, self_sized(0, 0)), on_error(1, 0, 4, E2BIG)),
    call(315, "sched_getattr", 4, out(1, argument(2))),
    files(call(316, "renameat2", 5, path(1), path(3))),
    by_command(0, by(Handler::kSeccomp, call(317, "seccomp", 3, unknown_at(2)))),
    call(318, "getrandom", 3, out(0, argument(1), Written::kResult)),
    call(319, "memfd_create", 2, name(0)),
    call(320, "kexec_file_load", 5, in(3, argument(2))),
    ends(EndReason::kUndescribed,
         by_command(0, call(321, "bpf", 3, inout(1, argument(2), Written::kAlways)))),
    files(changed(
        by(Handler::kExec, call(322, "execveat", 5, path(1), unknown_at(2), unknown_at(3))))),
    ends(EndReason::kUserFaults, by(Handler::kNotThere, none(323, "userfaultfd", 1))),
    none(324, "membarrier", 3),
    by(Handler::kMlock, none(325, "mlock2", 3)),
    files(call(326, "copy_file_range", 6, inout(1, fixed(8)), inout(3, fixed(8)))),
    waits_unless(5, kReadNoWait, call(327, "preadv2", 6, out(1, iovec(2), Written::kResult))),
    waits_unless(5, kReadNoWait, call(328, "pwritev2", 6, in(1, iovec(2)))),
    again(by(Handler::kMprotect, none(329, "pkey_mprotect", 4))),
    again(none(330, "pkey_alloc", 2)),
    again(none(331, "pkey_free", 1)),
    files(call(332, "statx", 5, path(1), out(4, fixed(256)))),
    waits(by(Handler::kMaskedWait,
             call(333, "io_pgetevents", 6, out(3, argument(2, kIoEvent), Written::kResult),
                  in(4, fixed(kTime)), in(5, special(Extent::kSigset))))),
    by(Handler::kRseq, call(334, "rseq", 4, keep(0, argument(1)))),
    none(335, "uretprobe", 0),
    none(336, "uprobe", 0),
    call(424, "pidfd_send_signal", 4, in(2, fixed(kSiginfo))),
    ends(EndReason::kOwnAccess,
         by(Handler::kNotThere, call(425, "io_uring_setup", 2, inout(1, fixed(120))))),
    ends(EndReason::kOwnAccess, by(Handler::kNotThere, unknown(426, "io_uring_enter", 6))),
    ends(EndReason::kOwnAccess, by(Handler::kNotThere, unknown(427, "io_uring_register", 4))),
    files(call(428, "open_tree", 3, path(1))),
    files(call(429, "move_mount", 5, path(1), path(3))),
    call(430, "fsopen", 2, name(0)),
    command(431, "fsconfig", 5, 1, 3),
    none(432, "fsmount", 3),
    files(call(433, "fspick", 3, path(1))),
    none(434, "pidfd_open", 2),
    waits(changed(
        by(Handler::kClone3, call(435, "clone3", 2,
                                  in(0, holding(argument(1), inner(8, Direction::kOut, 0, 0, 4),
                                                inner(16, Direction::kOut, 0, 0, 4),
                                                inner(24, Direction::kOut, 0, 0, 4))))))),
    files(none(436, "close_range", 3)),
    waits(by(Handler::kOpen, call(437, "openat2", 4, path(1), in(2, argument(3))))),
    none(438, "pidfd_getfd", 3),
    files(call(439, "faccessat2", 4, path(1))),
    ends(EndReason::kUnknownCommand,
         by_command(3, call(440, "process_madvise", 5, in(1, argument(2, 16))))),
    waits(by(Handler::kMaskedWait,
             call(441, "epoll_pwait2", 6, out(1, argument(2, kEpollEvent), Written::kResult),
                  in(3, fixed(kTime)), in(4, argument(5))))),
    files(call(442, "mount_setattr", 5, path(1), in(3, argument(4)))),
    ends(EndReason::kUndescribed,
         by_command(1, call(443, "quotactl_fd", 4, unknown_at(3)), kQuotaCommand)),
    call(444, "landlock_create_ruleset", 3, in(0, argument(1))),
    call(445, "landlock_add_rule", 4, in(2, fixed(16))),
    none(446, "landlock_restrict_self", 2),
    none(447, "memfd_secret", 1),
    none(448, "process_mrelease", 2),
    waits(by(Handler::kFutex,
             call(449, "futex_waitv", 5, in(0, argument(1, 24)), in(3, fixed(kTime))))),
    none(450, "set_mempolicy_home_node", 4),
    call(451, "cachestat", 4, in(1, fixed(16)), out(2, fixed(40))),
    files(call(452, "fchmodat2", 4, path(1))),
    ends(EndReason::kShadowStack, none(453, "map_shadow_stack", 3)),
    by(Handler::kFutex, call(454, "futex_wake", 4, keep(0, fixed(4)))),
    waits(by(Handler::kFutex, call(455, "futex_wait", 6, keep(0, fixed(4)), in(4, fixed(kTime))))),
    by(Handler::kFutex, call(456, "futex_requeue", 4, in(0, fixed(48)))),
    call(457, "statmount", 4, in(0, self_sized(0, 0)), out(1, argument(2))),
    call(458, "listmount", 4, in(0, self_sized(0, 0)), out(1, argument(2, 8), Written::kResult)),
    call(459, "lsm_get_self_attr", 4, inout(2, fixed(4), Written::kAlways),
         out(1, length_at(2), Written::kAlways)),
    call(460, "lsm_set_self_attr", 4, in(1, argument(2))),
    call(461, "lsm_list_modules", 3, inout(1, fixed(4), Written::kAlways),
         out(0, length_at(1), Written::kLength)),
    by(Handler::kMseal, none(462, "mseal", 3)),
    files(call(463, "setxattrat", 6, path(1), name(3), in(4, special(Extent::kXattr, 5)))),
    files(call(464, "getxattrat", 6, path(1), name(3),
               keep(4, special(Extent::kXattr, 5), Written::kResult))),
    files(call(465, "listxattrat", 5, path(1), out(3, argument(4), Written::kResult))),
    files(call(466, "removexattrat", 4, path(1), name(3))),
    files(call(467, "open_tree_attr", 5, path(1), in(3, argument(4)))),
    files(call(468, "file_getattr", 5, path(1), out(2, argument(3)))),
    files(call(469, "file_setattr", 5, path(1), in(2, argument(3)))),
};

// ---- The commands, by syscall -------------------------------------------------------------------

constexpr CommandRule plain(uint16_t number, uint32_t command, const char* called) {
  return named(called, CommandRule{.number = number, .command = command});
}
constexpr PointerRule futex_word(uint8_t position) {
  return keep(position, fixed(4), Written::kAlways);
}
constexpr uint32_t option(uint32_t level, uint32_t called) { return level << 16 | called; }
template <typename... Rules>
constexpr CommandRule with(uint16_t number, uint32_t command, const char* called, Rules... rules) {
  return named(called, CommandRule{.number = number,
                                   .pointer_count = sizeof...(rules),
                                   .command = command,
                                   .pointers = {rules...}});
}

constexpr uint16_t kMadvise = 28, kSetsockopt = 54, kGetsockopt = 55, kModifyLdt = 154;
constexpr uint16_t kFutex = 202, kKeyctl = 250, kSeccomp = 317, kBpf = 321, kFsconfig = 431;
constexpr uint16_t kNameToHandleAt = 303, kQuotactl = 179, kProcessMadvise = 440, kQuotactlFd = 443;
constexpr uint16_t kIoctl = 16, kShmctl = 31, kSemctl = 66, kMsgctl = 71, kFcntl = 72,
                   kPtrace = 101;
constexpr uint16_t kPrctl = 157, kArchPrctl = 158;
constexpr uint32_t kTermios = 36, kTermio = 18, kShmid = 112, kSemid = 104, kMsqid = 120;

constexpr CommandRule kCommandRows[] = {
    files(with(kIoctl, 0x1, "FIBMAP", inout(2, fixed(4)))),
    with(kIoctl, 0x2, "FIGETBSZ", out(2, fixed(4))),
    with(kIoctl, 0x301, "HDIO_GETGEO", out(2, fixed(16))),
    with(kIoctl, 0x125D, "BLKROSET", in(2, fixed(4))),
    with(kIoctl, 0x125E, "BLKROGET", out(2, fixed(4))),
    files(plain(kIoctl, 0x125F, "BLKRRPART")),
    with(kIoctl, 0x1260, "BLKGETSIZE", out(2, fixed(8))),
    files(plain(kIoctl, 0x1261, "BLKFLSBUF")),
    plain(kIoctl, 0x1262, "BLKRASET"),
    with(kIoctl, 0x1263, "BLKRAGET", out(2, fixed(8))),
    with(kIoctl, 0x1267, "BLKSECTGET", out(2, fixed(2))),
    with(kIoctl, 0x1268, "BLKSSZGET", out(2, fixed(4))),
    with(kIoctl, 0x1269, "BLKPG", in(2, structure(24, inner(16, Direction::kIn, 8, 4)))),
    files(with(kIoctl, 0x1277, "BLKDISCARD", in(2, fixed(16)))),
    with(kIoctl, 0x1278, "BLKIOMIN", out(2, fixed(4))),
    with(kIoctl, 0x1279, "BLKIOOPT", out(2, fixed(4))),
    with(kIoctl, 0x127A, "BLKALIGNOFF", out(2, fixed(4))),
    with(kIoctl, 0x127B, "BLKPBSZGET", out(2, fixed(4))),
    files(with(kIoctl, 0x127F, "BLKZEROOUT", in(2, fixed(16)))),
    with(kIoctl, 0x2282, "SG_GET_VERSION_NUM", out(2, fixed(4))),
    waits(with(
        kIoctl, 0x2285, "SG_IO",
        inout(2, structure(88, inner(16, Direction::kInOut, 12, 4), inner(24, Direction::kIn, 8, 1),
                           inner(32, Direction::kOut, 9, 1))))),
    with(kIoctl, 0x4B31, "KDGETLED", out(2, fixed(1))),
    with(kIoctl, 0x4B33, "KDGKBTYPE", out(2, fixed(1))),
    plain(kIoctl, 0x4B3A, "KDSETMODE"),
    with(kIoctl, 0x4B3B, "KDGETMODE", out(2, fixed(4))),
    with(kIoctl, 0x4B44, "KDGKBMODE", out(2, fixed(4))),
    plain(kIoctl, 0x4B45, "KDSKBMODE"),
    plain(kIoctl, 0x4C00, "LOOP_SET_FD"),
    plain(kIoctl, 0x4C01, "LOOP_CLR_FD"),
    with(kIoctl, 0x4C02, "LOOP_SET_STATUS", in(2, fixed(168))),
    with(kIoctl, 0x4C03, "LOOP_GET_STATUS", out(2, fixed(168))),
    with(kIoctl, 0x4C04, "LOOP_SET_STATUS64", in(2, fixed(232))),
    with(kIoctl, 0x4C05, "LOOP_GET_STATUS64", out(2, fixed(232))),
    plain(kIoctl, 0x4C06, "LOOP_CHANGE_FD"),
    plain(kIoctl, 0x4C07, "LOOP_SET_CAPACITY"),
    plain(kIoctl, 0x4C08, "LOOP_SET_DIRECT_IO"),
    plain(kIoctl, 0x4C09, "LOOP_SET_BLOCK_SIZE"),
    with(kIoctl, 0x4C0A, "LOOP_CONFIGURE", in(2, fixed(304))),
    with(kIoctl, 0x5401, "TCGETS", out(2, fixed(kTermios))),
    with(kIoctl, 0x5402, "TCSETS", in(2, fixed(kTermios))),
    waits(with(kIoctl, 0x5403, "TCSETSW", in(2, fixed(kTermios)))),
    waits(with(kIoctl, 0x5404, "TCSETSF", in(2, fixed(kTermios)))),
    with(kIoctl, 0x5405, "TCGETA", out(2, fixed(kTermio))),
    with(kIoctl, 0x5406, "TCSETA", in(2, fixed(kTermio))),
    waits(with(kIoctl, 0x5407, "TCSETAW", in(2, fixed(kTermio)))),
    waits(with(kIoctl, 0x5408, "TCSETAF", in(2, fixed(kTermio)))),
    waits(plain(kIoctl, 0x5409, "TCSBRK")),
    waits(plain(kIoctl, 0x540A, "TCXONC")),
    plain(kIoctl, 0x540B, "TCFLSH"),
    plain(kIoctl, 0x540C, "TIOCEXCL"),
    plain(kIoctl, 0x540D, "TIOCNXCL"),
    plain(kIoctl, 0x540E, "TIOCSCTTY"),
    with(kIoctl, 0x540F, "TIOCGPGRP", out(2, fixed(4))),
    with(kIoctl, 0x5410, "TIOCSPGRP", in(2, fixed(4))),
    with(kIoctl, 0x5411, "TIOCOUTQ", out(2, fixed(4))),
    with(kIoctl, 0x5412, "TIOCSTI", in(2, fixed(1))),
    with(kIoctl, 0x5413, "TIOCGWINSZ", out(2, fixed(8))),
    with(kIoctl, 0x5414, "TIOCSWINSZ", in(2, fixed(8))),
    with(kIoctl, 0x5415, "TIOCMGET", out(2, fixed(4))),
    with(kIoctl, 0x5416, "TIOCMBIS", in(2, fixed(4))),
    with(kIoctl, 0x5417, "TIOCMBIC", in(2, fixed(4))),
    with(kIoctl, 0x5418, "TIOCMSET", in(2, fixed(4))),
    with(kIoctl, 0x5419, "TIOCGSOFTCAR", out(2, fixed(4))),
    with(kIoctl, 0x541A, "TIOCSSOFTCAR", in(2, fixed(4))),
    with(kIoctl, 0x541B, "FIONREAD", out(2, fixed(4))),
    plain(kIoctl, 0x541D, "TIOCCONS"),
    with(kIoctl, 0x541E, "TIOCGSERIAL", out(2, fixed(72))),
    with(kIoctl, 0x541F, "TIOCSSERIAL", in(2, fixed(72))),
    with(kIoctl, 0x5420, "TIOCPKT", in(2, fixed(4))),
    with(kIoctl, 0x5421, "FIONBIO", in(2, fixed(4))),
    plain(kIoctl, 0x5422, "TIOCNOTTY"),
    with(kIoctl, 0x5423, "TIOCSETD", in(2, fixed(4))),
    with(kIoctl, 0x5424, "TIOCGETD", out(2, fixed(4))),
    waits(plain(kIoctl, 0x5425, "TCSBRKP")),
    plain(kIoctl, 0x5427, "TIOCSBRK"),
    plain(kIoctl, 0x5428, "TIOCCBRK"),
    with(kIoctl, 0x5429, "TIOCGSID", out(2, fixed(4))),
    with(kIoctl, 0x542E, "TIOCGRS485", out(2, fixed(32))),
    plain(kIoctl, 0x5437, "TIOCVHANGUP"),
    plain(kIoctl, 0x5441, "TIOCGPTPEER"),
    plain(kIoctl, 0x5450, "FIONCLEX"),
    plain(kIoctl, 0x5451, "FIOCLEX"),
    with(kIoctl, 0x5452, "FIOASYNC", in(2, fixed(4))),
    with(kIoctl, 0x5456, "TIOCGLCKTRMIOS", out(2, fixed(kTermios))),
    with(kIoctl, 0x5457, "TIOCSLCKTRMIOS", in(2, fixed(kTermios))),
    with(kIoctl, 0x5459, "TIOCSERGETLSR", out(2, fixed(4))),
    waits(plain(kIoctl, 0x545C, "TIOCMIWAIT")),
    with(kIoctl, 0x545D, "TIOCGICOUNT", out(2, fixed(80))),
    with(kIoctl, 0x5460, "FIOQSIZE", out(2, fixed(8))),
    with(kIoctl, 0x5600, "VT_OPENQRY", out(2, fixed(4))),
    with(kIoctl, 0x5601, "VT_GETMODE", out(2, fixed(8))),
    with(kIoctl, 0x5602, "VT_SETMODE", in(2, fixed(8))),
    with(kIoctl, 0x5603, "VT_GETSTATE", out(2, fixed(6))),
    plain(kIoctl, 0x5605, "VT_RELDISP"),
    plain(kIoctl, 0x5606, "VT_ACTIVATE"),
    waits(plain(kIoctl, 0x5607, "VT_WAITACTIVE")),
    with(kIoctl, 0x8901, "FIOSETOWN", in(2, fixed(4))),
    with(kIoctl, 0x8902, "SIOCSPGRP", in(2, fixed(4))),
    with(kIoctl, 0x8903, "FIOGETOWN", out(2, fixed(4))),
    with(kIoctl, 0x8904, "SIOCGPGRP", out(2, fixed(4))),
    with(kIoctl, 0x8905, "SIOCATMARK", out(2, fixed(4))),
    with(kIoctl, 0x8906, "SIOCGSTAMP", out(2, fixed(kTime))),
    with(kIoctl, 0x8907, "SIOCGSTAMPNS", out(2, fixed(kTime))),
    with(kIoctl, 0x8910, "SIOCGIFNAME", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8912, "SIOCGIFCONF", inout(2, structure(16, inner(8, Direction::kOut, 0, 4)))),
    with(kIoctl, 0x8913, "SIOCGIFFLAGS", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8914, "SIOCSIFFLAGS", in(2, fixed(kIfreq))),
    with(kIoctl, 0x8915, "SIOCGIFADDR", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8916, "SIOCSIFADDR", in(2, fixed(kIfreq))),
    with(kIoctl, 0x8917, "SIOCGIFDSTADDR", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8919, "SIOCGIFBRDADDR", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x891B, "SIOCGIFNETMASK", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x891C, "SIOCSIFNETMASK", in(2, fixed(kIfreq))),
    with(kIoctl, 0x891D, "SIOCGIFMETRIC", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8921, "SIOCGIFMTU", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8922, "SIOCSIFMTU", in(2, fixed(kIfreq))),
    with(kIoctl, 0x8927, "SIOCGIFHWADDR", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8933, "SIOCGIFINDEX", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8935, "SIOCGIFPFLAGS", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8938, "SIOCGIFCOUNT", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8942, "SIOCGIFTXQLEN", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8947, "SIOCGMIIPHY", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x8948, "SIOCGMIIREG", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x894B, "SIOCOUTQNSD", out(2, fixed(4))),
    with(kIoctl, 0x8954, "SIOCGARP", inout(2, fixed(68))),
    with(kIoctl, 0x8970, "SIOCGIFMAP", inout(2, fixed(kIfreq))),
    plain(kIoctl, 0xB701, "NS_GET_USERNS"),
    plain(kIoctl, 0xB702, "NS_GET_PARENT"),
    plain(kIoctl, 0xB703, "NS_GET_NSTYPE"),
    with(kIoctl, 0xB704, "NS_GET_OWNER_UID", out(2, fixed(4))),
    plain(kIoctl, 0xFF01, "PIDFD_GET_CGROUP_NAMESPACE"),
    plain(kIoctl, 0xFF02, "PIDFD_GET_IPC_NAMESPACE"),
    plain(kIoctl, 0xFF03, "PIDFD_GET_MNT_NAMESPACE"),
    plain(kIoctl, 0xFF04, "PIDFD_GET_NET_NAMESPACE"),
    plain(kIoctl, 0xFF05, "PIDFD_GET_PID_NAMESPACE"),
    plain(kIoctl, 0xFF06, "PIDFD_GET_PID_FOR_CHILDREN"),
    plain(kIoctl, 0xFF07, "PIDFD_GET_TIME_NAMESPACE"),
    plain(kIoctl, 0xFF08, "PIDFD_GET_TIME_FOR_CHILDREN"),
    plain(kIoctl, 0xFF09, "PIDFD_GET_USER_NAMESPACE"),
    plain(kIoctl, 0xFF0A, "PIDFD_GET_UTS_NAMESPACE"),
    with(kIoctl, 0x400454CA, "TUNSETIFF", inout(2, fixed(kIfreq))),
    files(plain(kIoctl, 0x40049409, "FICLONE")),
    with(kIoctl, 0x40085203, "RNDADDENTROPY", in(2, counted(8, 4, 4, 1))),
    with(kIoctl, 0x40086602, "FS_IOC_SETFLAGS", in(2, fixed(4))),
    with(kIoctl, 0x40087602, "FS_IOC_SETVERSION", in(2, fixed(4))),
    with(kIoctl, 0x401054D5, "TUNATTACHFILTER",
         in(2, structure(16, inner(8, Direction::kIn, 0, 2, 8)))),
    with(kIoctl, 0x401C5820, "FS_IOC_FSSETXATTR", in(2, fixed(28))),
    files(with(kIoctl, 0x4020940D, "FICLONERANGE", in(2, fixed(32)))),
    with(kIoctl, 0x41009432, "FS_IOC_SETFSLABEL", in(2, fixed(256))),
    with(kIoctl, 0x800454D2, "TUNGETIFF", out(2, fixed(kIfreq))),
    with(kIoctl, 0x80086601, "FS_IOC_GETFLAGS", out(2, fixed(4))),
    with(kIoctl, 0x80087601, "FS_IOC_GETVERSION", out(2, fixed(4))),
    with(kIoctl, 0x80111500, "FS_IOC_GETFSUUID", out(2, fixed(17))),
    with(kIoctl, 0x801C581F, "FS_IOC_FSGETXATTR", out(2, fixed(28))),
    with(kIoctl, 0x80811501, "FS_IOC_GETFSSYSFSPATH", out(2, fixed(129))),
    with(kIoctl, 0x81009431, "FS_IOC_GETFSLABEL", out(2, fixed(256))),
    files(with(kIoctl, 0xC0045877, "FIFREEZE", inout(2, fixed(4)))),
    files(with(kIoctl, 0xC0045878, "FITHAW", inout(2, fixed(4)))),
    with(kIoctl, 0xC0046686, "FS_IOC_MEASURE_VERITY", inout(2, counted(4, 2, 2, 1))),
    files(with(kIoctl, 0xC0185879, "FITRIM", inout(2, fixed(24)))),
    files(with(kIoctl, 0xC0189436, "FIDEDUPERANGE", inout(2, counted(24, 16, 2, 32)))),
    files(with(kIoctl, 0xC020660B, "FS_IOC_FIEMAP", inout(2, counted(32, 24, 4, 56)))),

    plain(kMadvise, 0, "MADV_NORMAL"),
    plain(kMadvise, 1, "MADV_RANDOM"),
    plain(kMadvise, 2, "MADV_SEQUENTIAL"),
    plain(kMadvise, 3, "MADV_WILLNEED"),
    again(plain(kMadvise, 4, "MADV_DONTNEED")),
    changed(plain(kMadvise, 8, "MADV_FREE")),
    changed(plain(kMadvise, 9, "MADV_REMOVE")),
    changed(plain(kMadvise, 10, "MADV_DONTFORK")),
    changed(plain(kMadvise, 11, "MADV_DOFORK")),
    plain(kMadvise, 12, "MADV_MERGEABLE"),
    plain(kMadvise, 13, "MADV_UNMERGEABLE"),
    plain(kMadvise, 14, "MADV_HUGEPAGE"),
    plain(kMadvise, 15, "MADV_NOHUGEPAGE"),
    plain(kMadvise, 16, "MADV_DONTDUMP"),
    plain(kMadvise, 17, "MADV_DODUMP"),
    changed(plain(kMadvise, 18, "MADV_WIPEONFORK")),
    changed(plain(kMadvise, 19, "MADV_KEEPONFORK")),
    plain(kMadvise, 20, "MADV_COLD"),
    plain(kMadvise, 21, "MADV_PAGEOUT"),
    plain(kMadvise, 22, "MADV_POPULATE_READ"),
    plain(kMadvise, 23, "MADV_POPULATE_WRITE"),
    again(plain(kMadvise, 24, "MADV_DONTNEED_LOCKED")),
    plain(kMadvise, 25, "MADV_COLLAPSE"),
    again(plain(kMadvise, 102, "MADV_GUARD_INSTALL")),
    again(plain(kMadvise, 103, "MADV_GUARD_REMOVE")),

    plain(kShmctl, 0, "IPC_RMID"),
    with(kShmctl, 1, "IPC_SET", in(2, fixed(kShmid))),
    with(kShmctl, 2, "IPC_STAT", out(2, fixed(kShmid))),
    with(kShmctl, 3, "IPC_INFO", out(2, fixed(72))),
    plain(kShmctl, 11, "SHM_LOCK"),
    plain(kShmctl, 12, "SHM_UNLOCK"),
    with(kShmctl, 13, "SHM_STAT", out(2, fixed(kShmid))),
    with(kShmctl, 14, "SHM_INFO", out(2, fixed(48))),
    with(kShmctl, 15, "SHM_STAT_ANY", out(2, fixed(kShmid))),

    // They write counters where a pointer in their structure leads.
    ends(EndReason::kUndescribed, plain(kSetsockopt, option(0, 64), "IPT_SO_SET_REPLACE")),
    ends(EndReason::kUndescribed, plain(kSetsockopt, option(0, 96), "ARPT_SO_SET_REPLACE")),
    ends(EndReason::kUndescribed, plain(kSetsockopt, option(0, 128), "EBT_SO_SET_ENTRIES")),
    ends(EndReason::kUndescribed, plain(kSetsockopt, option(41, 64), "IP6T_SO_SET_REPLACE")),
    ends(EndReason::kWritesLater, plain(kSetsockopt, option(276, 2), "RDS_GET_MR")),
    ends(EndReason::kWritesLater, plain(kSetsockopt, option(276, 7), "RDS_GET_MR_FOR_DEST")),
    ends(EndReason::kWritesLater, plain(kSetsockopt, option(283, 4), "XDP_UMEM_REG")),

    ends(EndReason::kUndescribed, plain(kGetsockopt, option(0, 129), "EBT_SO_GET_ENTRIES")),
    ends(EndReason::kUndescribed, plain(kGetsockopt, option(0, 131), "EBT_SO_GET_INIT_ENTRIES")),
    // Its length counts instructions.
    with(kGetsockopt, option(1, 26), "SO_GET_FILTER", out(3, instructions_at(4), Written::kLength)),
    ends(EndReason::kUndescribed, plain(kGetsockopt, option(6, 35), "TCP_ZEROCOPY_RECEIVE")),

    plain(kSemctl, 0, "IPC_RMID"),
    with(kSemctl, 1, "IPC_SET", in(3, fixed(kSemid))),
    with(kSemctl, 2, "IPC_STAT", out(3, fixed(kSemid))),
    with(kSemctl, 3, "IPC_INFO", out(3, fixed(40))),
    plain(kSemctl, 11, "GETPID"),
    plain(kSemctl, 12, "GETVAL"),
    with(kSemctl, 13, "GETALL", out(3, special(Extent::kSemaphores))),
    plain(kSemctl, 14, "GETNCNT"),
    plain(kSemctl, 15, "GETZCNT"),
    plain(kSemctl, 16, "SETVAL"),
    with(kSemctl, 17, "SETALL", in(3, special(Extent::kSemaphores))),
    with(kSemctl, 18, "SEM_STAT", out(3, fixed(kSemid))),
    with(kSemctl, 19, "SEM_INFO", out(3, fixed(40))),
    with(kSemctl, 20, "SEM_STAT_ANY", out(3, fixed(kSemid))),

    plain(kMsgctl, 0, "IPC_RMID"),
    with(kMsgctl, 1, "IPC_SET", in(2, fixed(kMsqid))),
    with(kMsgctl, 2, "IPC_STAT", out(2, fixed(kMsqid))),
    with(kMsgctl, 3, "IPC_INFO", out(2, fixed(32))),
    with(kMsgctl, 11, "MSG_STAT", out(2, fixed(kMsqid))),
    with(kMsgctl, 12, "MSG_INFO", out(2, fixed(32))),
    with(kMsgctl, 13, "MSG_STAT_ANY", out(2, fixed(kMsqid))),

    plain(kFcntl, 0, "F_DUPFD"),
    plain(kFcntl, 1, "F_GETFD"),
    plain(kFcntl, 2, "F_SETFD"),
    plain(kFcntl, 3, "F_GETFL"),
    plain(kFcntl, 4, "F_SETFL"),
    with(kFcntl, 5, "F_GETLK", inout(2, fixed(kFlock))),
    with(kFcntl, 6, "F_SETLK", in(2, fixed(kFlock))),
    waits(with(kFcntl, 7, "F_SETLKW", in(2, fixed(kFlock)))),
    plain(kFcntl, 8, "F_SETOWN"),
    plain(kFcntl, 9, "F_GETOWN"),
    plain(kFcntl, 10, "F_SETSIG"),
    plain(kFcntl, 11, "F_GETSIG"),
    with(kFcntl, 15, "F_SETOWN_EX", in(2, fixed(8))),
    with(kFcntl, 16, "F_GETOWN_EX", out(2, fixed(8))),
    with(kFcntl, 17, "F_GETOWNER_UIDS", out(2, fixed(8))),
    with(kFcntl, 36, "F_OFD_GETLK", inout(2, fixed(kFlock))),
    with(kFcntl, 37, "F_OFD_SETLK", in(2, fixed(kFlock))),
    waits(with(kFcntl, 38, "F_OFD_SETLKW", in(2, fixed(kFlock)))),
    plain(kFcntl, 1024, "F_SETLEASE"),
    plain(kFcntl, 1025, "F_GETLEASE"),
    plain(kFcntl, 1026, "F_NOTIFY"),
    plain(kFcntl, 1027, "F_DUPFD_QUERY"),
    plain(kFcntl, 1028, "F_CREATED_QUERY"),
    plain(kFcntl, 1029, "F_CANCELLK"),
    plain(kFcntl, 1030, "F_DUPFD_CLOEXEC"),
    plain(kFcntl, 1031, "F_SETPIPE_SZ"),
    plain(kFcntl, 1032, "F_GETPIPE_SZ"),
    plain(kFcntl, 1033, "F_ADD_SEALS"),
    plain(kFcntl, 1034, "F_GET_SEALS"),
    with(kFcntl, 1035, "F_GET_RW_HINT", out(2, fixed(8))),
    with(kFcntl, 1036, "F_SET_RW_HINT", in(2, fixed(8))),
    with(kFcntl, 1037, "F_GET_FILE_RW_HINT", out(2, fixed(8))),
    with(kFcntl, 1038, "F_SET_FILE_RW_HINT", in(2, fixed(8))),

    plain(kPtrace, 0, "PTRACE_TRACEME"),
    with(kPtrace, 1, "PTRACE_PEEKTEXT", out(3, fixed(8))),
    with(kPtrace, 2, "PTRACE_PEEKDATA", out(3, fixed(8))),
    with(kPtrace, 3, "PTRACE_PEEKUSER", out(3, fixed(8))),
    plain(kPtrace, 4, "PTRACE_POKETEXT"),
    plain(kPtrace, 5, "PTRACE_POKEDATA"),
    plain(kPtrace, 6, "PTRACE_POKEUSER"),
    plain(kPtrace, 7, "PTRACE_CONT"),
    plain(kPtrace, 8, "PTRACE_KILL"),
    plain(kPtrace, 9, "PTRACE_SINGLESTEP"),
    with(kPtrace, 12, "PTRACE_GETREGS", out(3, fixed(216))),
    with(kPtrace, 13, "PTRACE_SETREGS", in(3, fixed(216))),
    with(kPtrace, 14, "PTRACE_GETFPREGS", out(3, fixed(512))),
    with(kPtrace, 15, "PTRACE_SETFPREGS", in(3, fixed(512))),
    plain(kPtrace, 16, "PTRACE_ATTACH"),
    plain(kPtrace, 17, "PTRACE_DETACH"),
    plain(kPtrace, 24, "PTRACE_SYSCALL"),
    plain(kPtrace, 31, "PTRACE_SYSEMU"),
    plain(kPtrace, 32, "PTRACE_SYSEMU_SINGLESTEP"),
    plain(kPtrace, 33, "PTRACE_SINGLEBLOCK"),
    plain(kPtrace, 0x4200, "PTRACE_SETOPTIONS"),
    with(kPtrace, 0x4201, "PTRACE_GETEVENTMSG", out(3, fixed(8))),
    with(kPtrace, 0x4202, "PTRACE_GETSIGINFO", out(3, fixed(kSiginfo))),
    with(kPtrace, 0x4203, "PTRACE_SETSIGINFO", in(3, fixed(kSiginfo))),
    with(kPtrace, 0x4204, "PTRACE_GETREGSET", out(3, special(Extent::kOneIovec))),
    with(kPtrace, 0x4205, "PTRACE_SETREGSET", in(3, special(Extent::kOneIovec))),
    plain(kPtrace, 0x4206, "PTRACE_SEIZE"),
    plain(kPtrace, 0x4207, "PTRACE_INTERRUPT"),
    plain(kPtrace, 0x4208, "PTRACE_LISTEN"),
    with(kPtrace, 0x420A, "PTRACE_GETSIGMASK", out(3, argument(2))),
    with(kPtrace, 0x420B, "PTRACE_SETSIGMASK", in(3, argument(2))),
    with(kPtrace, 0x420D, "PTRACE_SECCOMP_GET_METADATA", inout(3, argument(2), Written::kResult)),
    with(kPtrace, 0x420E, "PTRACE_GET_SYSCALL_INFO", out(3, argument(2), Written::kResult)),
    with(kPtrace, 0x420F, "PTRACE_GET_RSEQ_CONFIG", out(3, argument(2), Written::kResult)),
    with(kPtrace, 0x4210, "PTRACE_SET_SYSCALL_DISPATCH", in(3, argument(2))),
    with(kPtrace, 0x4211, "PTRACE_GET_SYSCALL_DISPATCH", out(3, argument(2))),
    with(kPtrace, 0x4212, "PTRACE_SET_SYSCALL_INFO", in(3, argument(2))),

    plain(kModifyLdt, 0, "read_ldt"),
    again(plain(kModifyLdt, 1, "write_ldt")),
    plain(kModifyLdt, 2, "read_default_ldt"),
    again(plain(kModifyLdt, 0x11, "write_ldt, new mode")),

    plain(kPrctl, 1, "PR_SET_PDEATHSIG"),
    with(kPrctl, 2, "PR_GET_PDEATHSIG", out(1, fixed(4))),
    plain(kPrctl, 3, "PR_GET_DUMPABLE"),
    plain(kPrctl, 4, "PR_SET_DUMPABLE"),
    plain(kPrctl, 5, "PR_GET_UNALIGN"),
    plain(kPrctl, 6, "PR_SET_UNALIGN"),
    plain(kPrctl, 7, "PR_GET_KEEPCAPS"),
    plain(kPrctl, 8, "PR_SET_KEEPCAPS"),
    plain(kPrctl, 9, "PR_GET_FPEMU"),
    plain(kPrctl, 10, "PR_SET_FPEMU"),
    plain(kPrctl, 11, "PR_GET_FPEXC"),
    plain(kPrctl, 12, "PR_SET_FPEXC"),
    plain(kPrctl, 13, "PR_GET_TIMING"),
    plain(kPrctl, 14, "PR_SET_TIMING"),
    with(kPrctl, 15, "PR_SET_NAME", text(1, 16)),
    with(kPrctl, 16, "PR_GET_NAME", out(1, fixed(16))),
    plain(kPrctl, 19, "PR_GET_ENDIAN"),
    plain(kPrctl, 20, "PR_SET_ENDIAN"),
    plain(kPrctl, 21, "PR_GET_SECCOMP"),
    plain(kPrctl, 22, "PR_SET_SECCOMP"),
    plain(kPrctl, 23, "PR_CAPBSET_READ"),
    plain(kPrctl, 24, "PR_CAPBSET_DROP"),
    with(kPrctl, 25, "PR_GET_TSC", out(1, fixed(4))),
    changed(plain(kPrctl, 26, "PR_SET_TSC")),
    plain(kPrctl, 27, "PR_GET_SECUREBITS"),
    plain(kPrctl, 28, "PR_SET_SECUREBITS"),
    plain(kPrctl, 29, "PR_SET_TIMERSLACK"),
    plain(kPrctl, 30, "PR_GET_TIMERSLACK"),
    plain(kPrctl, 31, "PR_TASK_PERF_EVENTS_DISABLE"),
    plain(kPrctl, 32, "PR_TASK_PERF_EVENTS_ENABLE"),
    plain(kPrctl, 33, "PR_MCE_KILL"),
    plain(kPrctl, 34, "PR_MCE_KILL_GET"),
    with(kPrctl, 35, "PR_SET_MM", keep(2, fixed(4), Written::kAlways)),
    plain(kPrctl, 36, "PR_SET_CHILD_SUBREAPER"),
    with(kPrctl, 37, "PR_GET_CHILD_SUBREAPER", out(1, fixed(4))),
    plain(kPrctl, 38, "PR_SET_NO_NEW_PRIVS"),
    plain(kPrctl, 39, "PR_GET_NO_NEW_PRIVS"),
    with(kPrctl, 40, "PR_GET_TID_ADDRESS", out(1, fixed(8))),
    plain(kPrctl, 41, "PR_SET_THP_DISABLE"),
    plain(kPrctl, 42, "PR_GET_THP_DISABLE"),
    plain(kPrctl, 47, "PR_CAP_AMBIENT"),
    plain(kPrctl, 52, "PR_GET_SPECULATION_CTRL"),
    plain(kPrctl, 53, "PR_SET_SPECULATION_CTRL"),
    plain(kPrctl, 57, "PR_SET_IO_FLUSHER"),
    plain(kPrctl, 58, "PR_GET_IO_FLUSHER"),
    plain(kPrctl, 59, "PR_SET_SYSCALL_USER_DISPATCH"),
    with(kPrctl, 62, "PR_SCHED_CORE", out(4, fixed(8))),
    plain(kPrctl, 65, "PR_SET_MDWE"),
    plain(kPrctl, 66, "PR_GET_MDWE"),
    plain(kPrctl, 67, "PR_SET_MEMORY_MERGE"),
    plain(kPrctl, 68, "PR_GET_MEMORY_MERGE"),
    plain(kPrctl, 77, "PR_TIMER_CREATE_RESTORE_IDS"),
    plain(kPrctl, 78, "PR_FUTEX_HASH"),
    with(kPrctl, 0x41555856, "PR_GET_AUXV", out(1, argument(2), Written::kResult)),
    with(kPrctl, 0x53564D41, "PR_SET_VMA", text(4, 80)),
    plain(kPrctl, 0x59616D61, "PR_SET_PTRACER"),

    again(plain(kArchPrctl, 0x1001, "ARCH_SET_GS")),
    again(plain(kArchPrctl, 0x1002, "ARCH_SET_FS")),
    with(kArchPrctl, 0x1003, "ARCH_GET_FS", out(1, fixed(8))),
    with(kArchPrctl, 0x1004, "ARCH_GET_GS", out(1, fixed(8))),
    plain(kArchPrctl, 0x1011, "ARCH_GET_CPUID"),
    changed(plain(kArchPrctl, 0x1012, "ARCH_SET_CPUID")),
    with(kArchPrctl, 0x1021, "ARCH_GET_XCOMP_SUPP", out(1, fixed(8))),
    with(kArchPrctl, 0x1022, "ARCH_GET_XCOMP_PERM", out(1, fixed(8))),
    again(plain(kArchPrctl, 0x1023, "ARCH_REQ_XCOMP_PERM")),
    with(kArchPrctl, 0x1024, "ARCH_GET_XCOMP_GUEST_PERM", out(1, fixed(8))),
    plain(kArchPrctl, 0x1025, "ARCH_REQ_XCOMP_GUEST_PERM"),
    ends(EndReason::kMaps, plain(kArchPrctl, 0x2001, "ARCH_MAP_VDSO_X32")),
    ends(EndReason::kMaps, plain(kArchPrctl, 0x2002, "ARCH_MAP_VDSO_32")),
    ends(EndReason::kMaps, plain(kArchPrctl, 0x2003, "ARCH_MAP_VDSO_64")),
    with(kArchPrctl, 0x4001, "ARCH_GET_UNTAG_MASK", out(1, fixed(8))),
    again(plain(kArchPrctl, 0x4002, "ARCH_ENABLE_TAGGED_ADDR")),
    with(kArchPrctl, 0x4003, "ARCH_GET_MAX_TAG_BITS", out(1, fixed(8))),
    again(plain(kArchPrctl, 0x4004, "ARCH_FORCE_TAGGED_SVA")),
    ends(EndReason::kShadowStack, plain(kArchPrctl, 0x5001, "ARCH_SHSTK_ENABLE")),
    plain(kArchPrctl, 0x5002, "ARCH_SHSTK_DISABLE"),
    plain(kArchPrctl, 0x5003, "ARCH_SHSTK_LOCK"),
    plain(kArchPrctl, 0x5004, "ARCH_SHSTK_UNLOCK"),
    with(kArchPrctl, 0x5005, "ARCH_SHSTK_STATUS", out(1, fixed(8))),

    plain(kQuotactl, 0x580100, "Q_XQUOTAON"),
    plain(kQuotactl, 0x580200, "Q_XQUOTAOFF"),
    with(kQuotactl, 0x580300, "Q_XGETQUOTA", out(3, fixed(112))),
    with(kQuotactl, 0x580400, "Q_XSETQLIM", in(3, fixed(112))),
    plain(kQuotactl, 0x80000100, "Q_SYNC"),
    with(kQuotactl, 0x80000200, "Q_QUOTAON", path(3)),
    plain(kQuotactl, 0x80000300, "Q_QUOTAOFF"),
    with(kQuotactl, 0x80000400, "Q_GETFMT", out(3, fixed(4))),
    with(kQuotactl, 0x80000500, "Q_GETINFO", out(3, fixed(24))),
    with(kQuotactl, 0x80000600, "Q_SETINFO", in(3, fixed(24))),
    with(kQuotactl, 0x80000700, "Q_GETQUOTA", out(3, fixed(72))),
    with(kQuotactl, 0x80000800, "Q_SETQUOTA", in(3, fixed(72))),
    with(kQuotactl, 0x80000900, "Q_GETNEXTQUOTA", inout(3, fixed(72))),

    waits(plain(kFutex, 0, "FUTEX_WAIT")),
    plain(kFutex, 1, "FUTEX_WAKE"),
    plain(kFutex, 3, "FUTEX_REQUEUE"),
    plain(kFutex, 4, "FUTEX_CMP_REQUEUE"),
    with(kFutex, 5, "FUTEX_WAKE_OP", futex_word(4)),
    waits(with(kFutex, 6, "FUTEX_LOCK_PI", futex_word(0))),
    with(kFutex, 7, "FUTEX_UNLOCK_PI", futex_word(0)),
    with(kFutex, 8, "FUTEX_TRYLOCK_PI", futex_word(0)),
    waits(plain(kFutex, 9, "FUTEX_WAIT_BITSET")),
    plain(kFutex, 10, "FUTEX_WAKE_BITSET"),
    waits(with(kFutex, 11, "FUTEX_WAIT_REQUEUE_PI", futex_word(4))),
    with(kFutex, 12, "FUTEX_CMP_REQUEUE_PI", futex_word(4)),
    waits(with(kFutex, 13, "FUTEX_LOCK_PI2", futex_word(0))),

    plain(kKeyctl, 0, "KEYCTL_GET_KEYRING_ID"),
    with(kKeyctl, 1, "KEYCTL_JOIN_SESSION_KEYRING", name(1)),
    with(kKeyctl, 2, "KEYCTL_UPDATE", in(2, argument(3))),
    plain(kKeyctl, 3, "KEYCTL_REVOKE"),
    plain(kKeyctl, 4, "KEYCTL_CHOWN"),
    plain(kKeyctl, 5, "KEYCTL_SETPERM"),
    with(kKeyctl, 6, "KEYCTL_DESCRIBE", out(2, argument(3), Written::kResult)),
    plain(kKeyctl, 7, "KEYCTL_CLEAR"),
    plain(kKeyctl, 8, "KEYCTL_LINK"),
    plain(kKeyctl, 9, "KEYCTL_UNLINK"),
    with(kKeyctl, 10, "KEYCTL_SEARCH", name(2), path(3)),
    with(kKeyctl, 11, "KEYCTL_READ", out(2, argument(3), Written::kResult)),
    with(kKeyctl, 12, "KEYCTL_INSTANTIATE", in(2, argument(3))),
    plain(kKeyctl, 13, "KEYCTL_NEGATE"),
    plain(kKeyctl, 14, "KEYCTL_SET_REQKEY_KEYRING"),
    plain(kKeyctl, 15, "KEYCTL_SET_TIMEOUT"),
    plain(kKeyctl, 16, "KEYCTL_ASSUME_AUTHORITY"),
    with(kKeyctl, 17, "KEYCTL_GET_SECURITY", out(2, argument(3), Written::kResult)),
    plain(kKeyctl, 18, "KEYCTL_SESSION_TO_PARENT"),
    plain(kKeyctl, 19, "KEYCTL_REJECT"),
    with(kKeyctl, 20, "KEYCTL_INSTANTIATE_IOV", in(2, iovec(3))),
    plain(kKeyctl, 21, "KEYCTL_INVALIDATE"),
    plain(kKeyctl, 22, "KEYCTL_GET_PERSISTENT"),
    with(kKeyctl, 23, "KEYCTL_DH_COMPUTE", in(1, fixed(12)), out(2, argument(3), Written::kResult)),
    with(kKeyctl, 24, "KEYCTL_PKEY_QUERY", path(3), out(4, fixed(48))),
    with(kKeyctl, 25, "KEYCTL_PKEY_ENCRYPT", in(1, fixed(40)), path(2), in(3, length_within(1, 4)),
         out(4, length_within(1, 8), Written::kResult)),
    with(kKeyctl, 26, "KEYCTL_PKEY_DECRYPT", in(1, fixed(40)), path(2), in(3, length_within(1, 4)),
         out(4, length_within(1, 8), Written::kResult)),
    with(kKeyctl, 27, "KEYCTL_PKEY_SIGN", in(1, fixed(40)), path(2), in(3, length_within(1, 4)),
         out(4, length_within(1, 8), Written::kResult)),
    with(kKeyctl, 28, "KEYCTL_PKEY_VERIFY", in(1, fixed(40)), path(2), in(3, length_within(1, 4)),
         in(4, length_within(1, 8))),
    with(kKeyctl, 29, "KEYCTL_RESTRICT_KEYRING", name(2), path(3)),
    plain(kKeyctl, 30, "KEYCTL_MOVE"),
    with(kKeyctl, 31, "KEYCTL_CAPABILITIES", out(1, argument(2))),
    plain(kKeyctl, 32, "KEYCTL_WATCH_KEY"),

    with(kNameToHandleAt, 1, "AT_HANDLE_MNT_ID_UNIQUE", out(3, fixed(8), Written::kAlways)),

    with(kSeccomp, 3, "SECCOMP_GET_NOTIF_SIZES", out(2, fixed(6))),

    plain(kBpf, 0, "BPF_MAP_CREATE"),
    plain(kBpf, 2, "BPF_MAP_UPDATE_ELEM"),
    plain(kBpf, 3, "BPF_MAP_DELETE_ELEM"),
    with(kBpf, 5, "BPF_PROG_LOAD",
         inout(1, holding(argument(2), inner(32, Direction::kOut, 28, 4)), Written::kAlways)),
    plain(kBpf, 6, "BPF_OBJ_PIN"),
    plain(kBpf, 7, "BPF_OBJ_GET"),
    plain(kBpf, 8, "BPF_PROG_ATTACH"),
    plain(kBpf, 9, "BPF_PROG_DETACH"),
    plain(kBpf, 11, "BPF_PROG_GET_NEXT_ID"),
    plain(kBpf, 12, "BPF_MAP_GET_NEXT_ID"),
    plain(kBpf, 13, "BPF_PROG_GET_FD_BY_ID"),
    plain(kBpf, 14, "BPF_MAP_GET_FD_BY_ID"),
    plain(kBpf, 17, "BPF_RAW_TRACEPOINT_OPEN"),
    with(kBpf, 18, "BPF_BTF_LOAD",
         inout(1, holding(argument(2), inner(8, Direction::kOut, 20, 4)), Written::kAlways)),
    plain(kBpf, 19, "BPF_BTF_GET_FD_BY_ID"),
    plain(kBpf, 22, "BPF_MAP_FREEZE"),
    plain(kBpf, 23, "BPF_BTF_GET_NEXT_ID"),
    plain(kBpf, 28, "BPF_LINK_CREATE"),
    plain(kBpf, 29, "BPF_LINK_UPDATE"),
    plain(kBpf, 30, "BPF_LINK_GET_FD_BY_ID"),
    plain(kBpf, 31, "BPF_LINK_GET_NEXT_ID"),
    plain(kBpf, 32, "BPF_ENABLE_STATS"),
    plain(kBpf, 33, "BPF_ITER_CREATE"),
    plain(kBpf, 34, "BPF_LINK_DETACH"),
    plain(kBpf, 35, "BPF_PROG_BIND_MAP"),

    with(kFsconfig, 0, "FSCONFIG_SET_FLAG", name(2)),
    with(kFsconfig, 1, "FSCONFIG_SET_STRING", name(2), path(3)),
    with(kFsconfig, 2, "FSCONFIG_SET_BINARY", name(2), in(3, argument(4))),
    with(kFsconfig, 3, "FSCONFIG_SET_PATH", name(2), path(3)),
    with(kFsconfig, 4, "FSCONFIG_SET_PATH_EMPTY", name(2), path(3)),
    with(kFsconfig, 5, "FSCONFIG_SET_FD", name(2)),
    plain(kFsconfig, 6, "FSCONFIG_CMD_CREATE"),
    plain(kFsconfig, 7, "FSCONFIG_CMD_RECONFIGURE"),
    plain(kFsconfig, 8, "FSCONFIG_CMD_CREATE_EXCL"),

    plain(kProcessMadvise, 3, "MADV_WILLNEED"),
    plain(kProcessMadvise, 20, "MADV_COLD"),
    plain(kProcessMadvise, 21, "MADV_PAGEOUT"),
    plain(kProcessMadvise, 25, "MADV_COLLAPSE"),

    plain(kQuotactlFd, 0x580100, "Q_XQUOTAON"),
    plain(kQuotactlFd, 0x580200, "Q_XQUOTAOFF"),
    with(kQuotactlFd, 0x580300, "Q_XGETQUOTA", out(3, fixed(112))),
    with(kQuotactlFd, 0x580400, "Q_XSETQLIM", in(3, fixed(112))),
    plain(kQuotactlFd, 0x80000100, "Q_SYNC"),
    with(kQuotactlFd, 0x80000200, "Q_QUOTAON", path(3)),
    plain(kQuotactlFd, 0x80000300, "Q_QUOTAOFF"),
    with(kQuotactlFd, 0x80000400, "Q_GETFMT", out(3, fixed(4))),
    with(kQuotactlFd, 0x80000500, "Q_GETINFO", out(3, fixed(24))),
    with(kQuotactlFd, 0x80000600, "Q_SETINFO", in(3, fixed(24))),
    with(kQuotactlFd, 0x80000700, "Q_GETQUOTA", out(3, fixed(72))),
    with(kQuotactlFd, 0x80000800, "Q_SETQUOTA", in(3, fixed(72))),
    with(kQuotactlFd, 0x80000900, "Q_GETNEXTQUOTA", inout(3, fixed(72))),
};

// ---- Content of files ---------------------------------------------------------------------------

constexpr FileRule kFileRows[] = {
    {.number = 0, .use = FileUse::kRead},
    {.number = 1, .use = FileUse::kWrite},
    {.number = 2, .use = FileUse::kOpen},
    {.number = kIoctl, .use = FileUse::kClone},
    {.number = 17, .use = FileUse::kRead, .position_argument = 3},
    {.number = 18, .use = FileUse::kWrite, .position_argument = 3},
    {.number = 19, .use = FileUse::kRead, .vectors = true},
    {.number = 20, .use = FileUse::kWrite, .vectors = true},
    {.number = 40,
     .use = FileUse::kCopy,
     .in_argument = 1,
     .in_position = 2,
     .out_argument = 0,
     .count_argument = 3},
    {.number = 76, .use = FileUse::kSize},
    {.number = 77, .use = FileUse::kSize},
    {.number = 85, .use = FileUse::kOpen},
    {.number = kPtrace, .use = FileUse::kRemoteWord},
    {.number = 257, .use = FileUse::kOpen},
    {.number = 275,
     .use = FileUse::kCopy,
     .in_argument = 0,
     .in_position = 1,
     .out_argument = 2,
     .out_position = 3,
     .count_argument = 4},
    {.number = 285, .use = FileUse::kAllocate},
    {.number = 295, .use = FileUse::kRead, .vectors = true, .position_argument = 3},
    {.number = 296, .use = FileUse::kWrite, .vectors = true, .position_argument = 3},
    {.number = 310, .use = FileUse::kRemoteRead, .vectors = true},
    {.number = 311, .use = FileUse::kRemoteWrite, .vectors = true},
    {.number = 326,
     .use = FileUse::kCopy,
     .in_argument = 0,
     .in_position = 1,
     .out_argument = 2,
     .out_position = 3,
     .count_argument = 4},
    {.number = 327,
     .use = FileUse::kRead,
     .vectors = true,
     .position_argument = 3,
     .flags_argument = 5},
    {.number = 328,
     .use = FileUse::kWrite,
     .vectors = true,
     .position_argument = 3,
     .flags_argument = 5},
    {.number = 437, .use = FileUse::kOpen},
};

// ---- Names of files -----------------------------------------------------------------------------

constexpr NameRule kNameRows[] = {
    {.number = 76, .use = NameUse::kSize, .from = 0},
    {.number = 77, .use = NameUse::kSize, .from_directory = 0},
    {.number = 82, .use = NameUse::kRename, .from = 0, .to = 1},
    {.number = 86, .use = NameUse::kLink, .from = 0, .to = 1},
    {.number = 87, .use = NameUse::kUnlink, .from = 0},
    {.number = 263, .use = NameUse::kUnlink, .from = 1, .from_directory = 0},
    {.number = 264,
     .use = NameUse::kRename,
     .from = 1,
     .to = 3,
     .from_directory = 0,
     .to_directory = 2},
    {.number = 265,
     .use = NameUse::kLink,
     .from = 1,
     .to = 3,
     .from_directory = 0,
     .to_directory = 2,
     .flags = 4},
    {.number = 285, .use = NameUse::kSize, .from_directory = 0},
    {.number = 316,
     .use = NameUse::kRename,
     .from = 1,
     .to = 3,
     .from_directory = 0,
     .to_directory = 2,
     .flags = 4},
};

// ---- Finding a row ------------------------------------------------------------------------------

constexpr uint32_t kRowCount = sizeof kRows / sizeof kRows[0];
constexpr uint32_t kCommandCount = sizeof kCommandRows / sizeof kCommandRows[0];
constexpr uint32_t kNumbers = kRows[kRowCount - 1].number + 1;

struct Index {
  uint16_t row[kNumbers];  // row + 1; 0: none
};
constexpr Index make_index() {
  Index index = {};
  for (uint32_t i = 0; i < kRowCount; ++i)
    index.row[kRows[i].number] = static_cast<uint16_t>(i + 1);
  return index;
}
constexpr Index kIndex = make_index();

struct FileIndex {
  uint8_t row[kNumbers];  // row + 1; 0: none
};
constexpr FileIndex make_file_index() {
  FileIndex index = {};
  for (uint32_t i = 0; i < sizeof kFileRows / sizeof kFileRows[0]; ++i)
    index.row[kFileRows[i].number] = static_cast<uint8_t>(i + 1);
  return index;
}
constexpr FileIndex kFileIndex = make_file_index();

// Where a syscall's commands begin and end.
struct CommandIndex {
  uint16_t begin[kNumbers], end[kNumbers];
};
constexpr CommandIndex make_command_index() {
  CommandIndex index = {};
  for (uint32_t i = kCommandCount; i-- > 0;)
    index.begin[kCommandRows[i].number] = static_cast<uint16_t>(i);
  for (uint32_t i = 0; i < kCommandCount; ++i)
    index.end[kCommandRows[i].number] = static_cast<uint16_t>(i + 1);
  return index;
}
constexpr CommandIndex kCommandIndex = make_command_index();

struct WriteIndex {
  bool may[kNumbers], lengths[kNumbers];
};
template <typename Row>
constexpr void note_writes(const Row& row, WriteIndex* index) {
  for (uint32_t i = 0; i < row.pointer_count; ++i) {
    if (!writes(row.pointers[i])) continue;
    index->may[row.number] = true;
    if (reach_in_memory(row.pointers[i])) index->lengths[row.number] = true;
  }
}
constexpr WriteIndex make_write_index() {
  WriteIndex index = {};
  for (const SyscallRule& row : kRows) note_writes(row, &index);
  for (const CommandRule& row : kCommandRows) note_writes(row, &index);
  return index;
}
constexpr WriteIndex kWriteIndex = make_write_index();

constexpr bool ascending() {
  for (uint32_t i = 1; i < kRowCount; ++i)
    if (kRows[i].number <= kRows[i - 1].number) return false;
  for (uint32_t i = 1; i < kCommandCount; ++i) {
    const CommandRule &before = kCommandRows[i - 1], &row = kCommandRows[i];
    if (row.number < before.number ||
        (row.number == before.number && row.command <= before.command))
      return false;
  }
  return true;
}
static_assert(ascending(), "rows are sorted, none is there twice");

// What the kernel leaves in a length is back in the program's memory before it is needed.
constexpr bool lengths_come_first() {
  for (const SyscallRule& row : kRows) {
    bool seen[8] = {};
    for (uint32_t i = 0; i < row.pointer_count; ++i) {
      if (row.pointers[i].extent == Extent::kLengthAt && !seen[row.pointers[i].count]) return false;
      seen[row.pointers[i].argument] = true;
    }
  }
  return true;
}
static_assert(lengths_come_first());

}  // namespace

SyscallClass class_of(Handler handler) {
  static constexpr SyscallClass kClasses[] = {
#define SHMREC_CLASS(name, kind, function) SyscallClass::kind,
      SHMREC_SYSCALL_HANDLERS(SHMREC_CLASS)
#undef SHMREC_CLASS
  };
  return kClasses[static_cast<int>(handler)];
}

const char* class_name(SyscallClass which) {
  static constexpr const char* kNames[] = {"memory", "maps", "life", "signals", "futex", "refused"};
  return kNames[static_cast<int>(which)];
}

const SyscallRule* syscall_rule(uint32_t number) {
  if (number >= kNumbers || !kIndex.row[number]) return nullptr;
  return &kRows[kIndex.row[number] - 1];
}

const CommandRule* command_rule(uint32_t number, uint32_t command) {
  if (number >= kNumbers) return nullptr;
  uint32_t low = kCommandIndex.begin[number], high = kCommandIndex.end[number];
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    const CommandRule& row = kCommandRows[middle];
    if (row.command == command) return &row;
    if (row.command < command)
      low = middle + 1;
    else
      high = middle;
  }
  return nullptr;
}

const CommandRule* selected_rule(const SyscallRule& rule, const uint64_t* args) {
  if (rule.selector == kNoArgument) return nullptr;
  uint32_t command = static_cast<uint32_t>(args[rule.selector]) & rule.selector_mask;
  if (rule.selector_high != kNoArgument)
    command |= static_cast<uint32_t>(args[rule.selector_high]) << 16;
  return command_rule(rule.number, command);
}

bool ioctl_rule(uint32_t command, PointerRule* rule) {
  const uint32_t direction = command >> 30, bytes = command >> 16 & 0x3FFF;
  if (!direction || !bytes) return false;
  PointerRule encoded = {.extent = Extent::kIoctl, .base = bytes};
  if (direction == 1)
    *rule = in(2, encoded);
  else if (direction == 2)
    *rule = out(2, encoded);
  else
    *rule = inout(2, encoded);
  return true;
}

bool may_write(uint32_t number) { return number < kNumbers && kWriteIndex.may[number]; }
bool overwrites_lengths(uint32_t number) {
  return number < kNumbers && kWriteIndex.lengths[number];
}

const FileRule* file_rule(uint32_t number) {
  if (number >= kNumbers || !kFileIndex.row[number]) return nullptr;
  return &kFileRows[kFileIndex.row[number] - 1];
}

const NameRule* name_rule(uint32_t number) {
  for (const NameRule& rule : kNameRows)
    if (rule.number == number) return &rule;
  return nullptr;
}

const char* syscall_name(uint32_t number) {
  const SyscallRule* rule = syscall_rule(number);
  return rule ? rule->name : nullptr;
}

SyscallRows syscall_rows() { return {kRows, kRows + kRowCount}; }
CommandRows command_rows() { return {kCommandRows, kCommandRows + kCommandCount}; }

}  // namespace shmrec::syscalls
