// A signal meets what the program wants of it: its handler, nothing, or the end.
// Threads: the calling one, in a handler of the agent.
#pragma once

#include "agent/signals/signal_numbers.h"
#include "agent/signals/signals.h"

namespace shmrec::agent {

// What the kernel raises if it cannot write or read a signal frame.
constexpr Siginfo kBadStack = {kSigsegv, 0, kSiKernel, 0, {}};

// The mask that holds at this moment, if `context` is in the program.
uint64_t blocked_now(const Thread* thread, const Context* context);

// Hands a signal to the program. REQUIRES: the registers in `context` are the program's.
void deliver(Thread* thread, Context* context, const Siginfo& info);
// The same for all needed signals that wait for this thread and are not blocked.
void deliver_pending(Thread* thread, Context* context);

}  // namespace shmrec::agent
