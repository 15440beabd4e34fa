// Faults and traps: which are the program's own, which are accesses to perform, which are the
// agent's.
// Threads: the calling one, in the handler of the fault.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// The program steps through its own code, and an instruction was performed for it.
void deliver_step(Thread* thread, Context* context);

// A needed signal that the kernel raised because of the instruction at context->regs.rip.
void on_fault(Thread* thread, Siginfo* info, Context* context);

}  // namespace shmrec::agent
