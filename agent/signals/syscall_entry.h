// A syscall of the program, which the kernel turned into a SIGSYS.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// Takes the call over and lets `context` go on where it is performed, or behind it.
void on_syscall(Thread* thread, const Siginfo* info, Context* context);
// The program's own seccomp filter refused a call that was made in the program's place: it gets its
// SIGSYS behind its own instruction, with the registers that it had.
void on_refused_call(Thread* thread, Siginfo* info, Context* context);

}  // namespace shmrec::agent
