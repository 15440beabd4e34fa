// Entries of the segment and usage tables: which shared memory objects the run has met, what the
// policy says of each, and how often each recording has accessed which.
//
// Owner: a segment's entry belongs to nobody; it is entered once, under the lock of the tables, by
// whoever maps the object first. A usage entry belongs to the process named in it. Threads: any.
//
// Invariants
//  1. One object has one entry: (device, inode, generation, handle) is looked up under the lock.
//  2. The policy is evaluated once per segment, by the process that enters it.
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
// The table's entry of this segment, entered by the policy if it is new. 0 if the table is full.
uint32_t segment_enter(Process* process, const SegmentIdentity& identity, uint64_t extent_bytes);
// The segment of this identity if the run knows it, else 0.
uint32_t segment_find(const SegmentIdentity& identity);
// Might it be known? Cheap, and asked without a lock.
bool segment_maybe(uint64_t device, uint64_t inode);
// Its accesses are logged from now on, by all who notice (native.h).
void segment_promote(uint32_t segment);
bool segment_native(uint32_t segment);
shmlog::SegmentEntry& segment_entry(uint32_t segment);
// Is the segment's newest other name told at that place of the journal?
bool segment_named_at(uint32_t segment, uint64_t place);
shmlog::UsageEntry* usage_enter(const Process* process, uint32_t segment);

}  // namespace shmrec::agent
