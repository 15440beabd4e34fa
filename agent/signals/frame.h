// The signal frame on the program's stack, and the way back from it.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// Builds the frame for `info` where the kernel would and makes `context` the start of the program's
// handler. False: the stack cannot be written; `context` is unchanged.
bool frame_build(Thread* thread, Context* context, const SignalAction& action, const Siginfo& info);

}  // namespace shmrec::agent
