// Changing the program's text while its threads may execute it.
//
// Replacing instructions: the first byte of the first one becomes a breakpoint, then those of the
// others, then what is between them is written, then the first bytes but one, and at last that one.
// Between two of these steps all
// processors that run this address space fetch anew what they execute (membarrier). So a thread
// executes the old instruction, traps, or executes the new one, also where it stands behind the
// first of several that are replaced; and who meets a breakpoint goes on when the bytes are there
// (patch_trapped).
//
// Threads: the caller excludes other changes of the same bytes. Owner: the page is the program's; a
// private copy of it is made by the first change.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

constexpr uint8_t kBreakpoint = 0xCC;

// Announces that text will be changed, while there is one thread and that costs nothing.
void text_start();
// Writes bytes that no thread executes. False: it may not be done.
bool text_write(uint64_t address, const void* bytes, uint64_t count);
// Replaces `count` <= 8 bytes of instructions that threads may be executing. `firsts`: bit i: an
// instruction began at byte i; bit 0 is set. `alone`: there is no other thread. False: it may not
// be done, and they are as they were.
bool text_replace(uint64_t address, const uint8_t* from, const uint8_t* to, uint32_t count,
                  uint32_t firsts, bool alone);

}  // namespace shmrec::agent
