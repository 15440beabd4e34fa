// The values that the program read in traced memory: they are put there before it reads them again.
//
// The supervisor has taken them out of the log of accesses (replay/access_file.h).
// Threads: one. Trust: as reader.h.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// Opens the accesses of the reader's present stage.
void accesses_start();
// The instruction at `pc` accesses traced memory, with `regs`: what it read then is in the aliases
// now, and the event has the number that it had. False: it met a fault, and does so again.
bool replay_access(Thread* thread, const Regs& regs, uint64_t pc, Fault* fault);
// What came up to this event has been made, or is found missing.
void accesses_skip(uint64_t event);
// Is there one up to this event that has not been made yet?
bool access_before(uint64_t event);

// Is the next one before it or that event, and the one behind it not?
bool access_is_last_before(uint64_t event);

// Makes a mapping that was traced: private memory, which is traced here too. `object`: those of the
// same number are one segment, where that makes a difference.
void map_traced(Thread* thread, uint64_t address, uint64_t bytes, uint32_t protection,
                uint64_t object);

}  // namespace shmrec::agent
