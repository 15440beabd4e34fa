// The C library's routines that work on ranges of memory, performed as a whole when they are called
// with a pointer to traced memory: one record for each part of a page, where the routine's own
// instructions would make one for each vector.
//
// patches/libraries.h finds them and patches their first instruction. Performing one does what it
// does to memory, sets its result, and returns to its caller. The registers that a function may
// change are left as they are.
//
// A call that would fault is left to the routine itself, before anything was done: it faults as it
// would alone, at the same byte, having stored what it stores before that. So is one that is made
// step by step, or with alignment checked. Where memory goes while it is being copied, the routine
// does all of it again, faults included.
//
// Records: `pc` is the routine's first instruction, its caller the first of the callers.
//
// Threads: the calling one, within an access. Signals wait until the routine is done.
#pragma once

#include "agent/access/emulate.h"

namespace shmrec::agent {

// Of fewer bytes a routine makes two accesses, which cost less by the fast way (fast.h). The bytes
// are the third argument: rdx.
constexpr uint8_t kLeastPerformed = 64;
// How many of a routine's first arguments are pointers: rdi, rsi.
constexpr uint32_t pointers_of(Routine routine) { return routine == Routine::kSet ? 1 : 2; }

// Performs the call at thread->regs, or leaves it to the routine: then thread->exit_ip says so.
int routine_perform(Thread* thread, const Site& site);

// Does an access of a patched site with these registers concern traced memory?
bool access_concerns(const Site& site, const Regs& regs);

}  // namespace shmrec::agent
