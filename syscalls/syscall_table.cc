#include "syscalls/syscall_table.h"

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
constexpr PointerRule keep(uint8_t position, PointerRule rule) {
  return pointer(position, Direction::kKeep, Written::kNothing, rule);
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
constexpr uint32_t kItimer = 32, kFlock = 32, kEpollEvent = 12, kIfreq = 40, kIoEvent = 32;

template <typename Rule>
constexpr Rule named(const char* called, Rule rule) {
  for (uint32_t i = 0; called[i]; ++i) rule.name[i] = called[i];  // too long is no constant
  return rule;
}

constexpr SyscallRule none(uint16_t number, const char* called) {
  return named(called, SyscallRule{number, Knowledge::kNoPointers, Handler::kMemory, kNoArgument});
}
constexpr SyscallRule unknown(uint16_t number, const char* called) {
  return named(called, SyscallRule{number, Knowledge::kUnknown, Handler::kMemory, kNoArgument});
}
constexpr SyscallRule command(uint16_t number, const char* called, uint8_t command_argument,
                              uint8_t pointer_argument) {
  return named(called, SyscallRule{number, Knowledge::kCommand, Handler::kMemory, command_argument,
                                   pointer_argument});
}
template <typename... Rules>
constexpr SyscallRule call(uint16_t number, const char* called, Rules... rules) {
  return named(called, SyscallRule{.number = number,
                                   .knowledge = Knowledge::kPointers,
                                   .handler = Handler::kMemory,
                                   .command_argument = kNoArgument,
                                   .pointer_count = sizeof...(rules),
                                   .pointers = {rules...}});
}
constexpr SyscallRule by(Handler handler, SyscallRule rule) {
  rule.handler = handler;
  return rule;
}

// ---- The syscalls, by number --------------------------------------------------------------------

constexpr SyscallRule kRows[] = {
    call(0, "read", out(1, argument(2), Written::kResult)),
    call(1, "write", in(1, argument(2))),
    by(Handler::kOpen, call(2, "open", path(0))),
    none(3, "close"),
    call(4, "stat", path(0), out(1, fixed(kStat))),
    call(5, "fstat", out(1, fixed(kStat))),
    call(6, "lstat", path(0), out(1, fixed(kStat))),
    call(7, "poll", pollfds(0, 1)),
    none(8, "lseek"),
    by(Handler::kMmap, none(9, "mmap")),
    by(Handler::kMprotect, none(10, "mprotect")),
    by(Handler::kMunmap, none(11, "munmap")),
    by(Handler::kBrk, none(12, "brk")),
    by(Handler::kSigaction, call(13, "rt_sigaction", in(1, fixed(32)), out(2, fixed(32)))),
    by(Handler::kSigprocmask, call(14, "rt_sigprocmask", in(1, argument(3)), out(2, argument(3)))),
    by(Handler::kSigreturn, none(15, "rt_sigreturn")),
    command(16, "ioctl", 1, 2),
    call(17, "pread64", out(1, argument(2), Written::kResult)),
    call(18, "pwrite64", in(1, argument(2))),
    call(19, "readv", out(1, iovec(2), Written::kResult)),
    call(20, "writev", in(1, iovec(2))),
    call(21, "access", path(0)),
    call(22, "pipe", out(0, fixed(8))),
    call(23, "select", inout(1, bits(0)), inout(2, bits(0)), inout(3, bits(0)),
         inout(4, fixed(kTime), Written::kAlways)),
    none(24, "sched_yield"),
    by(Handler::kMremap, none(25, "mremap")),
    none(26, "msync"),
    call(27, "mincore", out(2, special(Extent::kPages, 1), Written::kAlways)),
    by(Handler::kMadvise, none(28, "madvise")),
    none(29, "shmget"),
    by(Handler::kShmat, none(30, "shmat")),
    by(Handler::kShmctl, command(31, "shmctl", 1, 2)),
    none(32, "dup"),
    none(33, "dup2"),
    none(34, "pause"),
    call(35, "nanosleep", in(0, fixed(kTime)), out(1, fixed(kTime), Written::kInterrupted)),
    call(36, "getitimer", out(1, fixed(kItimer))),
    none(37, "alarm"),
    call(38, "setitimer", in(1, fixed(kItimer)), out(2, fixed(kItimer))),
    none(39, "getpid"),
    call(40, "sendfile", inout(2, fixed(8))),
    none(41, "socket"),
    call(42, "connect", in(1, argument(2))),
    call(43, "accept", inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    call(44, "sendto", in(1, argument(2)), in(4, argument(5))),
    call(45, "recvfrom", out(1, argument(2), Written::kResult), inout(5, fixed(4)),
         out(4, length_at(5), Written::kLength)),
    call(46, "sendmsg", in(1, special(Extent::kMessage))),
    call(47, "recvmsg", out(1, special(Extent::kMessage), Written::kResult)),
    none(48, "shutdown"),
    call(49, "bind", in(1, argument(2))),
    none(50, "listen"),
    call(51, "getsockname", inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    call(52, "getpeername", inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    call(53, "socketpair", out(3, fixed(8))),
    call(54, "setsockopt", in(3, argument(4))),
    call(55, "getsockopt", inout(4, fixed(4)), out(3, length_at(4), Written::kLength)),
    by(Handler::kClone, call(56, "clone", keep(2, fixed(4)), keep(3, fixed(4)))),
    by(Handler::kClone, none(57, "fork")),
    by(Handler::kClone, none(58, "vfork")),
    by(Handler::kExec, call(59, "execve", path(0), unknown_at(1), unknown_at(2))),
    by(Handler::kExit, none(60, "exit")),
    by(Handler::kWait4, call(61, "wait4", out(1, fixed(4), Written::kPositive),
                             out(3, fixed(kRusage), Written::kPositive))),
    none(62, "kill"),
    call(63, "uname", out(0, fixed(390))),
    none(64, "semget"),
    call(65, "semop", in(1, argument(2, 6))),
    command(66, "semctl", 2, 3),
    by(Handler::kShmdt, none(67, "shmdt")),
    none(68, "msgget"),
    call(69, "msgsnd", in(1, argument(2, 1, 8))),
    call(70, "msgrcv", out(1, argument(2, 1, 8), Written::kResult)),
    command(71, "msgctl", 1, 2),
    by(Handler::kFcntl, command(72, "fcntl", 1, 2)),
    none(73, "flock"),
    none(74, "fsync"),
    none(75, "fdatasync"),
    call(76, "truncate", path(0)),
    none(77, "ftruncate"),
    call(78, "getdents", out(1, argument(2), Written::kResult)),
    call(79, "getcwd", out(0, argument(1), Written::kResult)),
    call(80, "chdir", path(0)),
    none(81, "fchdir"),
    call(82, "rename", path(0), path(1)),
    call(83, "mkdir", path(0)),
    call(84, "rmdir", path(0)),
    call(85, "creat", path(0)),
    call(86, "link", path(0), path(1)),
    call(87, "unlink", path(0)),
    call(88, "symlink", path(0), path(1)),
    call(89, "readlink", path(0), out(1, argument(2), Written::kResult)),
    call(90, "chmod", path(0)),
    none(91, "fchmod"),
    call(92, "chown", path(0)),
    none(93, "fchown"),
    call(94, "lchown", path(0)),
    none(95, "umask"),
    call(96, "gettimeofday", out(0, fixed(kTime)), out(1, fixed(8))),
    call(97, "getrlimit", out(1, fixed(16))),
    call(98, "getrusage", out(1, fixed(kRusage))),
    call(99, "sysinfo", out(0, fixed(112))),
    call(100, "times", out(0, fixed(32))),
    by(Handler::kPtrace, command(101, "ptrace", 0, 3)),
    none(102, "getuid"),
    call(103, "syslog", out(1, argument(2), Written::kResult)),
    none(104, "getgid"),
    none(105, "setuid"),
    none(106, "setgid"),
    none(107, "geteuid"),
    none(108, "getegid"),
    none(109, "setpgid"),
    by(Handler::kGetppid, none(110, "getppid")),
    none(111, "getpgrp"),
    none(112, "setsid"),
    none(113, "setreuid"),
    none(114, "setregid"),
    call(115, "getgroups", out(1, argument(0, 4), Written::kResult)),
    call(116, "setgroups", in(1, argument(0, 4))),
    none(117, "setresuid"),
    call(118, "getresuid", out(0, fixed(4)), out(1, fixed(4)), out(2, fixed(4))),
    none(119, "setresgid"),
    call(120, "getresgid", out(0, fixed(4)), out(1, fixed(4)), out(2, fixed(4))),
    none(121, "getpgid"),
    none(122, "setfsuid"),
    none(123, "setfsgid"),
    none(124, "getsid"),
    call(125, "capget", inout(0, fixed(8)), out(1, fixed(24))),
    call(126, "capset", in(0, fixed(8)), in(1, fixed(24))),
    by(Handler::kSigpending, call(127, "rt_sigpending", out(0, argument(1)))),
    by(Handler::kSigtimedwait,
       call(128, "rt_sigtimedwait", in(0, argument(3)), out(1, fixed(kSiginfo), Written::kPositive),
            in(2, fixed(kTime)))),
    call(129, "rt_sigqueueinfo", in(2, fixed(kSiginfo))),
    by(Handler::kMaskedWait, call(130, "rt_sigsuspend", in(0, argument(1)))),
    by(Handler::kSigaltstack, call(131, "sigaltstack", in(0, fixed(24)), out(1, fixed(24)))),
    call(132, "utime", path(0), in(1, fixed(16))),
    call(133, "mknod", path(0)),
    call(134, "uselib", path(0)),
    none(135, "personality"),
    call(136, "ustat", out(1, fixed(32))),
    call(137, "statfs", path(0), out(1, fixed(kStatfs))),
    call(138, "fstatfs", out(1, fixed(kStatfs))),
    unknown(139, "sysfs"),
    none(140, "getpriority"),
    none(141, "setpriority"),
    call(142, "sched_setparam", in(1, fixed(4))),
    call(143, "sched_getparam", out(1, fixed(4))),
    call(144, "sched_setscheduler", in(2, fixed(4))),
    none(145, "sched_getscheduler"),
    none(146, "sched_get_priority_max"),
    none(147, "sched_get_priority_min"),
    call(148, "sched_rr_get_interval", out(1, fixed(kTime))),
    by(Handler::kMlock, none(149, "mlock")),
    by(Handler::kMlock, none(150, "munlock")),
    by(Handler::kMlockall, none(151, "mlockall")),
    by(Handler::kMunlockall, none(152, "munlockall")),
    none(153, "vhangup"),
    call(154, "modify_ldt", inout(1, argument(2), Written::kResult)),
    call(155, "pivot_root", path(0), path(1)),
    unknown(156, "_sysctl"),
    by(Handler::kPrctl, command(157, "prctl", 0, 1)),
    by(Handler::kArchPrctl, command(158, "arch_prctl", 0, 1)),
    call(159, "adjtimex", inout(0, fixed(kTimex))),
    call(160, "setrlimit", in(1, fixed(16))),
    call(161, "chroot", path(0)),
    none(162, "sync"),
    call(163, "acct", path(0)),
    call(164, "settimeofday", in(0, fixed(kTime)), in(1, fixed(8))),
    call(165, "mount", path(0), path(1), name(2), path(4)),
    call(166, "umount2", path(0)),
    call(167, "swapon", path(0)),
    call(168, "swapoff", path(0)),
    call(169, "reboot", name(3)),
    call(170, "sethostname", in(0, argument(1))),
    call(171, "setdomainname", in(0, argument(1))),
    none(172, "iopl"),
    none(173, "ioperm"),
    unknown(174, "create_module"),
    call(175, "init_module", in(0, argument(1)), path(2)),
    call(176, "delete_module", name(0)),
    unknown(177, "get_kernel_syms"),
    unknown(178, "query_module"),
    call(179, "quotactl", path(1), unknown_at(3)),
    unknown(180, "nfsservctl"),
    unknown(181, "getpmsg"),
    unknown(182, "putpmsg"),
    unknown(183, "afs_syscall"),
    unknown(184, "tuxcall"),
    unknown(185, "security"),
    none(186, "gettid"),
    none(187, "readahead"),
    call(188, "setxattr", path(0), name(1), in(2, argument(3))),
    call(189, "lsetxattr", path(0), name(1), in(2, argument(3))),
    call(190, "fsetxattr", name(1), in(2, argument(3))),
    call(191, "getxattr", path(0), name(1), out(2, argument(3), Written::kResult)),
    call(192, "lgetxattr", path(0), name(1), out(2, argument(3), Written::kResult)),
    call(193, "fgetxattr", name(1), out(2, argument(3), Written::kResult)),
    call(194, "listxattr", path(0), out(1, argument(2), Written::kResult)),
    call(195, "llistxattr", path(0), out(1, argument(2), Written::kResult)),
    call(196, "flistxattr", out(1, argument(2), Written::kResult)),
    call(197, "removexattr", path(0), name(1)),
    call(198, "lremovexattr", path(0), name(1)),
    call(199, "fremovexattr", name(1)),
    none(200, "tkill"),
    call(201, "time", out(0, fixed(8))),
    by(Handler::kFutex,
       call(202, "futex", keep(0, fixed(4)), in(3, fixed(kTime)), keep(4, fixed(4)))),
    call(203, "sched_setaffinity", in(2, argument(1))),
    call(204, "sched_getaffinity", out(2, argument(1), Written::kResult)),
    unknown(205, "set_thread_area"),
    call(206, "io_setup", inout(1, fixed(8))),
    none(207, "io_destroy"),
    call(208, "io_getevents", out(3, argument(2, kIoEvent), Written::kResult), in(4, fixed(kTime))),
    by(Handler::kIoSubmit, call(209, "io_submit", in(2, argument(1, 8)))),
    call(210, "io_cancel", keep(1, fixed(64)), out(2, fixed(kIoEvent))),
    unknown(211, "get_thread_area"),
    call(212, "lookup_dcookie", out(1, argument(2), Written::kResult)),
    none(213, "epoll_create"),
    unknown(214, "epoll_ctl_old"),
    unknown(215, "epoll_wait_old"),
    by(Handler::kRemapFilePages, none(216, "remap_file_pages")),
    call(217, "getdents64", out(1, argument(2), Written::kResult)),
    by(Handler::kSetTidAddress, call(218, "set_tid_address", keep(0, fixed(4)))),
    none(219, "restart_syscall"),
    call(220, "semtimedop", in(1, argument(2, 6)), in(3, fixed(kTime))),
    none(221, "fadvise64"),
    call(222, "timer_create", in(1, fixed(64)), out(2, fixed(4))),
    call(223, "timer_settime", in(2, fixed(kItimer)), out(3, fixed(kItimer))),
    call(224, "timer_gettime", out(1, fixed(kItimer))),
    none(225, "timer_getoverrun"),
    none(226, "timer_delete"),
    call(227, "clock_settime", in(1, fixed(kTime))),
    call(228, "clock_gettime", out(1, fixed(kTime))),
    call(229, "clock_getres", out(1, fixed(kTime))),
    call(230, "clock_nanosleep", in(2, fixed(kTime)), out(3, fixed(kTime), Written::kInterrupted)),
    by(Handler::kExit, none(231, "exit_group")),
    call(232, "epoll_wait", out(1, argument(2, kEpollEvent), Written::kResult)),
    call(233, "epoll_ctl", in(3, fixed(kEpollEvent))),
    none(234, "tgkill"),
    call(235, "utimes", path(0), in(1, fixed(2 * kTime))),
    unknown(236, "vserver"),
    by(Handler::kMbind, call(237, "mbind", in(3, bits(4)))),
    call(238, "set_mempolicy", in(1, bits(2))),
    call(239, "get_mempolicy", out(0, fixed(4)), out(1, bits(2)), keep(3, fixed(1))),
    call(240, "mq_open", path(0), in(3, fixed(64))),
    call(241, "mq_unlink", path(0)),
    call(242, "mq_timedsend", in(1, argument(2)), in(4, fixed(kTime))),
    call(243, "mq_timedreceive", out(1, argument(2), Written::kResult), out(3, fixed(4)),
         in(4, fixed(kTime))),
    call(244, "mq_notify", in(1, fixed(64))),
    call(245, "mq_getsetattr", in(1, fixed(64)), out(2, fixed(64))),
    unknown(246, "kexec_load"),
    by(Handler::kWaitid, call(247, "waitid", out(2, fixed(kSiginfo)), out(4, fixed(kRusage)))),
    call(248, "add_key", name(0), path(1), in(2, argument(3))),
    call(249, "request_key", name(0), path(1), path(2)),
    command(250, "keyctl", 0, 2),
    none(251, "ioprio_set"),
    none(252, "ioprio_get"),
    none(253, "inotify_init"),
    call(254, "inotify_add_watch", path(1)),
    none(255, "inotify_rm_watch"),
    call(256, "migrate_pages", in(2, bits(1)), in(3, bits(1))),
    by(Handler::kOpen, call(257, "openat", path(1))),
    call(258, "mkdirat", path(1)),
    call(259, "mknodat", path(1)),
    call(260, "fchownat", path(1)),
    call(261, "futimesat", path(1), in(2, fixed(2 * kTime))),
    call(262, "newfstatat", path(1), out(2, fixed(kStat))),
    call(263, "unlinkat", path(1)),
    call(264, "renameat", path(1), path(3)),
    call(265, "linkat", path(1), path(3)),
    call(266, "symlinkat", path(0), path(2)),
    call(267, "readlinkat", path(1), out(2, argument(3), Written::kResult)),
    call(268, "fchmodat", path(1)),
    call(269, "faccessat", path(1)),
    by(Handler::kMaskedWait,
       call(270, "pselect6", inout(1, bits(0)), inout(2, bits(0)), inout(3, bits(0)),
            inout(4, fixed(kTime), Written::kAlways), in(5, special(Extent::kSigset)))),
    by(Handler::kMaskedWait, call(271, "ppoll", pollfds(0, 1),
                                  inout(2, fixed(kTime), Written::kAlways), in(3, argument(4)))),
    none(272, "unshare"),
    by(Handler::kSetRobustList, none(273, "set_robust_list")),
    call(274, "get_robust_list", out(1, fixed(8)), out(2, fixed(8))),
    call(275, "splice", inout(1, fixed(8)), inout(3, fixed(8))),
    none(276, "tee"),
    none(277, "sync_file_range"),
    call(278, "vmsplice", keep(1, iovec(2))),
    call(279, "move_pages", in(2, special(Extent::kAddresses, 1)), in(3, argument(1, 4)),
         out(4, argument(1, 4))),
    call(280, "utimensat", path(1), in(2, fixed(2 * kTime))),
    by(Handler::kMaskedWait,
       call(281, "epoll_pwait", out(1, argument(2, kEpollEvent), Written::kResult),
            in(4, argument(5)))),
    by(Handler::kSignalfd, call(282, "signalfd", in(1, argument(2)))),
    none(283, "timerfd_create"),
    none(284, "eventfd"),
    none(285, "fallocate"),
    call(286, "timerfd_settime", in(2, fixed(kItimer)), out(3, fixed(kItimer))),
    call(287, "timerfd_gettime", out(1, fixed(kItimer))),
    call(288, "accept4", inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    by(Handler::kSignalfd, call(289, "signalfd4", in(1, argument(2)))),
    none(290, "eventfd2"),
    none(291, "epoll_create1"),
    none(292, "dup3"),
    call(293, "pipe2", out(0, fixed(8))),
    none(294, "inotify_init1"),
    call(295, "preadv", out(1, iovec(2), Written::kResult)),
    call(296, "pwritev", in(1, iovec(2))),
    call(297, "rt_tgsigqueueinfo", in(3, fixed(kSiginfo))),
    call(298, "perf_event_open", in(0, self_sized(0, 4))),
    call(299, "recvmmsg", out(1, special(Extent::kMessages, 2), Written::kResult),
         inout(4, fixed(kTime), Written::kPositive)),
    none(300, "fanotify_init"),
    call(301, "fanotify_mark", path(4)),
    call(302, "prlimit64", in(2, fixed(16)), out(3, fixed(16))),
    call(303, "name_to_handle_at", path(1), inout(2, self_sized(8, 0), Written::kAlways),
         out(3, fixed(4), Written::kAlways)),
    call(304, "open_by_handle_at", in(1, self_sized(8, 0))),
    call(305, "clock_adjtime", inout(1, fixed(kTimex))),
    none(306, "syncfs"),
    call(307, "sendmmsg", in(1, special(Extent::kMessages, 2))),
    none(308, "setns"),
    call(309, "getcpu", out(0, fixed(4)), out(1, fixed(4))),
    call(310, "process_vm_readv", out(1, iovec(2), Written::kResult),
         in(3, special(Extent::kRemote, 4))),
    call(311, "process_vm_writev", in(1, iovec(2)), in(3, special(Extent::kRemote, 4))),
    none(312, "kcmp"),
    call(313, "finit_module", path(1)),
    call(314, "sched_setattr", in(1, self_sized(0, 0))),
    call(315, "sched_getattr", out(1, argument(2))),
    call(316, "renameat2", path(1), path(3)),
    by(Handler::kSeccomp, call(317, "seccomp", unknown_at(2))),
    call(318, "getrandom", out(0, argument(1), Written::kResult)),
    call(319, "memfd_create", name(0)),
    call(320, "kexec_file_load", in(3, argument(2))),
    call(321, "bpf", inout(1, argument(2))),
    by(Handler::kExec, call(322, "execveat", path(1), unknown_at(2), unknown_at(3))),
    by(Handler::kNotThere, none(323, "userfaultfd")),
    none(324, "membarrier"),
    by(Handler::kMlock, none(325, "mlock2")),
    call(326, "copy_file_range", inout(1, fixed(8)), inout(3, fixed(8))),
    call(327, "preadv2", out(1, iovec(2), Written::kResult)),
    call(328, "pwritev2", in(1, iovec(2))),
    by(Handler::kMprotect, none(329, "pkey_mprotect")),
    none(330, "pkey_alloc"),
    none(331, "pkey_free"),
    call(332, "statx", path(1), out(4, fixed(256))),
    by(Handler::kMaskedWait,
       call(333, "io_pgetevents", out(3, argument(2, kIoEvent), Written::kResult),
            in(4, fixed(kTime)), in(5, special(Extent::kSigset)))),
    by(Handler::kRseq, call(334, "rseq", keep(0, argument(1)))),
    none(335, "uretprobe"),
    none(336, "uprobe"),
    call(424, "pidfd_send_signal", in(2, fixed(kSiginfo))),
    by(Handler::kNotThere, call(425, "io_uring_setup", inout(1, fixed(120)))),
    by(Handler::kNotThere, unknown(426, "io_uring_enter")),
    by(Handler::kNotThere, unknown(427, "io_uring_register")),
    call(428, "open_tree", path(1)),
    call(429, "move_mount", path(1), path(3)),
    call(430, "fsopen", name(0)),
    command(431, "fsconfig", 1, 3),
    none(432, "fsmount"),
    call(433, "fspick", path(1)),
    none(434, "pidfd_open"),
    by(Handler::kClone3, call(435, "clone3", in(0, argument(1)))),
    none(436, "close_range"),
    by(Handler::kOpen, call(437, "openat2", path(1), in(2, argument(3)))),
    none(438, "pidfd_getfd"),
    call(439, "faccessat2", path(1)),
    call(440, "process_madvise", in(1, argument(2, 16))),
    by(Handler::kMaskedWait,
       call(441, "epoll_pwait2", out(1, argument(2, kEpollEvent), Written::kResult),
            in(3, fixed(kTime)), in(4, argument(5)))),
    call(442, "mount_setattr", path(1), in(3, argument(4))),
    call(443, "quotactl_fd", unknown_at(3)),
    call(444, "landlock_create_ruleset", in(0, argument(1))),
    call(445, "landlock_add_rule", in(2, fixed(16))),
    none(446, "landlock_restrict_self"),
    none(447, "memfd_secret"),
    none(448, "process_mrelease"),
    by(Handler::kFutex, call(449, "futex_waitv", in(0, argument(1, 24)), in(3, fixed(kTime)))),
    none(450, "set_mempolicy_home_node"),
    call(451, "cachestat", in(1, fixed(16)), out(2, fixed(40))),
    call(452, "fchmodat2", path(1)),
    none(453, "map_shadow_stack"),
    by(Handler::kFutex, call(454, "futex_wake", keep(0, fixed(4)))),
    by(Handler::kFutex, call(455, "futex_wait", keep(0, fixed(4)), in(4, fixed(kTime)))),
    by(Handler::kFutex, call(456, "futex_requeue", in(0, fixed(48)))),
    call(457, "statmount", in(0, self_sized(0, 0)), out(1, argument(2))),
    call(458, "listmount", in(0, self_sized(0, 0)), out(1, argument(2, 8), Written::kResult)),
    call(459, "lsm_get_self_attr", inout(2, fixed(4)), out(1, length_at(2), Written::kLength)),
    call(460, "lsm_set_self_attr", in(1, argument(2))),
    call(461, "lsm_list_modules", inout(1, fixed(4)), out(0, length_at(1), Written::kLength)),
    by(Handler::kMseal, none(462, "mseal")),
    call(463, "setxattrat", path(1), name(3), in(4, special(Extent::kXattr, 5))),
    call(464, "getxattrat", path(1), name(3), in(4, special(Extent::kXattr, 5))),
    call(465, "listxattrat", path(1), out(3, argument(4), Written::kResult)),
    call(466, "removexattrat", path(1), name(3)),
    call(467, "open_tree_attr", path(1), in(3, argument(4))),
    call(468, "file_getattr", path(1), out(2, argument(3))),
    call(469, "file_setattr", path(1), in(2, argument(3))),
};

// ---- The commands, by syscall -------------------------------------------------------------------

constexpr CommandRule plain(uint16_t number, uint32_t command, const char* called) {
  return named(called, CommandRule{.number = number, .command = command});
}
template <typename... Rules>
constexpr CommandRule with(uint16_t number, uint32_t command, const char* called, Rules... rules) {
  return named(called, CommandRule{.number = number,
                                   .pointer_count = sizeof...(rules),
                                   .command = command,
                                   .pointers = {rules...}});
}

constexpr uint16_t kKeyctl = 250, kFsconfig = 431;
constexpr uint16_t kIoctl = 16, kShmctl = 31, kSemctl = 66, kMsgctl = 71, kFcntl = 72,
                   kPtrace = 101;
constexpr uint16_t kPrctl = 157, kArchPrctl = 158;
constexpr uint32_t kTermios = 36, kTermio = 18, kShmid = 112, kSemid = 104, kMsqid = 120;

constexpr CommandRule kCommandRows[] = {
    with(kIoctl, 0x1, "FIBMAP", inout(2, fixed(4))),
    with(kIoctl, 0x2, "FIGETBSZ", out(2, fixed(4))),
    with(kIoctl, 0x301, "HDIO_GETGEO", out(2, fixed(16))),
    with(kIoctl, 0x125D, "BLKROSET", in(2, fixed(4))),
    with(kIoctl, 0x125E, "BLKROGET", out(2, fixed(4))),
    plain(kIoctl, 0x125F, "BLKRRPART"),
    with(kIoctl, 0x1260, "BLKGETSIZE", out(2, fixed(8))),
    plain(kIoctl, 0x1261, "BLKFLSBUF"),
    plain(kIoctl, 0x1262, "BLKRASET"),
    with(kIoctl, 0x1263, "BLKRAGET", out(2, fixed(8))),
    with(kIoctl, 0x1267, "BLKSECTGET", out(2, fixed(2))),
    with(kIoctl, 0x1268, "BLKSSZGET", out(2, fixed(4))),
    with(kIoctl, 0x1269, "BLKPG", in(2, structure(24, inner(16, Direction::kIn, 8, 4)))),
    with(kIoctl, 0x1277, "BLKDISCARD", in(2, fixed(16))),
    with(kIoctl, 0x1278, "BLKIOMIN", out(2, fixed(4))),
    with(kIoctl, 0x1279, "BLKIOOPT", out(2, fixed(4))),
    with(kIoctl, 0x127A, "BLKALIGNOFF", out(2, fixed(4))),
    with(kIoctl, 0x127B, "BLKPBSZGET", out(2, fixed(4))),
    with(kIoctl, 0x127F, "BLKZEROOUT", in(2, fixed(16))),
    with(kIoctl, 0x2282, "SG_GET_VERSION_NUM", out(2, fixed(4))),
    with(kIoctl, 0x2285, "SG_IO",
         inout(2, structure(88, inner(16, Direction::kInOut, 12, 4),
                            inner(24, Direction::kIn, 8, 1), inner(32, Direction::kOut, 9, 1)))),
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
    with(kIoctl, 0x5403, "TCSETSW", in(2, fixed(kTermios))),
    with(kIoctl, 0x5404, "TCSETSF", in(2, fixed(kTermios))),
    with(kIoctl, 0x5405, "TCGETA", out(2, fixed(kTermio))),
    with(kIoctl, 0x5406, "TCSETA", in(2, fixed(kTermio))),
    with(kIoctl, 0x5407, "TCSETAW", in(2, fixed(kTermio))),
    with(kIoctl, 0x5408, "TCSETAF", in(2, fixed(kTermio))),
    plain(kIoctl, 0x5409, "TCSBRK"),
    plain(kIoctl, 0x540A, "TCXONC"),
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
    plain(kIoctl, 0x5425, "TCSBRKP"),
    plain(kIoctl, 0x5427, "TIOCSBRK"),
    plain(kIoctl, 0x5428, "TIOCCBRK"),
    with(kIoctl, 0x5429, "TIOCGSID", out(2, fixed(4))),
    plain(kIoctl, 0x5437, "TIOCVHANGUP"),
    plain(kIoctl, 0x5441, "TIOCGPTPEER"),
    plain(kIoctl, 0x5450, "FIONCLEX"),
    plain(kIoctl, 0x5451, "FIOCLEX"),
    with(kIoctl, 0x5452, "FIOASYNC", in(2, fixed(4))),
    with(kIoctl, 0x5460, "FIOQSIZE", out(2, fixed(8))),
    with(kIoctl, 0x5600, "VT_OPENQRY", out(2, fixed(4))),
    with(kIoctl, 0x5601, "VT_GETMODE", out(2, fixed(8))),
    with(kIoctl, 0x5602, "VT_SETMODE", in(2, fixed(8))),
    with(kIoctl, 0x5603, "VT_GETSTATE", out(2, fixed(6))),
    plain(kIoctl, 0x5605, "VT_RELDISP"),
    plain(kIoctl, 0x5606, "VT_ACTIVATE"),
    plain(kIoctl, 0x5607, "VT_WAITACTIVE"),
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
    with(kIoctl, 0x8942, "SIOCGIFTXQLEN", inout(2, fixed(kIfreq))),
    with(kIoctl, 0x400454CA, "TUNSETIFF", inout(2, fixed(kIfreq))),
    plain(kIoctl, 0x40049409, "FICLONE"),
    with(kIoctl, 0x40085203, "RNDADDENTROPY", in(2, counted(8, 4, 4, 1))),
    with(kIoctl, 0x40086602, "FS_IOC_SETFLAGS", in(2, fixed(4))),
    with(kIoctl, 0x40087602, "FS_IOC_SETVERSION", in(2, fixed(4))),
    with(kIoctl, 0x401054D5, "TUNATTACHFILTER",
         in(2, structure(16, inner(8, Direction::kIn, 0, 2, 8)))),
    with(kIoctl, 0x800454D2, "TUNGETIFF", out(2, fixed(kIfreq))),
    with(kIoctl, 0x80086601, "FS_IOC_GETFLAGS", out(2, fixed(4))),
    with(kIoctl, 0x80087601, "FS_IOC_GETVERSION", out(2, fixed(4))),
    with(kIoctl, 0xC0189436, "FIDEDUPERANGE", inout(2, counted(24, 16, 2, 32))),
    with(kIoctl, 0xC020660B, "FS_IOC_FIEMAP", inout(2, counted(32, 24, 4, 56))),

    plain(kShmctl, 0, "IPC_RMID"),
    with(kShmctl, 1, "IPC_SET", in(2, fixed(kShmid))),
    with(kShmctl, 2, "IPC_STAT", out(2, fixed(kShmid))),
    with(kShmctl, 3, "IPC_INFO", out(2, fixed(72))),
    plain(kShmctl, 11, "SHM_LOCK"),
    plain(kShmctl, 12, "SHM_UNLOCK"),
    with(kShmctl, 13, "SHM_STAT", out(2, fixed(kShmid))),
    with(kShmctl, 14, "SHM_INFO", out(2, fixed(48))),
    with(kShmctl, 15, "SHM_STAT_ANY", out(2, fixed(kShmid))),

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
    with(kFcntl, 7, "F_SETLKW", in(2, fixed(kFlock))),
    plain(kFcntl, 8, "F_SETOWN"),
    plain(kFcntl, 9, "F_GETOWN"),
    plain(kFcntl, 10, "F_SETSIG"),
    plain(kFcntl, 11, "F_GETSIG"),
    with(kFcntl, 15, "F_SETOWN_EX", in(2, fixed(8))),
    with(kFcntl, 16, "F_GETOWN_EX", out(2, fixed(8))),
    with(kFcntl, 17, "F_GETOWNER_UIDS", out(2, fixed(8))),
    with(kFcntl, 36, "F_OFD_GETLK", inout(2, fixed(kFlock))),
    with(kFcntl, 37, "F_OFD_SETLK", in(2, fixed(kFlock))),
    with(kFcntl, 38, "F_OFD_SETLKW", in(2, fixed(kFlock))),
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
    with(kPtrace, 0x420E, "PTRACE_GET_SYSCALL_INFO", out(3, argument(2), Written::kResult)),

    plain(kPrctl, 1, "PR_SET_PDEATHSIG"),
    with(kPrctl, 2, "PR_GET_PDEATHSIG", out(1, fixed(4))),
    plain(kPrctl, 3, "PR_GET_DUMPABLE"),
    plain(kPrctl, 4, "PR_SET_DUMPABLE"),
    plain(kPrctl, 7, "PR_GET_KEEPCAPS"),
    plain(kPrctl, 8, "PR_SET_KEEPCAPS"),
    with(kPrctl, 15, "PR_SET_NAME", text(1, 16)),
    with(kPrctl, 16, "PR_GET_NAME", out(1, fixed(16))),
    plain(kPrctl, 21, "PR_GET_SECCOMP"),
    plain(kPrctl, 22, "PR_SET_SECCOMP"),
    plain(kPrctl, 23, "PR_CAPBSET_READ"),
    plain(kPrctl, 24, "PR_CAPBSET_DROP"),
    with(kPrctl, 25, "PR_GET_TSC", out(1, fixed(4))),
    plain(kPrctl, 26, "PR_SET_TSC"),
    plain(kPrctl, 27, "PR_GET_SECUREBITS"),
    plain(kPrctl, 28, "PR_SET_SECUREBITS"),
    plain(kPrctl, 29, "PR_SET_TIMERSLACK"),
    plain(kPrctl, 30, "PR_GET_TIMERSLACK"),
    plain(kPrctl, 36, "PR_SET_CHILD_SUBREAPER"),
    with(kPrctl, 37, "PR_GET_CHILD_SUBREAPER", out(1, fixed(4))),
    plain(kPrctl, 38, "PR_SET_NO_NEW_PRIVS"),
    plain(kPrctl, 39, "PR_GET_NO_NEW_PRIVS"),
    with(kPrctl, 40, "PR_GET_TID_ADDRESS", out(1, fixed(8))),
    plain(kPrctl, 41, "PR_SET_THP_DISABLE"),
    plain(kPrctl, 42, "PR_GET_THP_DISABLE"),
    plain(kPrctl, 47, "PR_CAP_AMBIENT"),
    with(kPrctl, 0x41555856, "PR_GET_AUXV", out(1, argument(2), Written::kResult)),
    with(kPrctl, 0x53564D41, "PR_SET_VMA", text(4, 80)),

    plain(kArchPrctl, 0x1001, "ARCH_SET_GS"),
    plain(kArchPrctl, 0x1002, "ARCH_SET_FS"),
    with(kArchPrctl, 0x1003, "ARCH_GET_FS", out(1, fixed(8))),
    with(kArchPrctl, 0x1004, "ARCH_GET_GS", out(1, fixed(8))),
    plain(kArchPrctl, 0x1011, "ARCH_GET_CPUID"),
    plain(kArchPrctl, 0x1012, "ARCH_SET_CPUID"),

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
    with(kKeyctl, 31, "KEYCTL_CAPABILITIES", out(1, argument(2), Written::kResult)),
    plain(kKeyctl, 32, "KEYCTL_WATCH_KEY"),

    with(kFsconfig, 0, "FSCONFIG_SET_FLAG", name(2)),
    with(kFsconfig, 1, "FSCONFIG_SET_STRING", name(2), path(3)),
    with(kFsconfig, 2, "FSCONFIG_SET_BINARY", name(2), in(3, argument(4))),
    with(kFsconfig, 3, "FSCONFIG_SET_PATH", name(2), path(3)),
    with(kFsconfig, 4, "FSCONFIG_SET_PATH_EMPTY", name(2), path(3)),
    with(kFsconfig, 5, "FSCONFIG_SET_FD", name(2)),
    plain(kFsconfig, 6, "FSCONFIG_CMD_CREATE"),
    plain(kFsconfig, 7, "FSCONFIG_CMD_RECONFIGURE"),
    plain(kFsconfig, 8, "FSCONFIG_CMD_CREATE_EXCL"),
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
  uint32_t low = 0, high = kCommandCount;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    const CommandRule& row = kCommandRows[middle];
    if (row.number == number && row.command == command) return &row;
    if (row.number < number || (row.number == number && row.command < command))
      low = middle + 1;
    else
      high = middle;
  }
  return nullptr;
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
