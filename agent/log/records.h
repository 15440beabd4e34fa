// Access records, and the chunks of the log that hold them.
//
// Owner: a chunk belongs to one lane, from its claim until the lane moves on, ends, is dead, or
// another takes the chunk. Threads: a thread writes into its own chunk only, so records need no
// lock; chunks are claimed with a ticket and a compare-and-swap of their state word.
//
// Invariants
//  1. A record becomes part of the log by its commit word, which is written last.
//  2. The word behind the last record of a chunk is zero, as far as there is room for one. It is
//     written before the record's commit word. What lies behind it is left from earlier records.
//  3. At most one record of a lane is begun and not final; LaneEntry::record names it. But
//     for those written ahead of a syscall that moves bytes by descriptor: they lie behind the
//     cursor already, and others may take their chunk while the call waits.
//  4. From record_reserve to record_commit or record_abandon the thread's chunk is busy: nobody
//     takes it as long as the thread lives. At any other time another thread may, when the log is
//     full and it is the oldest: a thread that makes no accesses keeps no place. Its owner finds
//     that out by the compare-and-swap with which it makes the chunk busy again. The fast way keeps
//     its chunk busy between accesses, until its next system call, or until somebody finds all
//     chunks busy (Header::chunks_scarce).
//  5. The oldest chunk goes first, and the records in it are counted as overwritten. Finding it
//     takes no longer with more threads: only those inside an access are passed over.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

constexpr uint32_t kClockEvery = 2048;  // bytes of a chunk between two clock records, about

// What of a record, in bytes from its start, who makes it fills in before record_begin.
struct Filled {
  uint32_t begin, end;
};
// Room for one record of `bytes`; never null (records that cannot be logged go to a private spare
// and are counted as dropped). It is zero but for `filled`, which is left from earlier records: its
// commit word says that there is no record yet, so neither readers nor settlers look at it. The
// record becomes part of the log with record_commit.
uint8_t* record_reserve(Thread* thread, uint32_t bytes, const Filled& filled);
// Written ahead: visible to recovery and readers, not yet final. The cursor stays.
void record_begin(Thread* thread, uint8_t* record, uint32_t bytes, shmlog::RecordKind kind);
// Final. Advances the cursor behind the record.
void record_commit(Thread* thread, uint8_t* record, uint32_t bytes, shmlog::RecordKind kind,
                   shmlog::RecordState state = shmlog::RecordState::kCommitted);
// Gives up a record that was reserved and not begun: what was filled in is not part of the log.
void record_abandon(Thread* thread, const uint8_t* record);

// Keeps the thread's chunk busy until record_rest, so that a thread that makes access after access
// takes it once; `bytes` of it are free then, and no clock record is due. False: that cannot be.
bool record_keep(Thread* thread, uint32_t bytes);
inline bool record_has_room(const Thread* thread, uint32_t bytes) {
  return thread->chunk_kept && thread->cursor < thread->clock_due &&
         thread->chunk_end - thread->cursor >= static_cast<int64_t>(bytes);
}
// The thread is about to make a system call, which may wait.
void record_rest(Thread* thread);

// Written ahead of a syscall that may wait: begun, with the cursor behind it. Its chunk is not busy
// meanwhile, so that the record may be gone when the call returns.
struct RecordAhead {
  uint8_t* record;
  uint64_t ticket;  // of its chunk
};
RecordAhead record_ahead(Thread* thread, uint8_t* record, uint32_t bytes, shmlog::RecordKind kind);
// It can be filled in from here to record_settle, which makes it final; recovery knows of it.
// False: it has gone, and record_settle must not be called.
bool record_resume(Thread* thread, const RecordAhead& ahead);
void record_settle(Thread* thread, const RecordAhead& ahead, shmlog::RecordState state);
// The thread's chunk is full, or the thread ends: others may take it when it is the oldest.
void record_chunk_give_up(Thread* thread);

// Is the chunk of ticket `ticket_and_1` - 1 still in the log? 0: there is none.
bool ticket_in_log(uint64_t ticket_and_1);

}  // namespace shmrec::agent
