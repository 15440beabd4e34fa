// The end of recording in a process that goes on.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// All traced memory gets its own protections back and nothing is traced any more: the program goes
// on as if never recorded. `why` goes to the coverage list; null: the process ends, there is no
// gap.
void stop_tracing(Process* process, shmlog::DegradedReason reason, const char* why);

}  // namespace shmrec::agent
