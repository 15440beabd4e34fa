// A stop: the program between two events, where a signal or another thread's turn could not wait
// longer. There
// is no counter that would say where that is; what is written down is the state in which the
// program is, and replay looks for it (replay/stops.h).
//
// Registers alone do not tell the visits of an instruction apart (`lock inc counter(%rip); jmp`
// changes none of them). So the stop says what memory holds that the code near by uses, and what
// has changed in the moment before, and has a hash of what registers and stack lead to (sketch.h).
// Where all of that is the same at an earlier visit, the program goes on as it did, unless it
// differs in memory that none of this leads to.
//
// Threads: the calling one, in a handler that has found it in the program.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Can replay find the program where `context` has it? Not at all instructions.
bool stop_is_possible(Thread* thread, const Context& context);
// Looks at memory, so that a moment later it is seen what the program changes.
void stop_prepare(const Thread* thread, const Context& context);
// Has that been done since the last event?
bool stop_is_prepared(const Thread* thread);
// Writes it down, behind the last event. False: the stream has no room. REQUIRES: it is possible,
// the thread may write to the stream.
bool stop_write(Thread* thread, const Context& context);

// Flags that a program does not see the same each time.
uint64_t stop_flags(uint64_t eflags);

}  // namespace shmrec::agent
