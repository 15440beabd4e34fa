// What of memory a program has in reach: blocks that its registers and its stack point to, and that
// the code around it and its callers names, those that these point to, and so on, the near ones
// first.
//
// Two sketches of a program that computes, one a moment after the other, show which words it
// changes while it does: these tell one visit of an instruction from another. A hash of a sketch
// tells states apart that differ in something else. Recording and replay draw the same one in the
// same state.
//
// Only private memory that can be written counts; of that, what lies below the stack pointer is
// left out, and what the kernel may be writing for other threads.
//
// Owner: the thread that has the turn; there is one sketch in an address space.
#pragma once

#include "agent/process/thread.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

struct SketchLimits {
  uint64_t stop, stack;  // the program's instruction and stack pointer
  const stream::Range* left_out;
  uint32_t count;
};
// Can the word be compared?
bool sketch_compares(uint64_t address, const SketchLimits& limits);

// A call has changed what is mapped.
void sketch_forget_maps();
// Looks at what is mapped, unless it has since then.
void sketch_learn_maps();

// Draws it anew.
void sketch_draw(const Regs& regs, const SketchLimits& limits);
uint64_t sketch_hash();
// Reads the blocks of the present one again: what has changed, at most `room` words, those first
// that have been counted up. Returns how many.
uint32_t sketch_changes(stream::StopWord* words, uint32_t room);

}  // namespace shmrec::agent
