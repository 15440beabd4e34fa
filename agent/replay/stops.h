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
// on. Then the program goes on with `context`, which may be null at its start. In a handler, as
// what decodes the code uses vector registers.
void stops_look(Thread* thread, Context* context);
// The same for an access that is about to be made there. True: it is to be tried again.
bool stops_look_at_access(Thread* thread, Context* context);
// Is one to be looked for behind the access that comes next? Is one looked for?
bool stop_is_behind_access();
bool stop_is_awaited();
// Has the program faulted or trapped because it changes the code there? It goes on then.
bool stop_code_changes(Thread* thread, const Siginfo& info, Context* context);
// Has the program, which has trapped, come to the place? kMissed: it has, but it is another visit,
// and `context` goes on. kReached: `context` is what it was there.
enum class StopVisit { kNone, kMissed, kReached };
StopVisit stop_visit(const Siginfo& info, Context* context);

}  // namespace shmrec::agent
