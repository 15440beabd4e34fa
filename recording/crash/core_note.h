// The note in a core by which shmrec says when it was taken of a process that ran on
// (docs/cores.md): 8 bytes, the number of the process's newest event.
#pragma once

#include <cstdint>

namespace shmrec::recording {

inline constexpr const char* kCoreNoteOwner = "SHMREC";
inline constexpr uint32_t kCoreEventNote = 0x53484D45;

}  // namespace shmrec::recording
