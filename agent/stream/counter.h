// The time stamp counter, which a program reads without asking anybody: it is made to trap, and
// what is read is an event.
//
// A program that forbids it to itself (PR_SET_TSC) does so by the agent's word alone from then on.
// Threads: the calling one, in the handler of the trap or of the call.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// From here on the calling thread's reads trap, and those of the threads that it makes.
void let_counter_trap(Thread* thread);
// Has that been asked for?
bool counter_trapped();
// The kernel gets the state that the program wants: it leaves the recording, or becomes another
// image.
void counter_left(const Thread* thread);
// Was it a read of the counter that trapped? Then it has been performed for the program.
bool counter_read(Thread* thread, const Siginfo& info, Context* context);

// prctl's PR_SET_TSC and PR_GET_TSC.
int64_t counter_set(Thread* thread, uint64_t state);
uint32_t counter_state(const Thread* thread);

}  // namespace shmrec::agent
