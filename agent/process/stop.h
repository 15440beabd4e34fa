// The end of recording in a process that goes on, for all of its memory or a part.
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
