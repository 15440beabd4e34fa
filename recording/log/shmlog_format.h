// The shared-memory log (*.shmlog): one file per run, mapped by the launcher and by every recorded
// process at once. This header is its ABI; docs/shmlog_format.md describes the same bytes in words.
//
// Context: included by the freestanding agent and by the host side, so it uses nothing but
// <stdint.h>. Endianness: little. All structures are naturally aligned, sizes are asserted. Trust:
// the recorded program can write all of it. Readers copy a field once, check it, then use it.
//
// Invariants
//  1. The file has its full size, all blocks allocated, before the first process maps it: a store
//     into it never fails for lack of space.
//  2. At every moment the file opens: whatever was committed by a process that is killed stays
//     readable. A word named `commit` or `state` is the last one written of its structure.
//  3. A stripe's version counts the recorded writes to its lines. Under the stripe's lock a writer
//     stores to the segment, then releases the stripe with version + 1.
//  4. Chunks belong to one lane (thread) at a time; a chunk's records are in program order. A lane
//     that makes no accesses may lose its chunk to another.
#pragma once

#include <stdint.h>

namespace shmrec::shmlog {

inline constexpr char kMagic[8] = {'S', 'H', 'M', 'R', 'L', 'O', 'G', '1'};
inline constexpr uint32_t kVersion = 7;
inline constexpr uint32_t kOldestVersion = 1;      // that readers of finished logs still open
inline constexpr uint32_t kLineBytes = 64;         // a line is the unit of order
inline constexpr uint32_t kMaxAccessBytes = 4096;  // longer accesses are split into several records
inline constexpr uint32_t kChunkBytes = 64 * 1024;  // header included
inline constexpr uint32_t kJournalUnitBytes = 16;

// ---- File header: first 4096 bytes -------------------------------------------------------------

// A table inside the file: `count` entries of `entry_bytes` from file offset `offset`.
struct Area {
  uint64_t offset;
  uint32_t count;
  uint32_t entry_bytes;
};

// Why something was not recorded; counted in Header::losses and named in the coverage list.
enum class Loss : uint32_t {
  kRecordsOverwritten = 0,  // records discarded with the oldest chunks
  kChunksOverwritten,       // chunks discarded because the log was full
  kRecordsDropped,          // accesses performed but not logged: no chunk could be had
  kJournalDropped,        // journal entries given up though something living or a record needs them
  kProcessesDropped,      // processes that ran unrecorded: process table full of such as are needed
  kLanesDropped,          // threads that ran unrecorded: lane table full
  kSegmentsDropped,       // segments left untraced: segment table full
  kUsageDropped,          // usage counters that did not fit
  kStripesStolen,         // stripes taken from an owner that was alive but did not move
  kStripesRecovered,      // stripes taken over from a dead owner
  kJournalOverwritten,    // journal entries that nothing needs any more, overwritten
  kProcessesOverwritten,  // entries of ended processes without records, used again
  kUsageOverwritten,      // counters of such processes, or of forgotten segments, used again
  kSegmentsOverwritten,   // entries of segments that nobody maps, used again: records of them may
                          // be left, whose segment has no name any more
  kCount
};

inline constexpr uint32_t kJournalSaid = 128;

// What became of instructions that could be jumps (agent/patches/patch.h), counted over the run in
// Header::patches: once in each process that patches one, not in those that are forked from it.
enum class PatchCount : uint32_t {
  kDirect = 0,  // accesses: the jump fits the instruction
  kRelocated,   // the instructions behind it moved too
  kPunned,      // the jump shares its last bytes with them
  kCalls,       // system calls
  kRoutines,    // of libc, which are performed as a whole
  kLeft,        // accesses that cannot be patched, and fault each time
  kPutBack,     // patches that were undone
  kStrays,      // jumps of the program into what a patch had overwritten
  kCount
};

struct Header {
  char magic[8];          // kMagic, written last at creation
  uint32_t version;       // kVersion
  uint32_t header_bytes;  // sizeof(Header)
  uint64_t file_bytes;
  uint64_t run_id;  // random, same in the bundle's manifest
  // Clock: tsc at creation and the two wall clocks read beside it. tsc_hz is measured by the
  // creator, who may write a better value as time passes.
  uint64_t start_tsc;
  uint64_t start_realtime_ns;
  uint64_t start_monotonic_ns;
  uint64_t tsc_hz;
  Area rules;                 // PolicyRule
  Area stripes;               // uint64_t, count is a power of two
  Area processes;             // ProcessEntry, by table_slot(); entry 0 is never used
  Area lanes;                 // LaneEntry; entry 0 is never used
  Area segments;              // SegmentEntry, by table_slot(); entry 0 is never used
  Area usage;                 // UsageEntry; entry 0 is never used
  Area journal;               // units of kJournalUnitBytes
  Area chunks;                // kChunkBytes each
  uint32_t default_mode;      // SegmentMode when no rule matches
  uint32_t default_order;     // Order when no rule matches
  uint32_t failure_closed;    // 1: refuse what cannot be recorded
  uint32_t slow;              // 1: no instruction is patched, each access faults (run --slow)
  char build[32];             // shmrec version that created the file, NUL padded
  uint32_t default_accesses;  // Accesses when no rule matches
  uint32_t max_slowdown;      // limits.maxSlowdown in thousandths, 0: no brake

  // Below: changed while the run goes on, each by atomic instructions. Own cache lines.
  alignas(64) uint64_t next_ticket;  // chunk tickets handed out
  uint32_t chunks_scarce;  // 1: somebody found all chunks busy: none is kept between accesses
  alignas(64) uint64_t journal_units;  // head: units handed out; place `mod journal.count`
  uint64_t journal_tail;               // what lies before is given up, or written again further on
  uint64_t journal_lock;               // of who appends: lock_word_taken()
  uint64_t table_lock;                 // of who enters something into a table
  alignas(64) uint32_t next_process;   // numbers handed out + 1; also those passed over
  uint32_t next_lane;
  uint32_t next_segment;  // as next_process
  uint32_t next_usage;
  uint32_t swept_segment;  // next_segment when it was last looked which segments nobody maps
  uint32_t robust_held;    // number of robust futexes held in traced memory by all lanes
  uint32_t closed;         // 1: the launcher finished the run in order
  uint32_t launcher_pid;
  uint32_t promotions;  // how often a segment was promoted, or its brake changed: processes compare
                        // it at each syscall
  alignas(64) uint64_t losses[static_cast<uint32_t>(Loss::kCount)];
  // Hashes of what kCoverage entries say that are kept of processes of which nothing else is left.
  alignas(64) uint64_t journal_said[kJournalSaid];
  alignas(64) uint64_t patches[static_cast<uint32_t>(PatchCount::kCount)];  // 0 before version 7
};
static_assert(sizeof(Header) <= 4096);

// A lock's word: bits 0..31 its holder, 0: free | bits 32..63 how often it was taken, modulo 2^32.
// The holder: pid in bits 0..21 (the kernel gives no larger ones), the low bits of its PID
// namespace above: enough not to take the living of another container for the dead of one's own.
inline constexpr uint32_t kLockPidBits = 22;
inline constexpr uint32_t lock_holder_word(uint64_t pid_namespace, uint32_t pid) {
  return static_cast<uint32_t>(pid_namespace) << kLockPidBits | (pid & ((1u << kLockPidBits) - 1));
}
inline constexpr uint32_t lock_holder(uint64_t word) { return static_cast<uint32_t>(word); }
inline constexpr uint64_t lock_word_free(uint64_t word) { return word >> 32 << 32; }
inline constexpr uint64_t lock_word_taken(uint64_t word, uint32_t holder) {
  return (lock_word_free(word) + (uint64_t{1} << 32)) | holder;
}

// ---- Policy, compiled by the launcher, evaluated by the agent when a segment is first mapped ----

enum class SegmentKind : uint32_t { kAnonymous = 1, kPosixShm, kMemfd, kSysV, kFile };
enum class SegmentMode : uint32_t { kTrace = 1, kShadow, kIgnore, kDeny };
enum class Order : uint32_t { kExact = 1, kRelaxed };
// Which accesses to a segment with mode kTrace are logged. With kWrites what only reads is made on
// the program's own mapping, and is neither logged nor counted; an operation that reads and writes
// is logged with what it read. 0 before version 6.
enum class Accesses : uint16_t { kAll = 0, kWrites };

// First rule that matches wins. A rule matches if the segment's kind is in `kinds` and every given
// pattern matches: `name` against the segment's name (SegmentEntry::name), `executable` against the
// process's executable path. Patterns: '*' any run of characters but '/', '**' any run, '?' one
// character but '/'; [abc], [a-z], [!a] one character of a set; backslash quotes. Empty: matches
// all.
struct PolicyRule {
  uint32_t kinds;     // bit (1 << SegmentKind)
  uint32_t mode;      // SegmentMode
  uint32_t order;     // Order
  uint16_t has_key;   // 1: SysV key must equal `key`
  uint16_t accesses;  // Accesses
  int32_t key;
  uint32_t line;   // line in the policy file, for messages; 0 if none
  char name[232];  // NUL-terminated
  char executable[256];
};
static_assert(sizeof(PolicyRule) == 512);

// ---- Tables ------------------------------------------------------------------------------------

// An entry's life: kFree -> kClaimed (being filled) -> kLive -> kEnded. Only the owner moves it,
// but for kLive -> kEnded, which whoever finds the owner dead may do too.
enum class EntryState : uint32_t { kFree = 0, kClaimed, kLive, kEnded };

enum class StartKind : uint32_t { kExec = 1, kFork, kApi, kVfork };

// One recording: a process image's history. Its ID prints as %08x-%04x of (id_high, id_low). It has
// a number that no other recording of the run has: what names a process in this file names that. An
// entry is used again when its process has ended and no record of it is in the log any more;
// `number` tells whose it is.
struct ProcessEntry {
  uint32_t state;  // EntryState
  uint32_t id_high;
  uint32_t id_low;  // 16 bits used
  int32_t pid;      // in the process's own pid namespace
  int32_t parent_pid;
  uint32_t parent;      // process entry this one was forked or exec'd from, 0 if unknown
  uint32_t start_kind;  // StartKind
  int32_t exit_status;  // wait status as waitpid gives it; valid if exit_known
  uint32_t exit_known;  // 1: the process said how it ends (exit, fatal signal); 2: by execve, which
                        // has succeeded if the entry has ended
  uint32_t degraded;    // DegradedReason, 0 while recorded in full
  uint64_t start_tsc;
  uint64_t end_tsc;
  uint64_t events;    // events so far; the event number of the newest access
  uint64_t accesses;  // records written
  char name[32];      // comm: the executable's base name, or what the main thread set; NUL padded
  uint64_t
      agent_base;  // where the agent's zone begins in the process's address space, 0 if unknown
  uint64_t pid_namespace;  // inode of /proc/self/ns/pid, 0 if unknown: what `pid` and `parent_pid`
                           // count in
  uint32_t number;         // of the recording; 0 before version 3: the entry's place
  uint32_t pointer_look;   // number of its newest kPointers, 0: none
  uint64_t last_ticket;    // ticket + 1 of its newest chunk, 0: none
  uint64_t checkpoint;     // journal place from which all its maps are listed again, 0: none
  uint64_t checkpoint_ticket;  // last_ticket when that was written
  uint64_t maps_from;          // journal place: of its maps before, some were given up
};
static_assert(sizeof(ProcessEntry) == 160);

// Where the entry of `number` is, in a table of `count` entries that are used again.
inline constexpr uint32_t table_slot(uint32_t number, uint32_t count) {
  return 1 + (number - 1) % (count - 1);
}

// Why a process went on unrecorded from some point; kept in ProcessEntry and journal (kCoverage).
enum class DegradedReason : uint32_t {
  kNone = 0,
  kLauncherGone,  // exec'd after the launcher died
  kNoPermission,  // the launcher may not trace the new image
  kTablesFull,
  kUsesGs,       // the program uses the gs base itself
  kAgentFault,   // a fault inside the agent
  kStopped,      // shmrec_stop
  kNotX86_64,    // 32-bit code
  kNoDispatch,   // Syscall User Dispatch was refused: by the kernel or a seccomp profile
  kInstruction,  // an instruction that the agent cannot perform touched traced memory
  kManySites,    // no loss: instructions are decoded again and again
  kSeccomp,      // the program's own seccomp filter refuses what recording needs
  kCall32,       // a system call by the 32-bit table that cannot be followed
  kTraced,       // a debugger of the workload's own traces it
};

inline constexpr uint32_t kRobustSlots = 12;

// One thread of a recorded process, from its first traced access to its end. Entries are reused
// after the thread is known dead and its stripes are recovered. Liveness: `launcher` is
// kLauncherGone, or, for those in the same PID namespace, tgkill(pid, tid, 0) gives ESRCH or the
// pidfd of pid polls readable. Containers that share a log do not see each other's processes: a
// launcher there finds that another is gone with all that it started, by the lock of
// kLauncherLocks, and says so in their lanes.
inline constexpr uint32_t kLauncherGone = UINT32_MAX;
// A launcher holds an open-file-description lock on the byte kLauncherLocks + its number of the
// log. The byte is beyond all content; processes that map this opening of the file keep the lock.
inline constexpr uint64_t kLauncherLocks = uint64_t{1} << 62;
struct LaneEntry {
  uint32_t state;  // EntryState
  uint32_t process;
  int32_t pid;
  int32_t tid;
  alignas(8) uint32_t pid_namespace;  // inode of /proc/self/ns/pid, 0 if unknown
  uint32_t
      launcher;    // number of the launcher, 0 if none, kLauncherGone; changed with pid_namespace
  uint32_t chunk;  // current chunk index + 1, 0 if none
  uint32_t reserved0;
  // The access in flight: file offset of its record (0: none) and what it needs for recovery.
  uint64_t record;
  uint32_t held[2];  // stripe index + 1 that is or is about to be locked
  uint32_t reserved1;
  uint32_t robust_count;  // slots in use
  struct RobustFutex {    // robust mutexes this thread holds in traced memory
    uint32_t segment;     // 0: empty slot
    uint32_t reserved0;
    uint64_t offset;
  } robust[kRobustSlots];
};
static_assert(sizeof(LaneEntry) == 56 + 16 * kRobustSlots);

// Whether the accesses to a segment with mode kTrace are logged. A file that nobody in the run can
// have written yet is left to be read natively, until somebody maps it writable or writes to it by
// a descriptor: then it is promoted, for good, and its readers join at their next syscall or
// access.
enum class Tracing : uint32_t { kTraced = 0, kNative };

// How much less of a segment is recorded for the time being than the policy says, because it costs
// too much (Header::max_slowdown): only what writes; only what writes to some of its pages, others
// every second. A process follows at its next event, and says so in the journal (kBrake).
enum class BrakeLevel : uint32_t { kOff = 0, kWrites, kSampled };
// SegmentEntry::brake:
//   bits 0..1    BrakeLevel
//   bit 2        the last change was a release
//   bits 3..7    doublings of how long it holds: how often it was released too soon
//   bits 8..63   TSC / 256 of the last change, or of when it last was too busy to be released
inline constexpr BrakeLevel brake_level(uint64_t word) { return static_cast<BrakeLevel>(word & 3); }

inline constexpr uint32_t kCreatorPcs = 6;
inline constexpr uint32_t kSegmentTold = 6;  // of names, and of what happened to it, each

// One shared memory object. (device, inode, generation, handle) is its identity, however it was
// reached; offsets count from its start. `kind` and `name` are those of the first mapping. `number`
// names it in this file. An entry whose segment no living process maps is kEnded, live again when
// the segment is mapped again, and used for another segment when the table is full.
struct SegmentEntry {
  uint32_t state;  // EntryState
  uint32_t kind;   // SegmentKind
  uint64_t device;
  uint64_t inode;
  uint64_t
      generation;  // birth time in ns where the file system tells; SysV: its IPC namespace; else 0
  uint64_t extent_bytes;  // end of the furthest mapping seen
  uint32_t mode;          // SegmentMode in force
  uint32_t order;         // Order in force
  uint32_t rule;          // index of the rule + 1, 0: the default
  int32_t sysv_key;
  char name[200];   // path | "/NAME" for POSIX shm | memfd name | "" ; NUL padded, cut if longer
  uint64_t handle;  // hash of the kernel's file handle, which tells apart what has one inode
                    // number and was born within one tick of the clock; 0: unknown
  uint64_t entered_tsc;  // when it was first mapped
  uint64_t traced_tsc;   // when it was promoted; 0: traced from the start, or native still
  uint32_t tracing;      // Tracing
  uint32_t creator;      // process entry of who made or first mapped it, whose ID is (high, low)
  uint32_t creator_id_high;
  uint32_t creator_id_low;
  // Who made it did not map it first: 0. Else the syscall that mapped it, and words of the stack
  // above it that point behind a call: the callers, mostly, nearest first. Found by scanning, not
  // by unwinding; 0: none.
  uint64_t creator_pcs[kCreatorPcs];
  uint16_t accesses;  // Accesses in force
  uint16_t braked;    // how often the brake was set or tightened, at most 65535
  uint16_t reserved0[2];
  uint64_t brake;        // what the brake makes of it, see BrakeLevel
  uint32_t number;       // of the segment; 0 before version 4: the entry's place
  uint32_t pinned;       // 1: who maps it could not be noted; it stays live
  uint64_t vacant_tsc;   // of an ended one: from when on the entry may be another segment's
  uint64_t last_ticket;  // Header::next_ticket then: no newer chunk has records of it
  // Of its latest kSegmentName and kSegmentLife: hash of the name, and places in the journal, each
  // a ring in the order of `names_told` and `lives_told`.
  uint64_t name_hashes[kSegmentTold];
  uint64_t name_places[kSegmentTold];
  uint64_t life_places[kSegmentTold];
  uint32_t names_told;
  uint32_t lives_told;
};
static_assert(sizeof(SegmentEntry) == 536);

// How often a recording read and wrote a segment, exact even where records were overwritten; and
// whether it maps it.
struct UsageEntry {
  uint32_t process;  // written last; 0: free
  uint32_t segment;
  uint64_t reads;
  uint64_t writes;  // read/write operations count in both
  uint64_t kernel;  // of these, made by the kernel for a syscall
  uint64_t mapped;  // TSC reading; bit 0 set: since when the process, if it lives, maps the segment
                    // | clear: until when children may have inherited it that have not said so yet
};
static_assert(sizeof(UsageEntry) == 40);
inline constexpr uint64_t kMapped = 1;                 // in `mapped`
inline constexpr uint32_t kUsageClaimed = UINT32_MAX;  // in `process`: being filled

// ---- Stripes -----------------------------------------------------------------------------------
// Stripe of a line: (segment * kStripeSpread + offset / kLineBytes) mod stripe count. Neighbouring
// lines have neighbouring stripes; different lines may share one, which orders them too.
// Word: bit 0 locked | bits 1..23 lane index of the holder | bits 24..63 version.
inline constexpr uint64_t kStripeSpread = 0x9E3779B1u;
inline constexpr uint32_t stripe_of(uint32_t segment, uint64_t offset, uint32_t stripe_count) {
  return static_cast<uint32_t>((segment * kStripeSpread + offset / kLineBytes) &
                               (stripe_count - 1));
}
inline constexpr uint64_t stripe_version(uint64_t word) { return word >> 24; }
inline constexpr bool stripe_locked(uint64_t word) { return word & 1; }
inline constexpr uint32_t stripe_lane(uint64_t word) { return (word >> 1) & 0x7FFFFF; }
inline constexpr uint64_t stripe_word(uint64_t version) { return version << 24; }
inline constexpr uint64_t stripe_word_locked(uint64_t version, uint32_t lane) {
  return version << 24 | static_cast<uint64_t>(lane) << 1 | 1;
}

// ---- Chunks and records -------------------------------------------------------------------------

inline constexpr uint32_t kChunkMagic = 0x4B4E4843;  // "CHNK"

// State machine: free -> (claim: CAS by any lane) claimed -> (emptied, header filled) busy <->
// ready
// -> full (owner moved on or ended) -> claimed again when the log wraps. Its owner makes it busy by
// CAS for the time of each access, and ready again. A ready chunk may be claimed by anybody when it
// is the oldest; a busy or claimed one only if its lane is dead or names another chunk. Readers use
// busy, ready and full chunks.
enum class ChunkState : uint32_t { kFree = 0, kClaimed, kReady, kFull, kBusy };

struct ChunkHeader {
  uint32_t magic;   // kChunkMagic
  uint32_t state;   // ChunkState in bits 0..7, lane index of the owner in bits 8..31
  uint64_t ticket;  // order of claiming over the whole run; the smallest is the oldest
  uint32_t process;
  uint32_t lane;
  int32_t pid;
  int32_t tid;
  uint64_t start_tsc;
  uint32_t records;  // of a full one: how many accesses it holds; 0: unknown
  uint32_t reserved0[5];
};
static_assert(sizeof(ChunkHeader) == 64);

enum class RecordKind : uint8_t {
  kRead = 1,       // versions[n], value[len]
  kWrite,          // versions[n], value[len]
  kReadWrite,      // atomic (LOCK, xchg): versions[n], old[len], new[len]
  kReadThenWrite,  // read-modify-write without LOCK: read versions[n], write versions[n], old, new
  kClock,          // a ClockRecord
  // Made by the kernel through a descriptor, without the stripes: at some moment between two
  // versions of each line. first[n], last[n], value[len]
  kReadBetween,
  kWriteBetween,
  // Not an access: what short records that refer to it have in common. A RecordHeader of which
  // `event` means nothing, then the callers.
  kPlace,
  // As the four above, in a ShortRecord.
  kShortRead,
  kShortWrite,
  kShortReadWrite,
  kShortReadThenWrite,
};
inline constexpr uint8_t kLastRecordKind = static_cast<uint8_t>(RecordKind::kShortReadThenWrite);
inline constexpr uint8_t kShort = 8;  // what makes a kind short
static_assert(static_cast<uint8_t>(RecordKind::kShortRead) ==
              (static_cast<uint8_t>(RecordKind::kRead) | kShort));
inline constexpr bool kind_is_short(RecordKind kind) { return kind >= RecordKind::kShortRead; }
inline constexpr RecordKind short_kind(RecordKind kind) {
  return static_cast<RecordKind>(static_cast<uint8_t>(kind) | kShort);
}
// REQUIRES: kind_is_short(kind)
inline constexpr RecordKind long_kind(RecordKind kind) {
  return static_cast<RecordKind>(static_cast<uint8_t>(kind) & ~kShort);
}
inline constexpr bool kind_is_between(RecordKind kind) {
  return kind == RecordKind::kReadBetween || kind == RecordKind::kWriteBetween;
}
// Two versions for each line?
inline constexpr bool kind_has_two_versions(RecordKind kind) {
  return kind == RecordKind::kReadThenWrite || kind_is_between(kind);
}
inline constexpr bool kind_is_access(RecordKind kind) {
  return kind != RecordKind::kClock && kind != RecordKind::kPlace;
}
// REQUIRES for both: !kind_is_short(kind)
inline constexpr bool kind_reads(RecordKind kind) {
  return kind_is_access(kind) && kind != RecordKind::kWrite && kind != RecordKind::kWriteBetween;
}
inline constexpr bool kind_writes(RecordKind kind) {
  return kind_is_access(kind) && kind != RecordKind::kRead && kind != RecordKind::kReadBetween;
}

// begun: written ahead, the access may or may not have happened yet (versions of lines not yet done
// are 0). committed: happened. aborted: did not happen. inferred: its thread died in it, and the
// next owner of a stripe found that it happened (atomic), or could not tell for lines with a
// version (store).
enum class RecordState : uint8_t { kNone = 0, kBegun, kCommitted, kAborted, kInferred };

// `commit` = size in 8-byte units (bits 0..15) | RecordKind (16..23) | RecordState (24..31).
// A zero commit word ends the chunk's records.
inline constexpr uint32_t commit_word(uint32_t bytes, RecordKind kind, RecordState state) {
  return bytes / 8 | static_cast<uint32_t>(kind) << 16 | static_cast<uint32_t>(state) << 24;
}

enum RecordFlags : uint16_t {
  kFlagRelaxed = 1,       // order: relaxed; versions[] hold tsc readings
  kFlagInterrupted = 2,   // a range cut short: `length` is what was done
  kFlagStep = 4,          // of earlier versions: found by single step, by comparing the page
  kFlagUntracedCode = 8,  // made by the agent on the kernel's behalf (robust list owner death)
};

// Bits 8..10 of the flags: how many callers the record ends with, one word each. Such is a word of
// the stack that points behind a call instruction: its place above the stack pointer, in words of 8
// bytes, in bits 48..63 | the address in bits 0..47. Which of them is a return address, and not
// left from an earlier call, only the code's unwind information tells.
inline constexpr uint32_t kMaxCallers = 7;
inline constexpr uint32_t kCallersShift = 8;
inline constexpr uint32_t callers_of_flags(uint16_t flags) {
  return flags >> kCallersShift & kMaxCallers;
}
inline constexpr uint64_t caller_word(uint64_t place, uint64_t address) {
  return place << 48 | (address & 0xFFFFFFFFFFFFull);
}
inline constexpr uint64_t caller_address(uint64_t word) { return word & 0xFFFFFFFFFFFFull; }
inline constexpr uint64_t caller_place(uint64_t word) { return word >> 48; }

struct RecordHeader {
  uint32_t commit;
  uint32_t segment;
  uint64_t offset;   // first byte, from the segment's start
  uint64_t address;  // the same in the program's address space; 0: reached by a descriptor
  uint64_t pc;       // of the instruction, or of the syscall instruction
  uint64_t event;    // the process's event number
  uint32_t length;   // bytes accessed, 1..kMaxAccessBytes
  uint16_t syscall;  // 0: an instruction; else syscall number + 1
  uint16_t flags;    // RecordFlags
  // uint64_t versions[n or 2n], n = lines touched; then the values, zero-padded to 8 bytes; then
  // uint64_t callers[callers_of_flags(flags)].
};
static_assert(sizeof(RecordHeader) == 48);

// The version of line i is 1 + the number of recorded writes to its stripe before this access (the
// version in the stripe's word + 1, so that 0 means "not filled in"): a write with version v comes
// right before every access with version v+1, and after all reads with v.
//
// Of kinds `between`, `first` is the version of the line before the syscall and `last` the one that
// was taken after it (a write takes one of its own), so that the access lies somewhere between
// them: a read may have seen such a write if its version is `first` or larger. The record of a
// write is written ahead with last[] 0; left so by a thread that died in the call, it may have
// happened at any moment from `first` on.
inline constexpr uint32_t lines_touched(uint64_t offset, uint32_t length) {
  return static_cast<uint32_t>((offset + length - 1) / kLineBytes - offset / kLineBytes + 1);
}
inline constexpr uint32_t record_bytes(RecordKind kind, uint64_t offset, uint32_t length,
                                       uint32_t callers = 0) {
  const bool both = kind == RecordKind::kReadWrite || kind == RecordKind::kReadThenWrite;
  const uint32_t versions = lines_touched(offset, length) * (kind_has_two_versions(kind) ? 2 : 1);
  return static_cast<uint32_t>(sizeof(RecordHeader)) + versions * 8 +
         (length * (both ? 2u : 1u) + 7) / 8 * 8 + callers * 8;
}

// An access of which most is as in others before it: the place has the rest. Its place is a record
// of kind kPlace that lies before it in the same chunk.
//   segment, pc, length, syscall, flags, callers: the place's
//   offset, address: the place's, with `offset` added
// It has one line's versions, and values, as other records do.
struct ShortRecord {
  uint32_t commit;
  uint32_t offset;
  uint64_t event_place;  // bits 0..47 the event | 48..63 where its place is: bytes from the chunk's
                         // start, divided by 8
  // uint64_t versions[1 or 2]; then the values, zero-padded to 8 bytes.
};
static_assert(sizeof(ShortRecord) == 16);
inline constexpr uint32_t kPlaceShift = 48;
inline constexpr uint64_t short_event(uint64_t event_place) {
  return event_place & ((uint64_t{1} << kPlaceShift) - 1);
}
inline constexpr uint32_t short_place(uint64_t event_place) {  // in bytes
  return static_cast<uint32_t>(event_place >> kPlaceShift) * 8;
}
// `kind`: the short one.
inline constexpr uint32_t short_record_bytes(RecordKind kind, uint32_t length) {
  const bool both = kind == RecordKind::kShortReadWrite || kind == RecordKind::kShortReadThenWrite;
  const uint32_t versions = kind == RecordKind::kShortReadThenWrite ? 2 : 1;
  return static_cast<uint32_t>(sizeof(ShortRecord)) + versions * 8 +
         (length * (both ? 2u : 1u) + 7) / 8 * 8;
}
inline constexpr uint32_t place_record_bytes(uint32_t callers) {
  return static_cast<uint32_t>(sizeof(RecordHeader)) + callers * 8;
}

struct ClockRecord {
  uint32_t commit;  // size 16, kClock, kCommitted
  uint32_t reserved0;
  uint64_t tsc;  // every record before it in the chunk happened before this reading
};
static_assert(sizeof(ClockRecord) == 16);

// ---- Journal ------------------------------------------------------------------------------------
// What is needed to understand the records: a ring of entries. Who holds journal_lock writes the
// next one at the head and then moves the head past it; an entry does not cross the end of the
// area, and what is left there is filled by one of type kNothing if it is at least an entry's head
// long.
//
// Before the head comes near the tail, who appends moves the tail on: an entry there that a living
// process or a record in the log still needs is written again at the head, with its `place`
// unchanged; the others are given up and counted. A process that keeps changing its maps lists them
// all again from time to time (kMaps), so that what it has unmapped can go.
//
// An entry is sound if its magic, its size and its sum are right. So a reader takes all sound
// entries of the area, in the order of `place`, one of each; what was written over in part is none.

inline constexpr uint32_t kJournalMagic = 0x4C4E524A;  // "JRNL"
inline constexpr uint32_t kMaxJournalText = 4000;

enum class JournalType : uint16_t {
  kNothing = 0,
  kProcessStart = 1,  // text: executable path
  kModule,            // executable mapping: a=base, b=length, c=file offset, d=inode; text: path
  kSegmentMap,        // a=address, b=length, c=offset in segment, d=protection (PROT_*), segment
  kUnmap,             // a=address, b=length: modules and segments there are gone
  kProcessExit,       // a=wait status
  kMark,              // a=event; text: name
  kCoverage,          // something was not recorded; a=DegradedReason or 0; text: why
  kThreadStart,       // a=tid
  kSignal,            // a=signal, b=si_code, c=si_addr, d=pc: a fatal signal is about to kill
  kChildExit,         // a=pid, b=wait status: a parent reaped a child
  kProtect,           // a=address, b=length, d=protection: mprotect of a traced segment
  kSegmentName,       // text: another path or name that the segment has; a=NameReason
  kPromoted,          // the process began to log its accesses to a segment that was native
  kMaps,              // a=place: the process's entries from there on list all its maps
  kSegmentLife,       // a=SegmentEvent: the process changed what a segment is or is called
  kPointers,          // a=number of the look, b=pointers there were; text: PointerPairs, in several
              // entries if need be: static data of the process that points into traced memory
  kBrake,  // a=BrakeLevel from here on, b=slowdown that was measured, in thousandths, or 0,
           // c=BrakeReason, d=SegmentEntry::braked; segment
};

enum class BrakeReason : uint32_t {
  kMeasured = 1,  // the process measured it, and set the brake for all
  kCalm,          // the process released it for all, one level
  kFollowed,      // the process does as the brake says, which another may have set
};

struct PointerPair {
  uint64_t address, value;
};

enum class NameReason : uint32_t { kMapped = 0, kRenamed, kLinked };

enum class SegmentEvent : uint32_t {
  kResized = 1,  // b=size before, c=size after
  kEmptied,      // opened with O_TRUNC
  kUnlinked,     // text: the name it lost
  kRenamed,      // text: the name it lost; a kSegmentName follows
  kReplaced,     // text: the name it lost to another file, which was renamed to it
};

struct JournalEntry {
  uint32_t magic;  // kJournalMagic
  uint16_t units;  // size in units of kJournalUnitBytes
  uint16_t type;   // JournalType
  uint32_t process;
  uint32_t segment;
  uint64_t tsc;
  uint64_t a, b, c, d;
  uint32_t text_bytes;
  uint32_t sum;    // journal_sum
  uint64_t place;  // units handed out before it when it was first written
  uint64_t event;  // the process's event number at that time
  // char text[text_bytes], zero-padded to the unit
};
static_assert(sizeof(JournalEntry) == 80);
inline constexpr uint32_t kJournalHeadUnits = sizeof(JournalEntry) / kJournalUnitBytes;
inline constexpr uint32_t kMaxJournalUnits =
    kJournalHeadUnits + (kMaxJournalText + kJournalUnitBytes - 1) / kJournalUnitBytes;

inline constexpr uint32_t journal_units_for(uint32_t text_bytes) {
  return kJournalHeadUnits + (text_bytes + kJournalUnitBytes - 1) / kJournalUnitBytes;
}

// Of all words of an entry of `bytes` bytes but `magic` and `sum`: FNV-1a by words of 32 bits,
// folded.
inline uint32_t journal_sum(const void* entry, uint32_t bytes) {
  const auto* words = static_cast<const unsigned char*>(entry);
  uint64_t hash = 0xCBF29CE484222325ull;
  for (uint32_t at = 4; at + 4 <= bytes; at += 4) {
    uint32_t word;
    __builtin_memcpy(&word, words + at, 4);
    if (at == 60) continue;  // `sum`
    hash = (hash ^ word) * 0x100000001B3ull;
  }
  return static_cast<uint32_t>(hash ^ hash >> 32);
}
static_assert(__builtin_offsetof(JournalEntry, sum) == 60);

// Are the sizes of an entry possible where `units` units are left of the area?
inline constexpr bool journal_fits(const JournalEntry& entry, uint64_t units) {
  return entry.magic == kJournalMagic && entry.text_bytes <= kMaxJournalText &&
         entry.units >= journal_units_for(entry.text_bytes) && entry.units <= units;
}

}  // namespace shmrec::shmlog
