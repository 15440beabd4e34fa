// Writing the shared-memory log from inside a recorded process: the mapped file, this thread's
// lane, records, the journal and the tables. recording/log/shmlog_format.h is the format.
#pragma once

#include "agent/memory/regions.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// Maps the log at kLogBase from `fd`. 0 or -errno; checks magic, version and areas. `launcher`:
// number of the one that started this process, or 0.
int64_t log_attach(int fd, uint64_t bytes, uint32_t launcher);
uint64_t pid_namespace();  // of this process, 0 if unknown
shmlog::Header& log_header();
template <typename T>
T* log_area(const shmlog::Area& area) {
  return reinterpret_cast<T*>(reinterpret_cast<uint64_t>(&log_header()) + area.offset);
}
void count_loss(shmlog::Loss loss, uint64_t by = 1);

// ---- Lanes and records
// Room for one record of `bytes`, zeroed; never null (records that cannot be logged go to a private
// spare and are counted as dropped). The record becomes part of the log with record_commit.
uint8_t* record_reserve(Thread* thread, uint32_t bytes);
// Written ahead: visible to recovery and readers, not yet final. The cursor stays.
void record_begin(Thread* thread, uint8_t* record, uint32_t bytes, shmlog::RecordKind kind);
// Final. Advances the cursor behind the record.
void record_commit(Thread* thread, uint8_t* record, uint32_t bytes, shmlog::RecordKind kind,
                   shmlog::RecordState state = shmlog::RecordState::kCommitted);
// Gives up a record that was reserved and filled but is not to be part of the log.
void record_abandon(uint8_t* record, uint32_t bytes);
// Gives the thread its lane if it has none; false if the table is full.
bool lane_take(Thread* thread);
void lane_release(Thread* thread);  // the thread ends or its process does
shmlog::LaneEntry& lane_at(uint32_t lane);
// Is the thread of this lane gone for good?
bool lane_dead(const shmlog::LaneEntry& lane);
uint64_t next_event(Thread* thread);

// ---- Journal and tables
struct JournalValues {
  uint32_t segment = 0;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  const char* text = nullptr;
};
void journal(const Process* process, shmlog::JournalType type, const JournalValues& values);
// Says once per process and text that something is not recorded.
void coverage(const Process* process, const char* why, shmlog::DegradedReason reason = {});
// Takes a ProcessEntry for this process. `parent` is an entry index or 0.
void process_enter(Process* process, uint32_t parent, shmlog::StartKind kind);
// The process has changed its name (comm): the entry follows.
void process_renamed(Process* process);
// What the process's end is known to be; the entry and the journal say so.
void process_ends(Process* process, int wait_status, bool replaced_by_exec);

struct SegmentIdentity {
  shmlog::SegmentKind kind;
  uint64_t device, inode, generation;
  int32_t sysv_key;
  char name[200];
};
// The table's entry of this segment, entered by the policy if it is new. 0 if the table is full.
uint32_t segment_enter(Process* process, const SegmentIdentity& identity, uint64_t extent_bytes);
shmlog::SegmentEntry& segment_entry(uint32_t segment);
shmlog::UsageEntry* usage_enter(const Process* process, uint32_t segment);

}  // namespace shmrec::agent
