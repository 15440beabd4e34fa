// Entries of the segment table: which shared memory objects the run has met, and what the policy
// says of each.
//
// Owner: an entry belongs to nobody; it is entered once, under the lock of the tables, by whoever
// maps the object first. Threads: any.
//
// Example: a server maps a ring, forks a worker for each of a million connections, and each worker
// makes a buffer of its own. The ring is segment 1 for ever. The buffers are segments 2 to
// 1,000,001, and share 8,190 entries: when the table is nearly full, those whose workers are gone
// are found and used for new ones, the oldest first and rather such as no record in the log is of.
//
// Invariants
//  1. One object has one entry: (device, inode, generation, handle) is looked up under the lock.
//  2. The policy is evaluated once per entry, by the process that fills it.
//  3. A segment's number names it in the whole log; its entry is at table_slot(number) as long as
//     it holds that number.
//  4. Who maps a segment says so in its usage entry before it uses it, and a forked child before it
//     runs on; the word stays when its writer is killed, and counts for as long as the process
//     lives. An entry that nobody living maps is ended, and may be used again; a second later where
//     a child may just have been forked that has not yet said what it has inherited.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

struct SegmentIdentity {
  shmlog::SegmentKind kind;
  uint64_t device, inode, generation, handle;
  bool in_memory;  // a file of a file system that has no other place for it
  int32_t sysv_key;
  int32_t maker;  // pid of who made it, where that is known; else 0
  char name[200];
};
// The number of this segment, entered by the policy if it is new, for a process that maps it. 0 if
// the table is full of such as are mapped.
uint32_t segment_enter(const Thread* thread, const SegmentIdentity& identity,
                       uint64_t extent_bytes);
// A forked child maps it as its parent did.
void segment_inherited(const Process* process, uint32_t segment);
// No mapping of the process is left.
void segment_unmapped(const Process* process, uint32_t segment);
// The segment of this identity if the run knows it, else 0.
uint32_t segment_find(const SegmentIdentity& identity);
// Does a living process map it?
bool segment_mapped(uint32_t segment);
// Might it be known? Cheap, and asked without a lock.
bool segment_maybe(uint64_t device, uint64_t inode);
// Its accesses are logged from now on, by all who notice (native.h).
void segment_promote(uint32_t segment);
bool segment_native(uint32_t segment);
// False: it is forgotten, its entry used again.
bool segment_known(uint32_t segment);
// The entry of a segment, or one of nothing if it has been used again.
shmlog::SegmentEntry& segment_entry(uint32_t segment);
// Are only writes to it logged?
bool segment_writes_only(uint32_t segment);
// Does the policy have this memory of System V traced?
bool segment_traced_sysv(uint64_t id, uint64_t ipc_namespace);
// It has another name, or something happened to it that changes what its names or its size mean.
void segment_named(const Process* process, uint32_t segment, const char* name,
                   shmlog::NameReason reason);
void segment_lives(const Process* process, uint32_t segment, shmlog::SegmentEvent event,
                   const char* lost_name, uint64_t before = 0, uint64_t after = 0);
// Is one of the newest of these told at that place of the journal?
bool segment_told_at(uint32_t segment, uint64_t place);

}  // namespace shmrec::agent
