// What passes between the agent and those who put it into a process: the launcher (at exec, by
// ptrace) and libshmrec (shmrec_start, in the process itself). Versioned as one: both sides are
// built from the same tree, and the image is embedded in the programs that inject it.
//
// Context: included by the freestanding agent and by the host side; nothing but <stdint.h>.
#pragma once

#include <stdint.h>

namespace shmrec::agent {

inline constexpr uint32_t kAbiVersion = 1;

// ---- The agent's part of the address space ------------------------------------------------------
inline constexpr uint64_t kAgentBase = 0x100090000000;  // image: text, data, Zydis
inline constexpr uint64_t kCodeBase = 0x1000a0000000;   // generated code, kCodeBytes
inline constexpr uint64_t kCodeBytes = 32 << 20;
inline constexpr uint64_t kLogBase = 0x100100000000;     // the shmlog file, whole
inline constexpr uint64_t kThreadBase = 0x108000000000;  // per-thread blocks
inline constexpr uint64_t kAliasBase = 0x110000000000;   // hidden aliases of traced segments
inline constexpr uint64_t kAgentEnd = 0x180000000000;

// ---- Image file: header, then the bytes of its segments; made by agent/pack ---------------------
inline constexpr char kImageMagic[8] = {'S', 'H', 'M', 'R', 'A', 'G', 'T', '1'};

struct ImageSegment {
  uint64_t address;  // absolute
  uint64_t file_offset;
  uint64_t file_bytes;
  uint64_t memory_bytes;  // >= file_bytes; the rest is zero
};

// Injection: mmap [base, base + span_bytes) fixed, anonymous, private, read+write+exec; write each
// segment; write a BootInfo at boot_info; continue at entry with the stack pointer and all
// registers as the kernel set them at exec. The agent itself then drops write or exec from its
// pages.
struct ImageHeader {
  char magic[8];
  uint32_t abi_version;
  uint32_t segment_count;
  uint64_t base;
  uint64_t span_bytes;
  uint64_t entry;
  uint64_t boot_info;
  ImageSegment segments[8];
};

enum class BootMode : uint32_t {
  kInjected = 1,  // from the launcher: ask it for the log, go on at resume_address
  kApi = 2,       // called by libshmrec as `int entry(void)`; returns 0 or -errno
};

struct BootInfo {
  uint32_t abi_version;
  uint32_t mode;            // BootMode
  uint64_t resume_address;  // kInjected: the program's entry point
  uint64_t log_bytes;       // size of the shmlog file
  int32_t log_fd;       // kApi: open descriptor of the shmlog, stays the caller's; kInjected: -1
  uint32_t start_kind;  // shmlog::StartKind
  uint32_t launcher_uid;
  uint32_t launcher;  // its number in the log: shmlog::LaneEntry::launcher; 0: none
};

// ---- Calls: fcntl(-1, kCallCommand, op, argument, length)
// -------------------------------------------- Without shmrec this is EBADF. The seccomp filter
// sends kCallHello to the launcher; the agent answers the others itself.
inline constexpr uint32_t kCallCommand = 0x53484D52;
enum Call : uint32_t {
  kCallHello = 1,  // agent to launcher: returns a new descriptor of the shmlog (close-on-exec)
  kCallIsRecording = 16,  // program to agent: 1
  kCallMark = 17,         // argument: name, length: its bytes; 0 or -errno
  kCallStop = 18,         // stop recording this process: 0
  kCallRecordingId = 19,  // argument: char[14] buffer, receives "xxxxxxxx-xxxx" and NUL; 0
};

// execve/execveat with this sixth argument is not sent to the launcher: the agent's way out when
// the launcher is dead. The new image runs unrecorded.
inline constexpr uint64_t kExecUnrecorded = 0x53484D5245584543;

}  // namespace shmrec::agent
