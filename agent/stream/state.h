// The state of a program in a few words, as recording and replay compare it.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Of the registers that are the program's at a syscall or an instruction that is recorded: those
// that it keeps over calls.
uint64_t state_hash(const Regs& regs, uint64_t pc);
// Of all general registers but for rcx and r11, which a syscall changes.
uint64_t registers_hash(const Regs& regs);

struct MemoryHash {
  uint64_t hash = 0;
  uint64_t pages = 0;  // that were not all zero
};
// What counts as zero: what lies below a stack pointer, in its mapping, and ranges.
struct NotHashed {
  uint64_t stack;
  const stream::Range* ranges;
  uint32_t count;
};
// Of a page; 0: it is all zero, or there is none.
uint64_t page_hash(uint64_t address, const NotHashed& without);
// Of all private memory that can be written but for the agent's, by address. `each`, if not null,
// is called with each page that is not all zero. False: /proc cannot be read.
bool memory_hash(const NotHashed& without, MemoryHash* result,
                 void (*each)(uint64_t page, uint64_t hash) = nullptr);

}  // namespace shmrec::agent
