// Changing the program's text while its threads may execute it.
//
// Replacing instructions: the first byte of the first one becomes a breakpoint, then those of the
// others, then the bytes inside of one to which the program may jump; what is between them is
// written; then these in the opposite order. Between two of these steps all processors that run
// this address space fetch anew what they execute (membarrier). So a thread executes the old
// instruction, traps, or executes the new one, wherever it stands or arrives; and who meets a
// breakpoint goes on when the bytes are there (patch_trapped).
//
// Threads: the caller excludes other changes of the same bytes. Owner: the page is the program's; a
// private copy of it is made by the first change.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

constexpr uint8_t kBreakpoint = 0xCC;

// At which of the bytes that are replaced a thread may arrive; bit i: at byte i.
struct Arrivals {
  uint8_t starts;  // an instruction begins, or began; bit 0 is set
  uint8_t inner;   // inside of one, for who jumps over a part of it
};

// Announces that text will be changed, while there is one thread and that costs nothing.
void text_start();
// Tells what protection a page of it has (PROT_*); without that, all may be read and executed.
void text_know_protection(int (*of)(uint64_t address));
// Writes bytes that no thread executes. False: it may not be done.
bool text_write(uint64_t address, const void* bytes, uint64_t count);
// Replaces `count` <= 8 bytes of instructions that threads may be executing. `alone`: there is no
// other thread. False: it may not be done, and they are as they were.
bool text_replace(uint64_t address, const uint8_t* from, const uint8_t* to, uint32_t count,
                  Arrivals arrivals, bool alone);

}  // namespace shmrec::agent
