// Entries of the process table: one per recorded process image.
//
// Owner: an entry belongs to the process that entered itself; it fills it, counts its events in it
// and writes down how it ends. Threads: any of the process; counters are atomic.
//
// Invariants
//  1. A recording has a number of its own (Process::index), which names it in the whole log; its
//     entry is at table_slot(number) as long as it holds that number.
//  2. An entry is used again, the oldest first, when its process is gone and none of its chunks is
//     in the log. Its ID and number are written before it is live and change only then.
//  3. Process::entry is never null: a process without an entry counts into a private one.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// Takes a ProcessEntry for this process. `parent` is a recording's number or 0.
void process_enter(Process* process, uint32_t parent, shmlog::StartKind kind);
// The entry of a recording; null if it has been used again.
shmlog::ProcessEntry* process_entry(uint32_t number);
// Might the process of this entry still run? One that is found dead is marked so.
bool process_living(shmlog::ProcessEntry& entry);
// A thread of the process has got the chunk of this ticket.
void process_has_chunk(const Process* process, uint64_t ticket);
// If this image has replaced that recording's, and is not that of a child of it: that one has
// ended.
void process_replaced(const Process* process, uint32_t number);
// The process has changed its name (comm): the entry follows.
void process_renamed(Process* process);
// What the process's end is known to be; the entry and the journal say so.
void process_ends(Process* process, int wait_status, bool replaced_by_exec);
// The newest recording of a process `pid` of our PID namespace, which may have ended; 0: none.
uint32_t process_of(int32_t pid);
// Where the agent lies in process `pid` of our PID namespace: one that is recorded, or that was
// forked here and has no entry yet. 0: it has none.
uint64_t process_agent_base(int32_t pid);
// The path of this process's executable, "" if unknown.
void process_executable(char* path, size_t bytes);

}  // namespace shmrec::agent
