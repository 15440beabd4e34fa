// Faults and traps: which are the program's own, which are accesses to perform, which are the
// agent's.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// A needed signal that the kernel raised because of the instruction at context->regs.rip.
void on_fault(Thread* thread, Siginfo* info, Context* context);

}  // namespace shmrec::agent
