// The signal frame on the program's stack, and the way back from it.
// Threads: the calling one, in a handler of the agent. Trust: the stack pointer is the program's
// and may lead anywhere; what cannot be written is no frame.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// Builds the frame for `info` where the kernel would and makes `context` the start of the program's
// handler. False: the stack cannot be written; `context` is unchanged.
bool frame_build(Thread* thread, Context* context, const SignalAction& action, const Siginfo& info);

}  // namespace shmrec::agent
