#include "agent/log/records.h"

#include "agent/log/lanes.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kClockEvery = 64;  // records between two clock records

uint8_t* file_base() { return reinterpret_cast<uint8_t*>(&log_header()); }

// ---- Chunks -------------------------------------------------------------------------------------

ChunkHeader* chunk_at(uint32_t index) {
  return reinterpret_cast<ChunkHeader*>(file_base() + log_header().chunks.offset +
                                        static_cast<uint64_t>(index) * kChunkBytes);
}
constexpr uint32_t chunk_word(ChunkState state, uint32_t lane) {
  return static_cast<uint32_t>(state) | lane << 8;
}

uint32_t records_in(const uint8_t* chunk) {
  uint32_t records = 0;
  for (uint32_t at = sizeof(ChunkHeader); at + 8 <= kChunkBytes;) {
    const uint32_t commit = load(reinterpret_cast<const uint32_t*>(chunk + at));
    const uint32_t bytes = (commit & 0xFFFF) * 8;
    if (!bytes) break;
    if ((commit >> 16 & 0xFF) != static_cast<uint32_t>(RecordKind::kClock)) ++records;
    at += bytes;
  }
  return records;
}

// Claims the chunk at `index` for the lane if it is free, full, or its owner is dead.
bool chunk_claim(uint32_t index, uint32_t lane) {
  ChunkHeader* chunk = chunk_at(index);
  const uint32_t word = load(&chunk->state);
  const ChunkState state = static_cast<ChunkState>(word & 0xFF);
  if (state == ChunkState::kReady || state == ChunkState::kClaimed) {
    const uint32_t owner = word >> 8;
    if (owner && owner < log_header().lanes.count) {
      const LaneEntry& entry = lane_at(owner);
      const bool holds = load(&entry.state) == static_cast<uint32_t>(EntryState::kLive) &&
                         load(&entry.chunk) == index + 1;
      if (holds && !lane_dead(entry)) return false;
      if (!holds && state == ChunkState::kClaimed &&
          load(&entry.state) == static_cast<uint32_t>(EntryState::kLive) && !lane_dead(entry))
        return false;  // being prepared right now
    }
  }
  return compare_exchange(&chunk->state, word, chunk_word(ChunkState::kClaimed, lane));
}

void chunk_prepare(Thread* thread, uint32_t index, uint64_t ticket) {
  ChunkHeader* chunk = chunk_at(index);
  if (chunk->magic == kChunkMagic) {
    count_loss(Loss::kChunksOverwritten);
    count_loss(Loss::kRecordsOverwritten, records_in(reinterpret_cast<uint8_t*>(chunk)));
    chunk->magic = 0;
    compiler_fence();
    memset(chunk + 1, 0, kChunkBytes - sizeof(ChunkHeader));
  }
  chunk->ticket = ticket;
  chunk->process = thread->process->index;
  chunk->lane = thread->lane;
  chunk->pid = thread->process->pid;
  chunk->tid = thread->tid;
  chunk->start_tsc = rdtsc();
  store(&chunk->magic, kChunkMagic);
  thread->lane_entry->chunk = index + 1;
  store(&chunk->state, chunk_word(ChunkState::kReady, thread->lane));
  thread->cursor = reinterpret_cast<uint8_t*>(chunk + 1);
  thread->chunk_end = reinterpret_cast<uint8_t*>(chunk) + kChunkBytes;
}

}  // namespace

void record_chunk_give_up(Thread* thread) {
  if (!thread->lane_entry || !thread->lane_entry->chunk) return;
  const uint32_t index = thread->lane_entry->chunk - 1;
  thread->lane_entry->chunk = 0;
  store(&chunk_at(index)->state, chunk_word(ChunkState::kFull, 0));
  thread->cursor = thread->chunk_end = nullptr;
}

namespace {

bool chunk_take(Thread* thread) {
  if (!thread->lane && !lane_take(thread)) return false;
  record_chunk_give_up(thread);
  const uint32_t count = log_header().chunks.count;
  for (uint32_t tries = 0; tries < count; ++tries) {
    const uint64_t ticket = fetch_add(&log_header().next_ticket, uint64_t{1});
    const uint32_t index = static_cast<uint32_t>(ticket % count);
    if (!chunk_claim(index, thread->lane)) continue;
    chunk_prepare(thread, index, ticket);
    return true;
  }
  return false;
}

void clock_if_due(Thread* thread) {
  if (thread->since_clock++ < kClockEvery) return;
  if (thread->chunk_end - thread->cursor < static_cast<int64_t>(sizeof(ClockRecord)) + 8) return;
  ClockRecord* record = reinterpret_cast<ClockRecord*>(thread->cursor);
  record->tsc = rdtsc();
  store(&record->commit,
        commit_word(sizeof(ClockRecord), RecordKind::kClock, RecordState::kCommitted));
  thread->cursor += sizeof(ClockRecord);
  thread->since_clock = 0;
}

}  // namespace

uint8_t* record_reserve(Thread* thread, uint32_t bytes) {
  clock_if_due(thread);
  if (thread->chunk_end - thread->cursor >= static_cast<int64_t>(bytes) || chunk_take(thread))
    return thread->cursor;
  memset(thread->spare_record, 0, bytes);
  return thread->spare_record;
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
  store(&thread->lane_entry->record, uint64_t{0});
  fetch_add(&thread->process->entry->accesses, uint64_t{1});
}

void record_abandon(uint8_t* record, uint32_t bytes) { memset(record, 0, bytes); }

}  // namespace shmrec::agent
