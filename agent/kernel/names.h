// What the program does to the names and the size of segments that are files: rename, link, unlink,
// truncate. The journal tells it, so that a name leads to the segment that had it at the time.
//
//     rename("index.tmp", "index")     of the segment that was mapped as index.tmp: it lost that
//                                      name and has "index"; of the one that was "index": it was
//                                      replaced
//
// What unrecorded processes do is not seen, nor what a renamed directory means for what lies in it.
//
// Invariant: where no segment is known to the run, a call costs one load.
// Threads: the calling one. Ownership: what a call needs lies in its bounce arena (bounce.h).
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

// Is this a call that changes names or sizes?
bool names_concerned(const Thread* thread);
// Before the call; thread->regs have the arguments that the kernel will get. True: it is about a
// segment, and names_end must follow.
bool names_begin(Thread* thread);
void names_end(Thread* thread);     // the call has returned, regs.rax is its result
void names_cancel(Thread* thread);  // it is not made; harmless if there is none

}  // namespace shmrec::agent
