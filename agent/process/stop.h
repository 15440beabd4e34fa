// The end of recording in a process that goes on, for all of its memory or a part.
//
// What is mapped stays and gets the protection that the program asked for. Accesses under way in
// other threads end as they began: on the alias, which stays too. Threads: any; takes a MapsLock,
// so the caller holds none and is not within a RegionUse (memory/regions.h).
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// All traced memory gets its own protections back and nothing is traced any more: the program goes
// on as if never recorded. `why` goes to the coverage list; null: the process ends, there is no
// gap.
void stop_tracing(Process* process, shmlog::DegradedReason reason, const char* why);

// The same for the traced memory in [begin, end) alone; the rest stays traced.
void stop_tracing_range(const Process* process, uint64_t begin, uint64_t end,
                        shmlog::DegradedReason reason, const char* why);

}  // namespace shmrec::agent
