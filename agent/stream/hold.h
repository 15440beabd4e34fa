// A signal that finds a recorded program between two events waits for the next one: only there can
// replay find the place again.
//
// All other signals are blocked meanwhile. A program that makes no event for a millisecond (it may
// be waiting for the signal) gets it where it is, at a stop (stops.h); where there can be none, its
// recording can be replayed up to there. Threads: the calling one, in a handler.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// The value of the timer that says that a signal has waited long enough.
constexpr uint64_t kLateValue = 0x736872656C617465;

// Does the signal wait? Then it is held. `context`: the program.
bool hold_signal(Thread* thread, Context* context, const Siginfo& info);
// The program makes a syscall, which has not begun. True: it gets the held signal first, and
// `context` is where it goes on.
bool release_before_call(Thread* thread, Context* context);
// The thread leaves the recording: the kernel has the held signal to deliver, and no timer comes
// any more. REQUIRES: signals that the agent needs are not blocked.
void hold_end(Thread* thread, Context* context);
// The timer has come.
void release_late(Thread* thread, Context* context);

}  // namespace shmrec::agent
