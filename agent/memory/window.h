// Where traced mappings are put if the program leaves the choice to the kernel: all in one aligned
// part of the address space, so that code generated for an access tells by a few bits of the
// address whether it may be traced.
//
// The window is the rest of the aligned terabyte that the agent's zone lies in. It is a hint: what
// is mapped elsewhere is traced all the same; code that accesses it looks a little longer
// (outside.h).
//
// Threads: window_hint under regions_lock.
#pragma once

#include "agent/agent_abi.h"
#include "agent/runtime.h"

namespace shmrec::agent {

constexpr uint32_t kWindowShift = 40;
// The bits above the shift of every address in the window.
inline uint32_t window_number() { return static_cast<uint32_t>(agent_base() >> kWindowShift); }
inline bool in_window(uint64_t address) { return address >> kWindowShift == window_number(); }

// An address for a mapping of this size; 0: there is none.
uint64_t window_hint(uint64_t bytes);

}  // namespace shmrec::agent
