// A child in the program's memory, whose parent waits (vfork, posix_spawn): in replay the one
// thread is first the child, then the parent again.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Is the thread such a child now?
bool in_child();
// It becomes one, at the call that made it.
void child_begins(Thread* thread, const Context& context, const stream::ChildRecord& record);
// It is the parent again: as it was at that call.
void child_ends(Thread* thread, Context* context);

}  // namespace shmrec::agent
