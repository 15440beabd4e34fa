// Entries of the usage table: which segments a recording maps, and how often it has accessed each.
//
// Owner: an entry belongs to the recording named in it, and is used again when nothing needs that
// or the segment any more. Threads: any; counters are atomic.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// The entry of the process and the segment, entered if it is new; where there is no room for it,
// one of neither.
shmlog::UsageEntry* usage_enter(const Process* process, uint32_t segment);
// The same. REQUIRES: the tables are locked.
shmlog::UsageEntry* usage_entered(const Process* process, uint32_t segment);
// Null if there is none.
shmlog::UsageEntry* usage_find(const Process* process, uint32_t segment);

}  // namespace shmrec::agent
