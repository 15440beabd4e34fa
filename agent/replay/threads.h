// The threads of a recording in replay: the one thread that there is is each of them in turn
// (stream/turns.h). Those that it is not at present are kept.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// The recording begins with this thread alone.
void threads_start(int32_t tid);
// Has it others?
bool others_there();
// The call that follows makes a thread, or does not: its result says.
void thread_begins(const Thread* thread, const Context& context, const stream::ChildRecord& record);
void thread_made(int64_t result);
// The thread that has been followed waits, within its call or behind it, or has ended; thread and
// context are the one with number `tid` from here on. Returns whether that is in a call.
bool threads_turn(Thread* thread, Context* context, int32_t tid, stream::TurnKind kind);

}  // namespace shmrec::agent
