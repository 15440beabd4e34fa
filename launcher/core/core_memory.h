// Which memory of a process goes into its core.
//
//   stacks    what a backtrace with locals needs: the threads' stacks and thread-local storage,
//   what
//             libraries and program have changed of their own data, the dynamic linker's list,
//             small shared segments, and the pages that registers and stacks point to
//   private   beside it, all private memory that is in use
//   all       beside it, all other mappings
// What comes first in this order has its place; what exceeds the limit is left out and counted.
// Units: bytes.
#pragma once

#include <sys/user.h>

#include <cstdint>
#include <vector>

#include "launcher/core/process_memory.h"
#include "policy/policy.h"

namespace shmrec::launcher {

struct CoreMemory {
  std::vector<Range> ranges;    // rising, apart from each other
  uint64_t left_out_bytes = 0;  // wanted, and beyond the limit
};

// Of the program file, as the auxiliary vector has it.
struct ProgramHeaders {
  uint64_t address = 0, count = 0;
};

// `hidden`: the agent's, of which nothing is taken. The first of `threads` is the one that the core
// is about.
CoreMemory choose_core_memory(const ProcessMemory& memory, Range hidden,
                              const std::vector<user_regs_struct>& threads,
                              const CoreChoice& choice, const ProgramHeaders& headers);

}  // namespace shmrec::launcher
