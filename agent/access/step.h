// The slow path, for instructions that no generated code performs: the page is opened, the
// instruction makes one step on it, and what changed is logged.
#pragma once

#include "agent/signals/signals.h"
#include "agent/sites/decode.h"

namespace shmrec::agent {

// The instruction at context->regs.rip faulted at a traced page (context->cr2): opens it and lets
// the instruction run with the trap flag. May be called again for another page of the same
// instruction. `site` may be null.
void step_begin(Thread* thread, Context* context, const Site* site);
// The signal by which a step stops the process's other threads, so that none of them touches an
// opened page unseen: SIGSYS, queued with this value.
constexpr uint64_t kHoldValue = 0x53484D484F4C44;
// The calling thread has been told to stand still: does so until the step is over.
void step_hold(Thread* thread);
// It has been told, and will call step_hold before it runs code of the program.
void step_hold_later(Thread* thread);
// A debug trap: closes and logs if a step was in progress. False: the trap is the program's own.
bool step_end(Thread* thread, Context* context);

}  // namespace shmrec::agent
