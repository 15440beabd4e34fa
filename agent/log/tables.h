// The lock of the log's tables, over all processes. It is held for the time of entering something
// that must be entered once (a segment).
//
// Owner: the process whose word is in Header::table_lock. Threads: any; not recursive.
//
// Invariants
//  1. A holder that is dead, or that does not move, is replaced: whoever holds the lock leaves the
//     tables usable at every instruction (an entry's state is written last).
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

void tables_lock(const Process* process);
void tables_unlock();

}  // namespace shmrec::agent
