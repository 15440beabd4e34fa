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
// What only reads (memcmp, memchr) looks first and logs what it needed: it reads no more than that.
// Which number memcmp returns for different bytes differs from one implementation to the next, so
// where it comes to a difference it leaves what is left to the routine.
//
// Records: `pc` is the routine's first instruction, its caller the first of the callers.
//
// Threads: the calling one, within an access. Signals wait until the routine is done.
#pragma once

#include "agent/access/emulate.h"

namespace shmrec::agent {

// What a stub has to know of a routine, in the order of Routine.
struct RoutineCall {
  uint32_t pointers;  // how many of the first arguments are: rdi, rsi
  // Calls for fewer bytes, which are the third argument (rdx), are left to the routine: it makes
  // few accesses, which cost less by the fast way (fast.h).
  uint32_t least;
};
constexpr RoutineCall kRoutineCalls[] = {{0, 0}, {2, 64}, {2, 64}, {1, 64}, {2, 256}, {1, 256}};
static_assert(sizeof kRoutineCalls / sizeof kRoutineCalls[0] == static_cast<int>(Routine::kCount));

constexpr const RoutineCall& call_of(Routine routine) {
  return kRoutineCalls[static_cast<int>(routine)];
}

// Performs the call at thread->regs, or leaves it to the routine: then thread->exit_ip says so.
int routine_perform(Thread* thread, const Site& site);

// Does an access of a patched site with these registers concern traced memory?
bool access_concerns(const Site& site, const Regs& regs);

}  // namespace shmrec::agent
