// Signals that cannot be delivered where they came, and when their time is: those that found a path
// of the agent, and needed signals that were sent while they are blocked.
//
// Each has one of two moments. A path that was interrupted traps at its end if something waits
// (Thread::deferred); and the outermost handler settles, before it returns, what came while it ran.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// A signal that the agent does not need for itself: delivers it here, or defers it.
void deliver_or_defer(Thread* thread, Context* context, const Siginfo& info);
// Delivers what waited for the path of the agent to end. REQUIRES: the registers in `context` are
// the program's.
void deliver_deferred(Thread* thread, Context* context);

// Somebody sent one of the signals that the agent cannot block.
void take_sent(Thread* thread, const Siginfo& info, Context* context);
// Another thread takes the process out of the recording: this one follows when it is in the
// program.
void called_to_leave(Thread* thread, Context* context);
// The end of the outermost handler: what came while it ran, or while the agent's path that it
// interrupted ran, is delivered if that is possible here. `sent`: the handler ran for a sent
// signal.
void settle(Thread* thread, Context* context, bool sent);

}  // namespace shmrec::agent
