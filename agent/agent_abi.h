// What passes between the agent and those who put it into a process: the launcher (at exec, by
// ptrace) and libshmrec (shmrec_start, in the process itself). Versioned as one: both sides are
// built from the same tree, and the image is embedded in the programs that inject it.
//
// Context: included by the freestanding agent and by the host side; nothing but <stdint.h>.
#pragma once

#include <stdint.h>

namespace shmrec::agent {

inline constexpr uint32_t kAbiVersion = 6;

// ---- The agent's zone of the address space ------------------------------------------------------
// Everything of the agent lies in one zone, at one of a few bases that the injector chooses from
// for each process image (launcher/zone.h). Offsets from the base:
inline constexpr uint64_t kCodeOffset = 0x10000000;  // generated code; the image lies below
inline constexpr uint64_t kCodeBytes = 32 << 20;
inline constexpr uint64_t kQuickOffset = kCodeOffset + kCodeBytes;  // tables of the fast way
inline constexpr uint64_t kFilterOffset =
    0x100000000;  // the program's seccomp filters, from here on
inline constexpr uint64_t kThreadOffset = 0x200000000;   // per-thread blocks
inline constexpr uint64_t kLogOffset = 0x400000000;      // the shmlog file, whole
inline constexpr uint64_t kStreamOffset = 0x1800000000;  // files of the recording's stream
inline constexpr uint64_t kAliasOffset = 0x2000000000;   // hidden aliases of traced segments
inline constexpr uint64_t kZoneBytes = 0x4000000000;
inline constexpr uint64_t kMaxLogBytes = kStreamOffset - kLogOffset;

// Best first. The first lies below where the kernel places mappings (it starts at most 1 TiB below
// the stack), and in what the shadow memory of the address, thread and memory sanitizers leaves to
// the program. The others are for programs that have something there.
inline constexpr uint64_t kBases[] = {0x7e8000000000, 0x600000000000, 0x300000000000,
                                      0x180000000000};

// A thread's block begins with its state; at this offset in it, the address of an UnwindInfo
// (signals/unwind.h).
inline constexpr uint64_t kThreadBlockBytes = 256 * 1024;
inline constexpr uint64_t kUnwindInfoAt = 392;

// ---- Image file ---------------------------------------------------------------------------------
// Header, then the bytes of its segments, then its relocations; made by agent/pack. Addresses in it
// are offsets from the base.
inline constexpr char kImageMagic[8] = {'S', 'H', 'M', 'R', 'A', 'G', 'T', '2'};

struct ImageSegment {
  uint64_t address;
  uint64_t file_offset;
  uint64_t file_bytes;
  uint64_t memory_bytes;  // >= file_bytes; the rest is zero
};

// Injection: mmap [base, base + span_bytes) fixed, anonymous, private, read+write+exec; write each
// segment, with the base added to the words that the relocations name; write a BootInfo at
// boot_info; continue at entry with the stack pointer and all registers as the kernel set them at
// exec. The agent itself then drops write or exec from its pages.
struct ImageHeader {
  char magic[8];
  uint32_t abi_version;
  uint32_t segment_count;
  uint64_t span_bytes;
  uint64_t entry;
  uint64_t boot_info;
  uint64_t relocation_offset;  // in the file: uint32_t each, addresses of 8-byte words, rising
  uint32_t relocation_count;
  uint32_t reserved0;
  ImageSegment segments[8];
};

enum class BootMode : uint32_t {
  kInjected = 1,  // from the launcher: ask it for the log, go on at resume_address
  kApi = 2,       // called by libshmrec as `int entry(void)`; returns 0 or -errno
  kReplay = 3,    // a recording is executed again (ReplayBoot); goes on at resume_address
};

enum class Level : uint32_t {
  kAccesses = 0,  // accesses to shared memory are recorded
  kReplay = 1,    // all that comes from outside, so that the process can be executed again
};

// kReplay: the streams to follow, one recording after the other. Each but the last is followed up
// to a fork, whose child the next one is. Descriptors are those of the replaying process.
struct ReplayStage {
  int32_t first_stream;  // descriptor of 0.stream; the others have the numbers behind it
  uint32_t streams;
  int32_t first_file;  // descriptor of the file of number 1; the others likewise
  uint32_t files;
  uint64_t until_event;  // of the fork; 0: the last stage
  int32_t accesses;      // descriptor of its ReplayAccess entries, by event; -1: it has none
  int32_t reserved0;
};
// What the recorded program did to traced memory, as the log of accesses has it. The value follows,
// filled up to 8 bytes.
enum class ReplayAccessKind : uint32_t { kRead = 1, kWrite = 2 };
struct ReplayAccess {
  uint64_t event;
  uint64_t pc;
  uint64_t address;
  uint32_t length;
  uint32_t kind;  // ReplayAccessKind; what reads and writes is a kRead
};
// In the agent's zone.
inline constexpr uint64_t kReplayReportOffset = kStreamOffset - 0x200000;
inline constexpr uint64_t kReplayAccessOffset = kStreamOffset + 0x400000000;
// Threads of the recording that are not followed at present (agent/replay/threads.h).
inline constexpr uint64_t kReplayThreadsOffset = kThreadOffset - 0x40000000;
inline constexpr uint32_t kMaxReplayStages = 64;
struct ReplayBoot {
  int32_t report_fd;     // ReplayReport, shared with the supervisor
  int32_t maps_fd;       // /proc/self/maps of the replaying process
  int32_t page_map_fd;   // its /proc/self/pagemap
  uint32_t stages;       // 0: none
  uint64_t until_event;  // stop there; 0: at the end
  ReplayStage stage[kMaxReplayStages];
};

// What the replaying agent tells its supervisor.
enum class ReplayState : uint32_t {
  kRunning = 0,
  kFinished = 1,  // the end of the recording, or the event that was asked for
  kDiverged = 2,  // it does not do what was recorded: the text says what
  kRefused = 3,   // this cannot be replayed (here): the text says why
};
// A stop that is looked for (agent/replay/stops.h), and what was another there, if it is no
// address.
inline constexpr uint64_t kVectorsDiffer = 0, kReachDiffers = 1;
struct ReplaySearch {
  uint64_t pc;       // where; 0: none
  uint64_t visits;   // that the agent has compared
  uint64_t near;     // those with the same registers
  uint64_t differs;  // where the last one of these had other memory, or one of the two above
};
struct ReplayReport {
  uint32_t state;         // ReplayState; written last
  uint32_t end_kind;      // kFinished: how, ReplayEnd
  uint64_t event;         // the last one that was met
  uint64_t records;       // so many were followed
  uint64_t checks;        // kCheck records that were compared
  uint64_t memory_pages;  // in the last of these
  uint64_t stops;         // that were found
  uint64_t visits;        // of their instructions that were compared for it by the agent
  ReplaySearch search;
  uint64_t detail;  // of end_kind: exit status, signal
  char text[512];
};
enum class ReplayEnd : uint32_t {
  kLogEnds = 0,
  kExit,
  kDeath,
  kExec,
  kAsked,
  kUnreplayable,
  kAccessesGone
};

struct BootInfo {
  uint32_t abi_version;
  uint32_t mode;            // BootMode
  uint64_t resume_address;  // kInjected: the program's entry point
  uint64_t log_bytes;       // size of the shmlog file
  int32_t log_fd;       // kApi: open descriptor of the shmlog, stays the caller's; kInjected: -1
  uint32_t start_kind;  // shmlog::StartKind
  uint32_t launcher_uid;
  uint32_t launcher;           // its number in the log: shmlog::LaneEntry::launcher; 0: none
  uint32_t seccomp_alone;      // 1: the program would be under a seccomp filter without shmrec too
  uint32_t seccomp_inherited;  // 1: an image before this one has installed filters of its own
  int32_t launcher_pid;     // it adopts orphans, in whose stead the program is shown init; 0: none
  int32_t command_pid;      // the launcher's own child
  uint32_t core_at_signal;  // 1: kCallCore before one that dumps core ends the process
  uint32_t core_at_exit;    // 1: ... before an exit with a status other than 0
  uint64_t launcher_namespace;  // of process IDs, its inode: where these two count; 0: unknown
  uint32_t level;               // Level
  uint32_t checksums;           // 1: at level replay, hashes of memory are recorded for comparison
  ReplayBoot replay;            // kReplay
};

// ---- Calls --------------------------------------------------------------------------------------
// fcntl(-1, kCallCommand, op, argument, length). Without shmrec this is EBADF. The seccomp filter
// sends kCallHello to kCallKeep to the launcher; the agent answers the others itself.
inline constexpr uint32_t kCallCommand = 0x53484D52;
enum Call : uint32_t {
  // Agent to launcher: returns a new descriptor of the shmlog (close-on-exec). With an argument
  // other than 0, -errno: why the agent could not start, and its image goes on unrecorded.
  kCallHello = 1,
  // Agent to launcher, of a process about to end: `argument` points to a CoreRequest. Returns when
  // the core has been taken, or will not be: 0, or -errno.
  kCallCore = 2,
  // Agent to launcher, at level replay: `argument` points to a StreamRequest. Returns a descriptor
  // of
  // the new file (close-on-exec), which is as long as asked for and has its header; or -errno.
  kCallStream = 3,
  // Agent to launcher, at level replay: `argument` is a descriptor of a file that is mapped and
  // whose
  // content is to be kept as it is. Returns 0 when it is, or -errno.
  kCallKeep = 4,
  kCallIsRecording = 16,  // program to agent: 1
  kCallMark = 17,         // argument: name, length: its bytes; 0 or -errno
  kCallStop = 18,         // stop recording this process: 0
  kCallRecordingId = 19,  // argument: char[14] buffer, receives "xxxxxxxx-xxxx" and NUL; 0
};

// What the launcher has to know for a core of the calling process. The thread itself cannot be
// stopped while it waits for the answer.
struct CoreRequest {
  uint64_t regs[18];  // the program's, in the order of struct sigcontext: r8 .. r15, rdi, rsi,
                      // rbp, rbx, rdx, rax, rcx, rsp, rip, eflags
  uint64_t fs_base, gs_base;
  uint64_t fpstate;          // address of what the kernel saved of the vector registers, 0: unknown
  uint64_t blocked;          // signals
  uint64_t zone;             // where the agent's begins
  uint32_t id_high, id_low;  // of its recording
  uint8_t siginfo[128];      // of the signal; of an exit, what a parent would see of it (SIGCHLD)
};

// The next file of a recording's stream (recording/stream/stream_format.h).
struct StreamRequest {
  uint32_t id_high, id_low;  // of the recording
  uint32_t number;
  uint32_t reserved0;
  uint64_t bytes;
};

// execve/execveat with this sixth argument is not sent to the launcher: the agent's way out when
// the launcher is dead. The new image runs unrecorded.
inline constexpr uint64_t kExecUnrecorded = 0x53484D5245584543;
// With this one, the process has seccomp filters of its own, which let the agent start.
inline constexpr uint64_t kExecFiltered = 0x53484D5246494C54;

}  // namespace shmrec::agent
