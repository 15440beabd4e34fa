#include "agent/log/records.h"

#include "agent/log/lanes.h"
#include "agent/log/processes.h"
#include "agent/memory/brake.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

uint8_t* file_base() { return reinterpret_cast<uint8_t*>(&log_header()); }

// ---- Chunks -------------------------------------------------------------------------------------

ChunkHeader* chunk_at(uint32_t index) {
  return reinterpret_cast<ChunkHeader*>(file_base() + log_header().chunks.offset +
                                        static_cast<uint64_t>(index) * kChunkBytes);
}
constexpr uint32_t chunk_word(ChunkState state, uint32_t lane) {
  return static_cast<uint32_t>(state) | lane << 8;
}

// How many accesses a chunk holds.
uint32_t records_in(const uint8_t* chunk) {
  uint32_t records = 0;
  for (uint32_t at = sizeof(ChunkHeader); at + 8 <= kChunkBytes;) {
    const uint32_t commit = load(reinterpret_cast<const uint32_t*>(chunk + at));
    const uint32_t bytes = (commit & 0xFFFF) * 8;
    if (!bytes || bytes > kChunkBytes - at) break;
    records += kind_is_access(static_cast<RecordKind>(commit >> 16 & 0xFF));
    at += bytes;
  }
  return records;
}

// Is the owner of a chunk that is being claimed or written alive, and still its owner?
bool in_use(uint32_t index, uint32_t owner) {
  if (!owner || owner >= log_header().lanes.count) return false;
  const LaneEntry& lane = lane_at(owner);
  return load(&lane.state) == static_cast<uint32_t>(EntryState::kLive) &&
         load(&lane.chunk) == index + 1 && !lane_dead(lane);
}

// Claims the chunk at `index` for the lane, unless its owner is inside an access. An owner that is
// not finds out at its next access (chunk_enter). `before`: the state it was in.
bool chunk_claim(uint32_t index, LaneEntry& lane, uint32_t lane_index, ChunkState* before) {
  ChunkHeader* chunk = chunk_at(index);
  const uint32_t word = load(&chunk->state);
  *before = static_cast<ChunkState>(word & 0xFF);
  const bool moving = *before == ChunkState::kBusy || *before == ChunkState::kClaimed;
  if (moving && in_use(index, word >> 8)) return false;
  store(&lane.chunk, index + 1);  // before the claim, so that a claimed chunk tells its owner
  if (compare_exchange(&chunk->state, word, chunk_word(ChunkState::kClaimed, lane_index)))
    return true;
  store(&lane.chunk, 0u);
  return false;
}

// Discards what a claimed chunk held.
void chunk_clear(ChunkHeader* chunk, ChunkState before) {
  if (before == ChunkState::kFree) return;
  if (chunk->magic == kChunkMagic) {
    const bool counted = before == ChunkState::kFull && chunk->records;
    count_loss(Loss::kChunksOverwritten);
    count_loss(Loss::kRecordsOverwritten,
               counted ? chunk->records : records_in(reinterpret_cast<uint8_t*>(chunk)));
    chunk->magic = 0;
    compiler_fence();
  }
  *reinterpret_cast<uint64_t*>(chunk + 1) = 0;
}

void chunk_prepare(Thread* thread, uint32_t index, uint64_t ticket, ChunkState before) {
  ChunkHeader* chunk = chunk_at(index);
  chunk_clear(chunk, before);
  chunk->ticket = ticket;
  chunk->process = thread->process->index;
  chunk->lane = thread->lane;
  chunk->pid = thread->process->pid;
  chunk->tid = thread->tid;
  chunk->records = 0;
  chunk->start_tsc = thread->clock_tsc = rdtsc();
  process_has_chunk(thread->process, ticket);
  store(&chunk->magic, kChunkMagic);
  store(&chunk->state, chunk_word(ChunkState::kBusy, thread->lane));
  thread->cursor = reinterpret_cast<uint8_t*>(chunk + 1);
  thread->chunk_begin = reinterpret_cast<uint8_t*>(chunk);
  thread->chunk_end = thread->chunk_begin + kChunkBytes;
  thread->clock_due = thread->cursor + kClockEvery;
  thread->chunk_stamp = ticket + 1;
  thread->chunk_records = 0;
}

// The thread's chunk, null if it has none.
ChunkHeader* own_chunk(const Thread* thread) {
  return thread->lane_entry && thread->lane_entry->chunk ? chunk_at(thread->lane_entry->chunk - 1)
                                                         : nullptr;
}

void chunk_forget(Thread* thread) {
  if (thread->lane_entry) store(&thread->lane_entry->chunk, 0u);
  thread->cursor = thread->chunk_end = thread->quick_end = nullptr;
  thread->chunk_kept = 0;
  thread->chunk_stamp = 0;
}

// From here to chunk_leave nobody takes the thread's chunk. False: it has none, or somebody took it
// since the last access.
bool chunk_enter(Thread* thread) {
  ChunkHeader* chunk = own_chunk(thread);
  if (!chunk) return false;
  const uint32_t busy = chunk_word(ChunkState::kBusy, thread->lane);
  if (compare_exchange(&chunk->state, chunk_word(ChunkState::kReady, thread->lane), busy) ||
      load(&chunk->state) == busy)  // the access before was given up half-way
    return true;
  chunk_forget(thread);
  return false;
}

void chunk_leave(Thread* thread) {
  thread->chunk_kept = 0;
  thread->quick_end = nullptr;
  store(&own_chunk(thread)->state, chunk_word(ChunkState::kReady, thread->lane));
}

}  // namespace

void record_chunk_give_up(Thread* thread) {
  if (!chunk_enter(thread)) return;
  own_chunk(thread)->records = thread->chunk_records;
  store(&own_chunk(thread)->state, chunk_word(ChunkState::kFull, 0));
  chunk_forget(thread);
}

namespace {

bool chunk_take(Thread* thread) {
  if (!thread->lane && !lane_take(thread)) return false;
  if (thread->cursor)
    brake_meter(thread, thread->chunk_begin,
                static_cast<uint64_t>(thread->cursor - thread->chunk_begin));
  record_chunk_give_up(thread);
  const uint32_t count = log_header().chunks.count;
  for (uint32_t tries = 0; tries < count; ++tries) {
    const uint64_t ticket = fetch_add(&log_header().next_ticket, uint64_t{1});
    const uint32_t index = static_cast<uint32_t>(ticket % count);
    ChunkState before;
    if (!chunk_claim(index, *thread->lane_entry, thread->lane, &before)) continue;
    chunk_prepare(thread, index, ticket, before);
    return true;
  }
  store(&log_header().chunks_scarce, 1u);
  return false;
}

// Who writes seldom has a clock record with each: what is asked of a time goes by them.
bool clock_late(const Thread* thread, uint64_t now) {
  constexpr uint64_t kPerSecond = 1000;
  return now - thread->clock_tsc >= log_header().tsc_hz / kPerSecond;
}

// The chunk ends behind a record of so many bytes at the cursor.
void end_chunk_behind(Thread* thread, uint32_t bytes) {
  uint8_t* end = thread->cursor + bytes;
  if (end < thread->chunk_end) *reinterpret_cast<uint64_t*>(end) = 0;
}

void clock_if_due(Thread* thread) {
  const uint64_t now = rdtsc();
  if (thread->cursor < thread->clock_due && !clock_late(thread, now)) return;
  if (thread->chunk_end - thread->cursor < static_cast<int64_t>(sizeof(ClockRecord)) + 8) return;
  ClockRecord* record = reinterpret_cast<ClockRecord*>(thread->cursor);
  end_chunk_behind(thread, sizeof(ClockRecord));
  record->reserved0 = 0;
  record->tsc = thread->clock_tsc = now;
  store(&record->commit,
        commit_word(sizeof(ClockRecord), RecordKind::kClock, RecordState::kCommitted));
  thread->cursor += sizeof(ClockRecord);
  thread->clock_due = thread->cursor + kClockEvery;
}

}  // namespace

bool ticket_in_log(uint64_t ticket_and_1) {
  const uint32_t count = log_header().chunks.count;
  if (!ticket_and_1 || !count) return false;
  const ChunkHeader* chunk = chunk_at(static_cast<uint32_t>((ticket_and_1 - 1) % count));
  return load(&chunk->magic) == kChunkMagic && load(&chunk->ticket) == ticket_and_1 - 1;
}

uint8_t* record_reserve(Thread* thread, uint32_t bytes, const Filled& filled) {
  uint8_t* record = thread->spare_record;
  if (chunk_enter(thread)) {
    clock_if_due(thread);
    if (thread->chunk_end - thread->cursor >= static_cast<int64_t>(bytes)) record = thread->cursor;
  }
  if (record == thread->spare_record && chunk_take(thread)) record = thread->cursor;
  memset(record, 0, filled.begin);
  memset(record + filled.end, 0, bytes - filled.end);
  if (record == thread->cursor) end_chunk_behind(thread, bytes);
  return record;
}

void record_begin(Thread* thread, uint8_t* record, uint32_t bytes, RecordKind kind) {
  if (record == thread->spare_record) return;
  store(reinterpret_cast<uint32_t*>(record), commit_word(bytes, kind, RecordState::kBegun));
  store(&thread->lane_entry->record, static_cast<uint64_t>(record - file_base()));
}

void record_commit(Thread* thread, uint8_t* record, uint32_t bytes, RecordKind kind,
                   RecordState state) {
  if (record == thread->spare_record) {
    count_loss(Loss::kRecordsDropped);
    return;
  }
  store(reinterpret_cast<uint32_t*>(record), commit_word(bytes, kind, state));
  thread->cursor = record + bytes;
  ++thread->chunk_records;
  store(&thread->lane_entry->record, uint64_t{0});
  chunk_leave(thread);
  fetch_add(&thread->process->entry->accesses, uint64_t{1});
}

void record_abandon(Thread* thread, const uint8_t* record) {
  if (record != thread->spare_record) chunk_leave(thread);
}

bool record_keep(Thread* thread, uint32_t bytes) {
  if (load(&log_header().chunks_scarce)) {
    record_rest(thread);
    return false;
  }
  bool entered = thread->chunk_kept || chunk_enter(thread);
  if (entered) clock_if_due(thread);
  if (!entered || thread->chunk_end - thread->cursor < static_cast<int64_t>(bytes))
    entered = chunk_take(thread);
  if (!entered) return false;
  thread->chunk_kept = 1;
  thread->quick_end = min(thread->clock_due, thread->chunk_end - sizeof(uint64_t));
  return true;
}

void record_rest(Thread* thread) {
  if (thread->chunk_kept) chunk_leave(thread);
}

// ---- Ahead of a syscall -------------------------------------------------------------------------

namespace {

uint32_t chunk_index_of(const uint8_t* record) {
  const uint64_t at = static_cast<uint64_t>(record - file_base()) - log_header().chunks.offset;
  return static_cast<uint32_t>(at / kChunkBytes);
}

bool still_there(const uint8_t* record, uint64_t ticket) {
  const ChunkHeader* chunk = chunk_at(chunk_index_of(record));
  const uint32_t commit = load(reinterpret_cast<const uint32_t*>(record));
  return load(&chunk->ticket) == ticket && load(&chunk->magic) == kChunkMagic &&
         commit >> 24 == static_cast<uint32_t>(RecordState::kBegun);
}

// What a chunk is when its lane is not inside an access: its own, or one that it has left.
uint32_t idle_word(const Thread* thread, uint32_t index) {
  return thread->lane_entry->chunk == index + 1 ? chunk_word(ChunkState::kReady, thread->lane)
                                                : chunk_word(ChunkState::kFull, 0);
}

}  // namespace

RecordAhead record_ahead(Thread* thread, uint8_t* record, uint32_t bytes, RecordKind kind) {
  store(reinterpret_cast<uint32_t*>(record), commit_word(bytes, kind, RecordState::kBegun));
  thread->cursor = record + bytes;
  ++thread->chunk_records;
  chunk_leave(thread);
  return {record, chunk_at(chunk_index_of(record))->ticket};
}

bool record_resume(Thread* thread, const RecordAhead& ahead) {
  if (!thread->lane_entry) return false;
  const uint32_t index = chunk_index_of(ahead.record);
  const uint32_t idle = idle_word(thread, index);
  thread->chunk_left = thread->lane_entry->chunk;
  store(&thread->lane_entry->chunk, index + 1);  // before the claim, as in chunk_claim
  ChunkHeader* chunk = chunk_at(index);
  const uint32_t busy = chunk_word(ChunkState::kBusy, thread->lane);
  if (compare_exchange(&chunk->state, idle, busy)) {
    if (still_there(ahead.record, ahead.ticket)) {
      store(&thread->lane_entry->record, static_cast<uint64_t>(ahead.record - file_base()));
      return true;
    }
    store(&chunk->state, idle);
  }
  store(&thread->lane_entry->chunk, thread->chunk_left);
  return false;
}

void record_settle(Thread* thread, const RecordAhead& ahead, RecordState state) {
  uint32_t* commit = reinterpret_cast<uint32_t*>(ahead.record);
  const uint32_t index = chunk_index_of(ahead.record);
  store(commit, (*commit & 0xFFFFFF) | static_cast<uint32_t>(state) << 24);
  store(&thread->lane_entry->record, uint64_t{0});
  const bool own = thread->chunk_left == index + 1;
  store(&chunk_at(index)->state,
        own ? chunk_word(ChunkState::kReady, thread->lane) : chunk_word(ChunkState::kFull, 0));
  store(&thread->lane_entry->chunk, thread->chunk_left);
  if (state == RecordState::kCommitted) fetch_add(&thread->process->entry->accesses, uint64_t{1});
}

}  // namespace shmrec::agent
