// The time stamp counter, which a program reads without asking anybody: it is made to trap, and
// what is read is an event.
//
// Threads: the calling one, in the handler of the trap.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// From here on the calling thread's reads trap, and those of the threads that it makes.
void let_counter_trap();
// Was it a read of the counter that trapped? Then it has been performed for the program.
bool counter_read(Thread* thread, const Siginfo& info, Context* context);

}  // namespace shmrec::agent
