// Entries of the process table: one per recorded process image.
//
// Owner: an entry belongs to the process that entered itself; it fills it, counts its events in it
// and writes down how it ends. Threads: any of the process; counters are atomic.
//
// Invariants
//  1. A recording's ID is written before its entry is live and never changes.
//  2. Process::entry is never null: a process without an entry counts into a private one.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// Takes a ProcessEntry for this process. `parent` is an entry index or 0.
void process_enter(Process* process, uint32_t parent, shmlog::StartKind kind);
// The process has changed its name (comm): the entry follows.
void process_renamed(Process* process);
// What the process's end is known to be; the entry and the journal say so.
void process_ends(Process* process, int wait_status, bool replaced_by_exec);
// The newest entry of a process `pid` of our PID namespace, which may have ended; 0: none.
uint32_t process_of(int32_t pid);
// Where the agent lies in process `pid` of our PID namespace: one that is recorded, or that was
// forked here and has no entry yet. 0: it has none.
uint64_t process_agent_base(int32_t pid);
// The path of this process's executable, "" if unknown.
void process_executable(char* path, size_t bytes);

}  // namespace shmrec::agent
