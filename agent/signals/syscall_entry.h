// A syscall of the program, which the kernel turned into a SIGSYS.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// Takes the call over and lets `context` go on where it is performed, or behind it.
void on_syscall(Thread* thread, const Siginfo* info, Context* context);
// A SIGSYS that was sent is taken. If it was pending when the program made a call, the kernel,
// which keeps one of a kind, has dropped the one that tells of the call: `context` goes back to it.
// One that has just returned, with registers equal to those of a repetition, is not made again.
void make_lost_call(const Thread* thread, Context* context);
// The program's own seccomp filter refused a call that was made in the program's place: it gets its
// SIGSYS behind its own instruction, with the registers that it had.
void on_refused_call(Thread* thread, Siginfo* info, Context* context);

}  // namespace shmrec::agent
