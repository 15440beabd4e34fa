// A syscall of the program, which the kernel turned into a SIGSYS; what came by a stub instead is
// in jumped_call.h.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// The call that thread->regs are about to make becomes the thread's pending one, and an event.
// REQUIRES: their rip is behind the syscall instruction.
void take_call(Thread* thread, uint64_t number);
// Takes the call over and lets `context` go on where it is performed, or behind it.
void on_syscall(Thread* thread, const Siginfo* info, Context* context);
// The thread's call is answered: `context` goes on behind it, or where it is made.
void go_behind_call(Thread* thread, Context* context, Answer answer);
// A SIGSYS that somebody sent has arrived. The kernel keeps only one SIGSYS pending: if this one
// was pending when the program made a call, the one that tells of the call was dropped, and the
// call neither made nor answered. Where the registers say so, `context` goes back to the syscall
// instruction. They say the same behind a call that has just been answered; that one is known by
// the registers it left, and not made again.
void make_lost_call(const Thread* thread, Context* context);
// The program's own seccomp filter refused a call that was made in the program's place: it gets its
// SIGSYS behind its own instruction, with the registers that it had.
void on_refused_call(Thread* thread, Siginfo* info, Context* context);

}  // namespace shmrec::agent
