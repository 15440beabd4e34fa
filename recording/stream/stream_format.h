// The stream of a recording: all that came from outside into one process, in the order in which it
// came, so that the process can be executed again. docs/stream_format.md describes it byte by byte.
//
// A recording at level replay has the directory recordings/ID/ with the files
// 0.stream, 1.stream...; each is a FileHeader and records, one behind the other. The agent in the
// recorded process writes them (agent/stream/), the agent in the replayed process reads them
// (agent/replay/), and so does the host side (stream_reader.h).
//
// Invariants
//  1. `committed` is written last: what lies before it is whole records, whatever dies when.
//  2. A file is as long as its header says before it is mapped: a store cannot fail.
//  3. A record lies in one file.
// Context: freestanding and host; nothing but <stdint.h>. Little endian; all sizes in bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace shmrec::stream {

inline constexpr char kMagic[8] = {'S', 'H', 'M', 'R', 'S', 'T', 'R', 'M'};
inline constexpr uint32_t kVersion = 1;
inline constexpr uint64_t kAlign = 8;  // of records, and of what is in them
inline constexpr uint64_t kMaxFileBytes = uint64_t{8} << 30;

struct FileHeader {
  char magic[8];
  uint32_t version;
  uint32_t number;      // of the file in its recording, from 0
  uint64_t file_bytes;  // of the file
  uint64_t committed;   // so many bytes of the file, this header's too, are whole
  uint32_t id_high;     // of the recording
  uint32_t id_low;
  uint64_t reserved[3];
};
static_assert(sizeof(FileHeader) == 64);

enum class Type : uint16_t {
  kStart = 1,  // StartRecord: how the process began; first in a recording
  kMapping,    // MappingRecord: what was mapped at the start
  kMemory,     // MemoryRecord: what was in memory at the start
  kFile,       // FileRecord: a file that is mapped, before the record that maps it
  kCall,       // CallRecord: a syscall, complete
  kSignal,     // SignalRecord: a signal that the program takes
  kValue,      // ValueRecord: what an instruction read from the processor
  kCheck,      // CheckRecord: what replay must find here
  kEnd,        // EndRecord: the recording ends, or can be replayed up to here only
  kPage,       // PageRecord: of a check that follows
  kChild,      // ChildRecord: a child or a thread begins or ends in the process's memory
  kTurn,       // TurnRecord: of the threads another one goes on
  kLeftOut,    // Range, any number of them: what the check that follows does not look at
  kStop,       // StopRecord: where the program is when what follows happens between two events
  kAgain,      // nothing: the access with this event was not completed, and is made again
};

struct RecordHeader {
  uint32_t bytes;   // of the record with this header; a multiple of kAlign
  uint16_t type;    // Type
  uint16_t detail;  // by type
  uint64_t event;   // number of the event it belongs to
};
static_assert(sizeof(RecordHeader) == 16);

// General registers, in the order of the kernel's struct sigcontext: r8 .. r15, rdi, rsi, rbp, rbx,
// rdx, rax, rcx, rsp, rip, eflags.
inline constexpr uint32_t kRegisters = 18;
inline constexpr uint32_t kStackPointer = 15, kInstructionPointer = 16, kFlags = 17;

// What was made to trap, so that it is in the recording.
enum StartTrap : uint32_t { kTrapsCpuid = 1 };

// kStart; detail: shmlog::StartKind.
struct StartRecord {
  uint64_t regs[kRegisters];  // with which the program goes on
  uint64_t fs_base, gs_base;
  uint64_t agent_base;            // the zone of the agent
  uint64_t heap_begin, heap_end;  // what brk says
  int32_t pid, tid;
  uint32_t parent_high, parent_low;  // the recording that it was forked from; 0: none
  uint64_t parent_event;             // ...at this event
  uint64_t blocked;                  // signals
  uint64_t features;                 // XCR0: which vector registers there are
  uint32_t processor[12];            // cpuid 0x80000002..4: its name
  uint64_t ignored;                  // signals that are ignored
  uint32_t cpu;                      // where it started, as getcpu says
  uint32_t traps;                    // StartTrap
  uint64_t reserved[2];
};
static_assert(sizeof(StartRecord) == 144 + 16 + 8 + 16 + 8 + 8 + 8 + 8 + 8 + 48 + 8 + 24);

enum MappingFlag : uint32_t {
  kMappingShared = 1,
  kMappingStack = 2,     // grows downwards
  kMappingAttached = 4,  // of System V: what the call that follows attaches, and is traced
};

// kMapping: [begin, end), which lies in no part of the agent. Of the start, but for
// kMappingAttached.
struct MappingRecord {
  uint64_t begin, end;
  uint32_t protection;  // PROT_*
  uint32_t flags;       // MappingFlag
  uint64_t offset;      // in its file
  uint32_t file;        // FileRecord::number; 0: none
  uint32_t reserved0;
};
static_assert(sizeof(MappingRecord) == 40);

// kMemory: `bytes` bytes follow, filled up to kAlign. What is neither here nor in a file is zero.
struct MemoryRecord {
  uint64_t address, bytes;
};

inline constexpr uint32_t kMaxFiles = UINT16_MAX;
// kFile: the path follows, with its NUL. The content as it was then is in mapped/NAME of the run,
// where NAME is "DEVICE-INODE-SIZE-SECONDS.NANOSECONDS" in hexadecimal digits.
struct FileRecord {
  uint32_t number;  // rising from 1 in a recording, up to kMaxFiles
  uint32_t kept;    // 1: the content is there
  uint64_t device, inode, size;
  int64_t seconds;  // when it was last changed
  uint64_t nanoseconds;
};
static_assert(sizeof(FileRecord) == 48);

enum CallFlag : uint8_t {
  kCallTraces = 1,   // what it maps is traced
  kCallRepeats = 2,  // it is made again from its instruction: the result is its number
  kAllCallFlags = kCallTraces | kCallRepeats
};
// kCall: the arguments that the syscall has, then its outputs.
struct CallRecord {
  uint16_t number;
  uint8_t arguments;
  uint8_t flags;  // CallFlag
  uint16_t outputs;
  uint16_t file;  // of what it maps: FileRecord::number; 0: none
  uint64_t result;
  uint64_t state;  // hash of the registers that the program keeps over calls (state_hash)
};
static_assert(sizeof(CallRecord) == 24);
// Memory that the kernel wrote: `bytes` bytes follow, filled up to kAlign.
struct Output {
  uint64_t address, bytes;
};

enum class SignalKind : uint16_t {
  kHandler = 1,  // its handler is entered
  kDeath,        // it ends the process
};
// kSignal; detail: SignalKind.
struct SignalRecord {
  uint64_t regs[kRegisters];  // of the program where it takes the signal
  uint64_t place;             // SignalPlace
  uint64_t blocked;           // signals that were blocked when it was let through
  uint64_t trap, error;       // kFault: as the processor told them
  uint8_t info[128];          // siginfo_t
};
enum class SignalPlace : uint64_t {
  kBeforeCall = 1,  // at a syscall instruction that was to be executed next
  kAfterEvent,      // where the event before it has left the program
  kFault,           // at an instruction that faulted; it will fault again
  kAtStop,          // where the stop before it says
};
static_assert(sizeof(SignalRecord) == 304);

enum class ValueKind : uint16_t { kCounter = 1, kCounterAndProcessor, kCpuid };
// kValue; detail: ValueKind.
struct ValueRecord {
  uint64_t pc;
  uint64_t state;
  uint32_t values[4];  // eax, ebx, ecx, edx
};

// Memory that the kernel may be writing, for calls of other threads that have not returned.
struct Range {
  uint64_t address, bytes;
};
inline constexpr uint32_t kMaxRanges = 256;

// kPage: a page that is not all zero, of those that the next check is about.
struct PageRecord {
  uint64_t address;
  uint64_t hash;
};

// kCheck
struct CheckRecord {
  uint64_t registers;  // hash of all general registers, fs and gs base
  uint64_t memory;     // hash of private memory that can be written; 0: not made
  uint64_t pages;      // in it, that were not all zero
};

enum class ChildKind : uint16_t {
  kBegins = 1,  // what follows is the child's
  kEnds,        // it has executed another program, or ended; its parent's call returns
  kThread,      // a thread, which the call that follows makes, and which waits for its first turn
};
// kChild; detail: ChildKind.
struct ChildRecord {
  uint64_t regs[kRegisters];  // kBegins, kThread: that it starts with; else 0
  uint64_t fs_base;
  uint64_t reserved0;
};
static_assert(sizeof(ChildRecord) == 160);

enum class TurnKind : uint16_t {
  kInCall = 1,   // the one before has begun a call, its last event, which has not returned
  kBehindEvent,  // it has completed its last event
  kAtEnd,        // it has ended
  kAtAccess,     // it is about to access traced memory, behind its last event
  kAtStop,       // it computes: it is where the stop before says
};
// kTurn; detail: TurnKind. The header has the last event of the thread before.
struct TurnRecord {
  int32_t tid;
  uint32_t reserved0;
};

enum class StopKind : uint16_t {
  kPlain = 1,
  kRepeating,  // within an instruction that repeats itself: rcx says how often it still has to
};
// kStop; detail: StopKind. `words` StopWord and `ranges` Range follow: what memory is then, as
// far as may tell this visit of the instruction from others. The header has the thread's last
// event.
struct StopRecord {
  uint64_t regs[kRegisters];
  uint64_t vectors;   // hash of the vector registers' state
  uint64_t memory;    // hash of what registers and stack lead to (agent/stream/sketch.h)
  uint32_t changing;  // bit i: code near by writes register i
  uint16_t words;     // 8 bytes each
  uint16_t ranges;    // that are not in `memory`: the kernel may write there
};
static_assert(sizeof(StopRecord) == 168);
struct StopWord {
  uint64_t address, value;
};
inline constexpr uint32_t kMaxStopWords = 48;

enum class EndKind : uint16_t {
  kExec = 1,      // another image takes the process over; if more records follow, that failed
  kUnreplayable,  // what follows was not recorded; the text says why
};
// kEnd; detail: EndKind. A text follows, with its NUL.
struct EndRecord {
  uint64_t text_bytes;
};

inline constexpr uint64_t aligned(uint64_t bytes) { return (bytes + kAlign - 1) & ~(kAlign - 1); }

// Both modes compute these alike.
inline constexpr uint64_t kMix = 0x9E3779B97F4A7C15ull;
inline constexpr uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * kMix;
  return hash ^ hash >> 29;
}

}  // namespace shmrec::stream
