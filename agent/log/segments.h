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
  int32_t sysv_key;
  char name[200];
};
// The table's entry of this segment, entered by the policy if it is new. 0 if the table is full.
uint32_t segment_enter(Process* process, const SegmentIdentity& identity, uint64_t extent_bytes);
shmlog::SegmentEntry& segment_entry(uint32_t segment);
shmlog::UsageEntry* usage_enter(const Process* process, uint32_t segment);

}  // namespace shmrec::agent
