// The one table of syscalls: what each is called, who answers it, what it reads and writes of the
// memory its arguments point to, what a replay does with it, and whether it can wait. The agent's
// dispatch and translation (agent/kernel/), the names that `shmrec dump` prints and
// docs/syscalls.md come from it; replay_rule.h and written.h say what the rows mean for one call.
//
// A row says, per pointer argument: direction, how many bytes (Extent), and how many of them the
// kernel has written when the call returns (Written). Where the meaning depends on a command
// (ioctl, fcntl, shmctl...), the row names the argument that holds it and the pointers are in a row
// of the command table. What cannot be said this way has an Extent of its own with a hand-written
// walk.
//
// Context: freestanding and host; nothing but <stdint.h>. Sizes are those of the x86-64 kernel ABI.
#pragma once

#include <stdint.h>

namespace shmrec::syscalls {

enum class Direction : uint8_t {
  kIn,     // the kernel reads
  kOut,    // the kernel writes
  kInOut,  // both
  kKeep,   // the kernel uses the address itself, possibly after the call: it needs the real memory
};         // (it may also have Written)

enum class Extent : uint8_t {
  kFixed,       // base bytes
  kArgument,    // base + args[count] * unit bytes
  kPages,       // a byte for each page of args[count] bytes
  kBits,        // a set of args[count] bits, in 8-byte words
  kString,      // up to and with a NUL, at most base bytes
  kLengthAt,    // as many bytes (or units) as the 32-bit word `field` bytes behind args[count] says
  kSelfSized,   // base + the 32-bit word at offset `field` of the memory itself
  kCounted,     // base + unit * the number in `field_bytes` at offset `field` of the memory itself
  kIoctl,       // as the command's number encodes
  kStructure,   // base bytes, with the pointers that `inner` describes
  kIovec,       // args[count] struct iovec, and what they describe
  kMessage,     // struct msghdr, and what it points to
  kMessages,    // args[count] struct mmsghdr
  kRemote,      // args[count] struct iovec that describe memory of the process args[0]
  kAddresses,   // args[count] addresses in the process args[0] (0: the caller)
  kSigset,      // {const sigset_t*, size_t}, as pselect6 takes it
  kOneIovec,    // one struct iovec, whose length the kernel updates
  kSemaphores,  // an unsigned short for each semaphore of the set args[0]
  kXattr,       // struct xattr_args, whose value the kernel reads or writes
  kUnknown,     // something, not described
};

enum class Written : uint8_t {
  kAll,          // all of it, if the call succeeds
  kResult,       // base + result * unit bytes, at most the extent
  kPositive,     // all of it, if the result is positive
  kLength,       // what the word at args[count] then says, at most the extent
  kFields,       // only `field_bytes` at offset `field` of every `unit` bytes, if the call succeeds
                 // or is interrupted
  kInterrupted,  // all of it, if the call was interrupted
  kAlways,       // all of it, also if the call fails
  kFlagged,      // all of it, also if the call fails, if args[count] has a bit of `unit`
  kOnError,      // `field_bytes` at offset `field`, if the result is the error `unit`
  kNothing,
};

// A pointer within a structure: where it lies there, and how far it reaches: `unit` times a number
// that lies in the structure too, or `unit` bytes if length_bytes is 0.
struct InnerRule {
  uint8_t offset;
  Direction direction;
  uint8_t length_offset;
  uint8_t length_bytes;
  uint32_t unit;
};
constexpr uint32_t kMaxInner = 3;

struct PointerRule {
  uint8_t argument = 0;
  Direction direction = Direction::kIn;
  Extent extent = Extent::kFixed;
  Written written = Written::kNothing;
  uint8_t count = 0;  // the argument that counts
  uint8_t field = 0;
  uint8_t field_bytes = 0;
  uint32_t base = 0;
  uint32_t unit = 0;
  uint32_t inner_count = 0;
  InnerRule inner[kMaxInner] = {};
};

// How much is said about a syscall.
enum class Knowledge : uint8_t {
  kUnused,      // no such syscall
  kNoPointers,  // takes no pointers
  kPointers,    // described by its rules
  kCommand,     // described by the command table
  kUnknown,     // takes pointers that are not described
};

// What kind of thing a syscall is, for the recorder and for who reads about it.
enum class SyscallClass : uint8_t {
  kMemory,  // at most reads and writes memory: passed on, with pointers into traced memory replaced
  kMaps,    // changes mappings, or says something about a range of them
  kLife,    // makes or ends processes, threads, images; their identity
  kSignals,  // signal state
  kFutex,    // waits and wakes on words of memory
  kRefused,  // answered with ENOSYS
};

// X(name in the table, class, function of the agent). The agent's dispatch is made from this list,
// so that a row cannot name what does not exist, nor a handler be without a class.
#define SHMREC_SYSCALL_HANDLERS(X)               \
  X(kMemory, kMemory, kernel_access)             \
  X(kMmap, kMaps, do_mmap)                       \
  X(kMunmap, kMaps, do_munmap)                   \
  X(kMremap, kMaps, do_mremap)                   \
  X(kMprotect, kMaps, do_mprotect)               \
  X(kMadvise, kMaps, do_madvise)                 \
  X(kRemapFilePages, kMaps, do_remap_file_pages) \
  X(kMlock, kMaps, do_mlock)                     \
  X(kMlockall, kMaps, do_mlockall)               \
  X(kMunlockall, kMaps, do_munlockall)           \
  X(kBrk, kMaps, do_brk)                         \
  X(kMbind, kMaps, do_mbind)                     \
  X(kMseal, kMaps, do_mseal)                     \
  X(kOpen, kMaps, do_open)                       \
  X(kShmat, kMaps, do_shmat)                     \
  X(kShmdt, kMaps, do_shmdt)                     \
  X(kShmctl, kMaps, do_shmctl)                   \
  X(kClone, kLife, do_clone)                     \
  X(kClone3, kLife, do_clone3)                   \
  X(kExec, kLife, do_exec)                       \
  X(kExit, kLife, do_exit)                       \
  X(kWait4, kLife, do_wait4)                     \
  X(kWaitid, kLife, do_waitid)                   \
  X(kGetppid, kLife, do_getppid)                 \
  X(kFcntl, kLife, do_fcntl)                     \
  X(kArchPrctl, kLife, do_arch_prctl)            \
  X(kPtrace, kLife, do_ptrace)                   \
  X(kPrctl, kLife, do_prctl)                     \
  X(kSetRobustList, kLife, do_set_robust_list)   \
  X(kSetTidAddress, kLife, do_set_tid_address)   \
  X(kRseq, kLife, do_rseq)                       \
  X(kSeccomp, kLife, do_seccomp)                 \
  X(kSigaction, kSignals, do_sigaction)          \
  X(kSigprocmask, kSignals, do_sigprocmask)      \
  X(kSigaltstack, kSignals, do_sigaltstack)      \
  X(kSigreturn, kSignals, do_sigreturn)          \
  X(kSigpending, kSignals, do_sigpending)        \
  X(kSigtimedwait, kSignals, do_sigtimedwait)    \
  X(kSignalfd, kSignals, do_signalfd)            \
  X(kMaskedWait, kSignals, do_masked_wait)       \
  X(kFutex, kFutex, do_futex)                    \
  X(kIoSubmit, kMemory, do_io_submit)            \
  X(kNotThere, kRefused, not_there)

enum class Handler : uint8_t {
#define SHMREC_NAME(name, kind, function) name,
  SHMREC_SYSCALL_HANDLERS(SHMREC_NAME)
#undef SHMREC_NAME
};

// What a replay does with a call. The program gets the recorded result and memory in any case.
enum class Replay : uint8_t {
  kEmulate,  // it is not made: all that it did to the program is in the recording
  kAgain,    // it is made as the program makes it, for what it does to the address space, or to
             // registers and signal state, which the agent keeps. Also one that failed: mprotect
             // leaves the part done that lies before what it failed at.
  kChanged,  // it is made with other arguments (mmap: where the recorded one was put, of what the
             // recording has kept), or by other means (brk, threads, exec, exit). What failed is
             // not made.
  kEnds,     // it cannot be replayed: the recording is replayable up to here, unless the call did
             // nothing (ends_replay)
};

// Why a recording can no longer be replayed.
enum class EndReason : uint8_t {
  kNone,
  kUndescribed,     // the kernel may have written memory that is not described
  kUnknownCommand,  // nobody knows what the command does
  kWritesLater,     // the kernel writes memory after the call
  kOwnAccess,       // io_uring
  kUserFaults,      // userfaultfd
  kMaps,            // memory that others write, or that a replay cannot have: devices, 32-bit vDSO
  kPorts,           // iopl, ioperm
  kShadowStack,
};

// What a call can wait for, so that others must be able to run meanwhile.
enum class Waits : uint8_t {
  kNever,   // for nothing, or for as long as the kernel itself needs
  kFiles,   // for a file system or device at most; so for another thread only if that serves the
            // file system (FUSE), and for a peer only where a descriptor lingers when it is closed
  kOthers,  // for another thread, another process, a peer, a signal, or time
};

// When a call waits for what its row says; else for what `waits_else` says.
enum class WaitTest : uint8_t { kAlways, kUnlessFlags, kIfFlags, kUnlessZero };

// What a syscall does to the content of the files that its descriptors (or its path) lead to, or to
// another process's memory: without a pointer into mapped memory, but mapped memory it is.
enum class FileUse : uint8_t {
  kNone,
  kRead,         // into memory: args[1], args[2] bytes or vectors
  kWrite,        // from there
  kCopy,         // from in_argument to out_argument
  kSize,         // sets it
  kAllocate,     // fallocate
  kClone,        // ioctl FICLONE, FICLONERANGE
  kOpen,         // O_TRUNC empties it
  kRemoteRead,   // process_vm_readv
  kRemoteWrite,  // process_vm_writev
  kRemoteWord,   // ptrace: peeks and pokes
};

struct FileRule {
  uint16_t number;
  FileUse use = FileUse::kNone;
  bool vectors = false;           // kRead, kWrite: args[2] struct iovec
  uint8_t position_argument = 0;  // where in the file; 0: where the descriptor is
  uint8_t flags_argument = 0;     // RWF_*; 0: none
  uint8_t in_argument = 0;        // kCopy
  uint8_t in_position = 0;        // pointer to the position, which may be null; 0: none
  uint8_t out_argument = 0;
  uint8_t out_position = 0;
  uint8_t count_argument = 0;
};

// What the syscall does to the names and the size of a file.
enum class NameUse : uint8_t {
  kUnlink,  // takes the name `from`
  kLink,    // gives the file `from` the name `to`
  kRename,  // both
  kSize,    // changes the size of `from`
};

// Arguments by position: paths, and the directories that they begin in.
struct NameRule {
  static constexpr uint8_t kNone = 255;
  uint16_t number;
  NameUse use;
  uint8_t from = kNone;  // kNone: from_directory is the file itself
  uint8_t to = kNone;
  uint8_t from_directory = kNone;  // kNone: the current one
  uint8_t to_directory = kNone;
  uint8_t flags = kNone;
};

constexpr uint32_t kMaxPointers = 5;
constexpr uint8_t kNoArgument = 255;

// The rows have no pointers: else all of the table would be written to, word by word, whenever it
// is loaded.
constexpr uint32_t kMaxNameBytes = 28;  // with its NUL

struct SyscallRule {
  uint16_t number;
  Knowledge knowledge;
  Handler handler;
  uint8_t command_argument;      // kCommand: which argument is the command; else kNoArgument
  uint8_t pointer_argument = 0;  // kCommand: which is the pointer where a command is not described
  uint8_t pointer_count = 0;
  uint8_t argument_count = 0;  // of the six registers, how many the kernel looks at
  // A syscall whose replay, waiting or writing depends on an argument has command rows too: that of
  // args[selector] & selector_mask (or of this and args[selector_high] << 16) says how it is
  // replayed, whether it waits, and what it does with its pointers (for_each_pointer). Without such
  // a row the syscall's own holds. For kCommand it is the command.
  uint8_t selector = kNoArgument;
  uint8_t selector_high = kNoArgument;
  uint32_t selector_mask = 0xFFFFFFFF;
  Replay replay = Replay::kEmulate;
  EndReason reason = EndReason::kNone;
  Waits waits = Waits::kNever;
  Waits waits_else = Waits::kNever;
  WaitTest wait_test = WaitTest::kAlways;
  uint8_t wait_argument = 0;  // what wait_test looks at
  uint32_t wait_flags = 0;
  char name[kMaxNameBytes] = {};
  PointerRule pointers[kMaxPointers] = {};
};

constexpr uint32_t kMaxCommandPointers = 4;

struct CommandRule {
  uint16_t number;            // of the syscall
  uint8_t pointer_count = 0;  // 0: this command takes no pointer
  Replay replay = Replay::kEmulate;
  EndReason reason = EndReason::kNone;
  Waits waits = Waits::kNever;
  uint32_t command;
  char name[kMaxNameBytes] = {};
  PointerRule pointers[kMaxCommandPointers] = {};
};

// The class of what `handler` answers.
SyscallClass class_of(Handler handler);
// "memory", "maps"...
const char* class_name(SyscallClass which);

// The row of a syscall; null if there is no such syscall.
const SyscallRule* syscall_rule(uint32_t number);
// The row of a command of a syscall; null if it is not described. Commands of ioctl that encode
// their direction and size need no row.
const CommandRule* command_rule(uint32_t number, uint32_t command);
// That of the command which these arguments select; null if they select none, or one without a row.
const CommandRule* selected_rule(const SyscallRule& rule, const uint64_t* args);
// The rule for an ioctl command that encodes direction and size. False: it does not.
bool ioctl_rule(uint32_t command, PointerRule* rule);

// Can it write memory of the program, whatever its arguments are? No is sure.
bool may_write(uint32_t number);
// Does it take lengths or pointers from memory that it may overwrite?
bool overwrites_lengths(uint32_t number);
// Does memory say how far the pointer reaches, or where one within it leads?
constexpr bool reach_in_memory(const PointerRule& rule) {
  return rule.extent == Extent::kLengthAt || rule.extent == Extent::kSelfSized ||
         rule.extent == Extent::kCounted || rule.inner_count;
}
// Can the kernel write memory by this pointer, or by one within what it leads to?
constexpr bool writes(const PointerRule& rule) {
  // The length of each message that was sent; vectors of another process, if it is the caller.
  if (rule.extent == Extent::kMessages || rule.extent == Extent::kRemote) return true;
  for (uint32_t i = 0; i < rule.inner_count; ++i)
    if (rule.inner[i].direction == Direction::kOut || rule.inner[i].direction == Direction::kInOut)
      return true;
  return rule.written != Written::kNothing;
}

// Calls visit(rule, index) for the pointers of a call by its row and its command's, if it has one:
// these, and the row's about other arguments. The index is below kMaxCallPointers.
constexpr uint32_t kMaxCallPointers = kMaxPointers + kMaxCommandPointers;
template <typename Visit>
void for_each_pointer(const SyscallRule& row, const CommandRule* command, const Visit& visit) {
  const auto told_by_command = [command](uint8_t argument) {
    for (uint32_t i = 0; command && i < command->pointer_count; ++i)
      if (command->pointers[i].argument == argument) return true;
    return false;
  };
  for (uint32_t i = 0; i < row.pointer_count; ++i)
    if (!told_by_command(row.pointers[i].argument)) visit(row.pointers[i], i);
  for (uint32_t i = 0; command && i < command->pointer_count; ++i)
    visit(command->pointers[i], kMaxPointers + i);
}

// What the syscall does to files; null: nothing to their content.
const FileRule* file_rule(uint32_t number);

// What it does to their names and sizes; null: nothing.
const NameRule* name_rule(uint32_t number);

// "read"; null if there is no such syscall.
const char* syscall_name(uint32_t number);

struct SyscallRows {
  const SyscallRule* begin_;
  const SyscallRule* end_;
  const SyscallRule* begin() const { return begin_; }
  const SyscallRule* end() const { return end_; }
};
struct CommandRows {
  const CommandRule* begin_;
  const CommandRule* end_;
  const CommandRule* begin() const { return begin_; }
  const CommandRule* end() const { return end_; }
};
// All rows, by ascending number.
SyscallRows syscall_rows();
CommandRows command_rows();

}  // namespace shmrec::syscalls
