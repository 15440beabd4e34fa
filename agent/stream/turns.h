// Turns: of the threads of a process at level replay one at a time executes the program, and the
// stream says which.
//
// Who executes code of the program, or writes to the stream, has the turn. A thread gives it away
// before a call that may wait for others, and at its death, and takes it again before anything of
// the program depends on the call's result. Who wants it stands in a queue; a thread that makes
// calls that do not wait hands it on behind one of them, or at an access to traced memory, when
// somebody has waited for a slice; one that does neither is stopped where it computes
// (stops.h).
// What the threads do in parallel is therefore what the kernel does for them. The order in which
// they have the turn is in the stream (TurnRecord), and is all that replay needs of them.
//
// Invariants
//  1. The workload never hangs by it: who has waited for kPatience while another computes without
//     an event ends the turns for good. All go on at once then, and replay ends where they were.
//  2. Nobody waits for a turn while it holds a lock of the agent.
//  3. A process with one thread takes no turns; nor does a child in its memory (vfork), which has
//     its parent's.
// Threads: any recorded one.
#pragma once

#include "agent/process/thread.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// The calling thread is about to make a second one. It has the turn.
void turns_begin(Thread* thread);
// In a forked child: it is alone.
void turns_after_fork(Thread* thread);
// Why the turns are over, if the stream is not.
constexpr const char* kOutOfPatience =
    "a thread that computes without an event while another waits for it";

// Do threads take turns now? Were they ended?
bool turns_taken();
bool turns_are_over();
// The last event before they were.
uint64_t turns_last_event();
// The stream ends, and with it the turns. REQUIRES: the calling thread may write to it.
void turns_end();

// Waits for the turn, unless the thread has it; one that has just been made, for its first. Returns
// whether it has it: not if the turns are over.
bool turn_take(Thread* thread);
// The agent itself is at something that takes long, or has done it: nobody loses patience
// meanwhile. REQUIRES: the thread has the turn, if turns are taken.
void turns_pause(bool busy);
// Before a call that may wait: somebody else may have the turn.
void turn_give_in_call(Thread* thread);
// Behind an event: somebody who has waited for a slice gets it; if it `yields`, anybody who waits.
void turn_offer(Thread* thread, bool yields);
// Somebody has waited for a slice and asks: the thread offers its turn at its next access to traced
// memory, which it may be waiting for, or gives it where it is (stops.h) if somebody has waited for
// long. `context`: where the question has found it.
void turn_asked(Thread* thread, Context* context);
void turn_offer_at_access(Thread* thread);
// The thread is about to end: nobody takes its turn before it is gone, as far as anybody can tell
// who joins it. False: the kernel does not say when that is.
bool turn_ends_with(Thread* thread);
// It ends.
void turn_leave(Thread* thread);

}  // namespace shmrec::agent
