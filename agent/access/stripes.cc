// In which order did two processes access one place?
//
// Each thread's part of the log is in the order of that thread, but no clock orders the accesses of
// two threads: it is read before the access or after it, never with it. Say A stores 1 to x, B
// loads x, and their records have the clock readings 100 and 101. B may have found the old value
// all the same: A read the clock, lost the processor, and stored a second later. So the order has
// to be taken at the place itself, with the access. One counter for the whole run would do that,
// and every access of every process would fight for its line of memory.
//
// So each line has a word of its own, its stripe: how many recorded writes there were, and, while
// one is being made, the lane of the writer. All recorded processes map the same words.
//
//     A                                       B                          word
//                                             reads the word             6
//     locks the word; its version is 7                                   6, locked by A
//     writes 7 into its record, stores 1      loads x
//     unlocks                                 reads the word             7
//                                             7 is not 6: once more
//                                             loads x, word still 7      7
//                                             its read has version 8
//
// A write with version v is the v-th; a read with version v comes before that one and after the one
// before it. B read after A's write, and the log says so: 8 is more than 7.
//
// Why it is right.
//  - Writes to a line exclude each other, so each has a version that no other one has.
//  - A read that found the word unlocked and equal before and after saw no write in between, for
//    the version never goes back: it saw all writes up to that version and none of the later ones.
//  - The processor keeps loads in their order and stores in theirs, and taking the word is an
//  atomic
//    instruction, over which nothing moves. Releasing it is a plain store, behind that of the
//    value. (A thread that has stored to x has thereby locked x before it reads y: of two threads
//    that do so the other way round, one finds the other's word locked or the store made. That is
//    why exact order hides what only weak memory order shows.)
//  - Lines that share a word, since there are fewer words than lines, are ordered with each other
//    too. That is more than is needed and never false.
//  - An access takes one word at a time, line by line, for as one it is not atomic alone either.
//    A long one takes the words of two neighbouring lines by one instruction: both or none, so that
//    it waits for nobody while it holds one. Only an atomic instruction across two lines takes two
//    words one after the other, the lower first, so that no circle of waiters can arise.
//
// The death of a holder. kill -9 may come between any two instructions, and others wait for the
// word. The record was written ahead, the lane names the word, and memory says how far the store
// came:
//
//     version not yet in the record      nothing was stored: the word is released as it was
//     memory has the record's value      it happened: the word goes on to the next version
//     the first bytes are still others   stores go upwards, so it did not happen: the record
//                                        loses its version, the word is released as it was
//     anything else                      some of it is there: it counts, and is marked as inferred
//
// A waiter finds the holder dead by its lane (log/lanes.h). It first puts its own lane into the
// word, so that one alone settles the record, and then releases the word.
//
// A holder that lives but does not move (SIGSTOP, a debugger) would stop everyone. Its word is
// taken away after kStealAfterTsc, and that is counted: the access that it still makes then has the
// place of a version that others have passed. When it comes to unlock, the word is not what it
// locked, and it leaves it alone; if it was stopped between that look and its store, the line's
// version goes back to its own, which the same count says.
#include "agent/access/stripes.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// About 0.2 s: a stopped owner does not stop the others.
constexpr uint64_t kStealAfterTsc = 1 << 29;

uint64_t* stripe_at(uint32_t stripe) { return log_area<uint64_t>(log_header().stripes) + stripe; }

// ---- Settling a dead thread's record ------------------------------------------------------------

// The record of the access in which a thread died, with its parts.
struct InFlight {
  uint32_t* commit;
  RecordKind kind;
  RecordState state;
  uint32_t segment, length;
  uint64_t offset;
  uint64_t* write_versions;
  uint8_t* before;  // of kinds that read
  uint8_t* after;
  uint32_t lines;
};

// What of an access in flight a record says itself, or its place does.
bool describe(uint8_t* at, uint64_t in_chunk, InFlight* record) {
  const uint32_t commit = load(reinterpret_cast<uint32_t*>(at));
  record->commit = reinterpret_cast<uint32_t*>(at);
  record->kind = static_cast<RecordKind>(commit >> 16 & 0xFF);
  record->state = static_cast<RecordState>(commit >> 24);
  const RecordHeader* header = reinterpret_cast<const RecordHeader*>(at);
  if (!kind_is_short(record->kind) && in_chunk + sizeof(RecordHeader) > kChunkBytes) return false;
  uint64_t further = 0;
  record->write_versions = reinterpret_cast<uint64_t*>(at + sizeof(RecordHeader));
  if (kind_is_short(record->kind)) {
    const ShortRecord& shortened = *reinterpret_cast<const ShortRecord*>(at);
    const uint64_t place = short_place(shortened.event_place);
    if (place < sizeof(ChunkHeader) || place + sizeof(RecordHeader) > in_chunk) return false;
    record->kind = long_kind(record->kind);
    record->write_versions = reinterpret_cast<uint64_t*>(at + sizeof(ShortRecord));
    header = reinterpret_cast<const RecordHeader*>(at - in_chunk + place);
    further = shortened.offset;
  }
  record->segment = header->segment;
  record->offset = header->offset + further;
  record->length = header->length;
  return true;
}

bool in_flight(const LaneEntry& dead, InFlight* record) {
  const uint64_t at = load(&dead.record);
  const Area& chunks = log_header().chunks;
  const uint64_t in_chunk = (at - chunks.offset) % kChunkBytes;
  if (at < chunks.offset || at - chunks.offset >= uint64_t{chunks.count} * kChunkBytes ||
      in_chunk + sizeof(ShortRecord) > kChunkBytes)
    return false;
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(&log_header()) + at;
  if (!describe(bytes, in_chunk, record)) return false;
  const uint32_t length = record->length;
  if (!length || length > kMaxAccessBytes) return false;
  record->lines = lines_touched(record->offset, length);
  if (kind_has_two_versions(record->kind)) record->write_versions += record->lines;
  record->before = reinterpret_cast<uint8_t*>(record->write_versions + record->lines);
  record->after = kind_reads(record->kind) ? record->before + length : record->before;
  return record->after + length <= bytes - in_chunk + kChunkBytes;
}

void set_state(const InFlight& record, RecordState state) {
  const uint32_t commit = load(record.commit);
  if (commit >> 24 == static_cast<uint32_t>(RecordState::kBegun))
    compare_exchange(record.commit, commit,
                     (commit & 0xFFFFFF) | static_cast<uint32_t>(state) << 24);
}

// Copies what the segment holds at the record's bytes [first, first + bytes). False: not mapped
// here.
bool read_segment(const InFlight& record, uint64_t first, uint64_t bytes, uint8_t* to) {
  Region region;
  const uint64_t offset = record.offset + first;
  if (!region_of_segment(record.segment, offset, bytes, &region)) return false;
  Fault fault;
  return safe_copy(to, reinterpret_cast<void*>(region.alias + (offset - region.segment_offset)),
                   bytes, &fault);
}

// What the segment holds at a line tells how far a store to it came: it copies upwards.
enum class Stored { kAll, kNothing, kUnknown };
Stored stored(const InFlight& record, uint64_t first, uint64_t bytes) {
  uint8_t now[kLineBytes];
  const uint8_t* wanted = record.after + first;
  if (!read_segment(record, first, bytes, now)) return Stored::kUnknown;
  if (memcmp(now, wanted, bytes) == 0) return Stored::kAll;
  // The first move of safe_copy.
  const uint64_t move = bytes >= 8 ? 8 : bytes == 4 || bytes == 2 ? bytes : 1;
  return memcmp(now, wanted, move) == 0 ? Stored::kUnknown : Stored::kNothing;
}

// Returns whether the version was used. A line's version is filled in before the line is stored to.
bool settle_store(const InFlight& record, uint32_t stripe, uint64_t version) {
  const uint64_t offset = record.offset, end = offset + record.length;
  for (uint32_t line = 0; line < record.lines; ++line) {
    const uint64_t begin = line ? (offset / kLineBytes + line) * kLineBytes : offset;
    if (stripe_index(record.segment, begin) != stripe) continue;
    if (!record.write_versions[line]) return false;
    if (record.write_versions[line] != version + 1) continue;
    if (kind_is_between(record.kind)) return true;  // the kernel had stored it before
    const uint64_t bytes = min(end, (begin / kLineBytes + 1) * kLineBytes) - begin;
    const Stored found = stored(record, begin - offset, bytes);
    if (found == Stored::kUnknown) set_state(record, RecordState::kInferred);
    if (found == Stored::kNothing) store(&record.write_versions[line], uint64_t{0});
    return found != Stored::kNothing;
  }
  return true;  // held in somebody else's place: see take_over
}

// An atomic instruction happened if its memory changed, or if it had come to release another
// stripe.
void settle_atomic(const InFlight& record, uint32_t stripe, uint32_t lane) {
  const uint32_t first = stripe_index(record.segment, record.offset);
  const uint32_t last = stripe_index(record.segment, record.offset + record.length - 1);
  const uint64_t other = load(stripe_at(first == stripe ? last : first));
  const bool released = first != last && (!stripe_locked(other) || stripe_lane(other) != lane);
  uint8_t now[kLineBytes];
  if (released || record.length > sizeof now || !read_segment(record, 0, record.length, now))
    return set_state(record, RecordState::kInferred);
  if (memcmp(now, record.before, record.length) == 0)
    return set_state(record, RecordState::kAborted);
  memcpy(record.after, now, record.length);
  set_state(record, RecordState::kInferred);
}

// What the dead holder of a stripe at `version` did to its line. Returns whether the version was
// used. REQUIRES: the stripe is ours, or nobody else's who could settle it.
bool settle(uint32_t lane, uint32_t stripe, uint64_t version) {
  InFlight record;
  if (!lane || lane >= log_header().lanes.count || !in_flight(lane_at(lane), &record)) return false;
  if (record.kind == RecordKind::kReadWrite) {
    if (record.state == RecordState::kBegun) settle_atomic(record, stripe, lane);
    return true;
  }
  return settle_store(record, stripe, version);
}

// Takes a stripe away from a holder that is dead, or that has not moved for too long. The word goes
// to one locked by us, so that only one of the waiters settles the holder's record.
void take_over(Thread* thread, uint32_t stripe, uint64_t word, bool dead) {
  const uint64_t version = stripe_version(word);
  const uint64_t mine = stripe_word_locked(version, thread->lane);
  if (!compare_exchange(stripe_at(stripe), word, mine)) return;
  const bool used = !dead || settle(stripe_lane(word), stripe, version);
  compare_exchange(stripe_at(stripe), mine, stripe_word(version + used));
  count_loss(dead ? Loss::kStripesRecovered : Loss::kStripesStolen);
}

bool owner_dead(uint64_t word) {
  const uint32_t owner = stripe_lane(word);
  return owner && owner < log_header().lanes.count && lane_dead(lane_at(owner));
}

}  // namespace

void stripes_recover(uint32_t index) {
  for (uint32_t held : lane_at(index).held) {
    if (!held || held > log_header().stripes.count) continue;
    const uint64_t word = load(stripe_at(held - 1));
    if (!stripe_locked(word) || stripe_lane(word) != index) continue;
    const bool used = settle(index, held - 1, stripe_version(word));
    if (compare_exchange(stripe_at(held - 1), word, stripe_word(stripe_version(word) + used)))
      count_loss(Loss::kStripesRecovered);
  }
}

uint64_t stripe_peek(uint32_t stripe) { return load(stripe_at(stripe)); }

uint64_t stripe_wait(Thread* thread, uint32_t stripe) {
  uint64_t word = load(stripe_at(stripe));
  uint64_t waited_for = 0, since = 0;
  for (uint32_t tries = 0; stripe_locked(word); ++tries, word = load(stripe_at(stripe))) {
    if (word != waited_for) {
      waited_for = word;
      since = rdtsc();
      tries = 0;
    }
    if (tries < 500) {
      cpu_pause();
      continue;
    }
    sys(__NR_sched_yield);
    if (tries % 64 != 0) continue;
    if (owner_dead(word))
      take_over(thread, stripe, word, true);
    else if (rdtsc() - since > kStealAfterTsc)
      take_over(thread, stripe, word, false);
  }
  return word;
}

uint64_t stripe_lock(Thread* thread, int slot, uint32_t stripe) {
  if (!thread->lane) lane_take(thread);  // without one, waiters take the stripe after a while
  if (thread->lane_entry) thread->lane_entry->held[slot] = stripe + 1;
  thread->stripe[slot] = stripe + 1;
  for (;;) {
    const uint64_t word = stripe_wait(thread, stripe);
    thread->stripe_word[slot] = stripe_word_locked(stripe_version(word), thread->lane);
    if (compare_exchange(stripe_at(stripe), word, thread->stripe_word[slot]))
      return stripe_version(word) + 1;
  }
}

void stripe_unlock(Thread* thread, int slot, bool wrote) {
  const uint64_t word = thread->stripe_word[slot];
  uint64_t* const at = stripe_at(thread->stripe[slot] - 1);
  if (load(at) == word) store(at, stripe_word(stripe_version(word) + wrote));
  thread->stripe[slot] = 0;
  if (thread->lane_entry) thread->lane_entry->held[slot] = 0;
}

}  // namespace shmrec::agent
