// Finding the place of a stop again (stream/stops.h): where a jump or a breakpoint is, each visit
// is compared with what the stream says, until one is the same.
//
// The place is looked for from the event before it on, and no longer than up to the next one.
// Threads: the one there is.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// If the stream's next record is a stop behind the event that has just been: looks for it from here
// on. In a handler, as what decodes the code uses vector registers.
void stops_look(Thread* thread);
// The same for an access that is about to be made.
void stops_look_at_access(Thread* thread);
// Has the program faulted or trapped because it changes the code there? It goes on then.
bool stop_code_changes(Thread* thread, const Siginfo& info, Context* context);
// Has the program, which has trapped, come to the place? kMissed: it has, but it is another visit,
// and `context` goes on. kReached: `context` is what it was there.
enum class StopVisit { kNone, kMissed, kReached };
StopVisit stop_visit(const Siginfo& info, Context* context);

}  // namespace shmrec::agent
