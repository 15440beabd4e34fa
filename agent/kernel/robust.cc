#include "agent/kernel/robust.h"

#include <linux/futex.h>

#include "agent/kernel/bounce.h"

namespace shmrec::agent {

using shmlog::LaneEntry;
using RobustFutex = LaneEntry::RobustFutex;

namespace {

constexpr int kMaxEntries = 2048;  // the kernel follows no more

struct ListHead {  // struct robust_list_head
  uint64_t first;
  int64_t futex_offset;
  uint64_t pending;
};
constexpr uint64_t entry_of(uint64_t link) {
  return link & ~1ull;
}  // bit 0: a priority-inheriting mutex

bool read_head(const Thread* thread, ListHead* head) {
  return thread->robust_head && peek(head, thread->robust_head, sizeof *head) == sizeof *head;
}

bool is_pending(const Thread* thread, uint64_t address) {
  ListHead head;
  return read_head(thread, &head) && entry_of(head.pending) &&
         entry_of(head.pending) + static_cast<uint64_t>(head.futex_offset) == address;
}

uint64_t offset_of(const Region& region, uint64_t address) {
  return region.segment_offset + (address - region.begin);
}

// The agent acts in the kernel's place, where the thread is.
Origin origin_of(const Thread* thread) {
  return {thread->regs.rip, max(thread->event, thread->call.event), 0, shmlog::kFlagUntracedCode};
}

// ---- The notes in the log -----------------------------------------------------------------------

RobustFutex* slot_find(LaneEntry& lane, uint32_t segment, uint64_t offset) {
  for (RobustFutex& slot : lane.robust)
    if (load(&slot.segment) == segment && load(&slot.offset) == offset) return &slot;
  return nullptr;
}

void slot_clear(LaneEntry& lane, RobustFutex* slot, uint32_t segment);

// Mutexes that were given back unseen, where the brake had opened their pages (memory/brake.h).
void forget_given_back(Thread* thread, LaneEntry& lane) {
  for (RobustFutex& slot : lane.robust) {
    Region region;
    uint32_t value = 0;
    const uint64_t offset = load(&slot.offset);
    if (!region_of_segment(load(&slot.segment), offset, 4, &region)) continue;
    const uint64_t address = region.begin + (offset - region.segment_offset);
    const bool known = peek(&value, address, 4) == 4;
    if (known && (value & FUTEX_TID_MASK) != static_cast<uint32_t>(thread->tid))
      slot_clear(lane, &slot, load(&slot.segment));
  }
}

void slot_add(Thread* thread, uint32_t segment, uint64_t offset) {
  LaneEntry* lane = thread->lane_entry;
  if (!lane || slot_find(*lane, segment, offset)) return;
  if (load(&lane->robust_count) == shmlog::kRobustSlots && log_header().max_slowdown)
    forget_given_back(thread, *lane);
  for (RobustFutex& slot : lane->robust) {
    if (load(&slot.segment)) continue;
    store(&slot.offset, offset);
    store(&slot.segment, segment);
    fetch_add(&lane->robust_count, 1u);
    fetch_add(&log_header().robust_held, 1u);
    return;
  }
  coverage(thread->process, "a thread holds more robust mutexes than the log can note");
}

// Of all who find a slot out of date, one clears it.
void slot_clear(LaneEntry& lane, RobustFutex* slot, uint32_t segment) {
  if (!compare_exchange(&slot->segment, segment, 0u)) return;
  fetch_add(&lane.robust_count, ~0u);
  fetch_add(&log_header().robust_held, ~0u);
}

void slot_remove(Thread* thread, uint32_t segment, uint64_t offset) {
  LaneEntry* lane = thread->lane_entry;
  RobustFutex* slot = lane ? slot_find(*lane, segment, offset) : nullptr;
  if (slot) slot_clear(*lane, slot, segment);
}

// The lane of the thread `owner` that has noted this mutex.
LaneEntry* noted_owner(uint32_t owner, uint32_t segment, uint64_t offset) {
  const shmlog::Header& header = log_header();
  LaneEntry* lanes = log_area<LaneEntry>(header.lanes);
  const uint32_t count = min(load(&header.next_lane), header.lanes.count);
  for (uint32_t i = 1; i < count; ++i)
    if (load(&lanes[i].robust_count) && load(&lanes[i].tid) == static_cast<int32_t>(owner) &&
        slot_find(lanes[i], segment, offset))
      return &lanes[i];
  return nullptr;
}

// Has the lane's process become another program? Its entry says so before the kernel has done it,
// and it may still fail; the new program's entry, or time, tells.
bool replaced_by_exec(const LaneEntry& lane) {
  using shmlog::ProcessEntry;
  const shmlog::Header& header = log_header();
  const ProcessEntry* entries = log_area<ProcessEntry>(header.processes);
  const uint32_t number = load(&lane.process);
  const ProcessEntry* process = process_entry(number);
  if (!process) return number != 0;  // its entry is used again: it has ended
  if (load(&process->exit_known) != 2) return false;
  const uint32_t count = min(load(&header.next_process), header.processes.count);
  for (uint32_t i = 1; i < count; ++i)
    if (load(&entries[i].parent) == number && load(&entries[i].pid) == load(&lane.pid)) return true;
  return rdtsc() - load(&process->end_tsc) > header.tsc_hz;  // unrecorded, for a second
}

bool owner_gone(const LaneEntry& lane) { return lane_dead(lane) || replaced_by_exec(lane); }

// ---- Handing over -------------------------------------------------------------------------------

struct HandOver {
  uint32_t owner;
  bool done, wake;
};

// What the kernel does to a mutex of a dead owner.
int64_t mark_owner_died(uint32_t* word, void* context) {
  HandOver* hand_over = static_cast<HandOver*>(context);
  for (;;) {
    const uint32_t value = load(word);
    if ((value & FUTEX_TID_MASK) != hand_over->owner) return 0;
    if (!compare_exchange(word, value, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) continue;
    hand_over->done = true;
    hand_over->wake = value & FUTEX_WAITERS;
    return 0;
  }
}

void wake_one(uint64_t address) {
  if (const uint64_t alias = alias_of(address, 4)) sys(__NR_futex, alias, FUTEX_WAKE, 1);
}

bool hand_over(Thread* thread, uint64_t address, uint32_t owner) {
  uint32_t value = 0;
  Fault fault;
  if (peek(&value, address, 4) < 4 || (value & FUTEX_TID_MASK) != owner) return false;
  HandOver hand_over = {owner, false, false};
  traced_atomic(thread, origin_of(thread), address, mark_owner_died, &hand_over, &fault);
  if (hand_over.wake) wake_one(address);
  return hand_over.done;
}

// ---- The list of a thread that ends -------------------------------------------------------------

struct Walk {
  Thread* thread;
  ListHead head;
  uint64_t kept;   // the last link that stays on the list: where the next one is to be written
  bool taken_off;  // entries after `kept` were taken off
};

// Handles the entry if it is in traced memory: true.
bool walk_entry(Walk& walk, uint64_t entry) {
  const uint64_t address = entry + static_cast<uint64_t>(walk.head.futex_offset);
  Region region;
  if (!region_find(address, &region)) return false;
  hand_over(walk.thread, address, static_cast<uint32_t>(walk.thread->tid));
  slot_remove(walk.thread, region.segment, offset_of(region, address));
  return true;
}

void keep(Walk& walk, uint64_t link) {
  if (walk.taken_off) safe_copy(reinterpret_cast<void*>(walk.kept), &link, sizeof link);
  walk.taken_off = false;
  walk.kept = entry_of(link);
}

void walk_pending(Walk& walk) {
  const uint64_t none = 0, entry = entry_of(walk.head.pending);
  const uint64_t address = entry + static_cast<uint64_t>(walk.head.futex_offset);
  if (!entry || !walk_entry(walk, entry)) return;
  // Given back, but killed before its waiter was woken: the kernel wakes it.
  uint32_t value = 1;
  if (peek(&value, address, 4) == 4 && !value) wake_one(address);
  safe_copy(reinterpret_cast<void*>(walk.thread->robust_head + offsetof(ListHead, pending)), &none,
            8);
}

}  // namespace

void robust_walk_at_exit(Thread* thread) {
  Walk walk = {thread, {}, thread->robust_head, false};
  if (regions_empty() || !read_head(thread, &walk.head)) return;
  uint64_t link = walk.head.first;
  for (int i = 0; i < kMaxEntries && entry_of(link) != thread->robust_head; ++i) {
    uint64_t next;
    if (peek(&next, entry_of(link), sizeof next) < sizeof next) break;
    if (entry_of(link) == entry_of(walk.head.pending) || !walk_entry(walk, entry_of(link)))
      keep(walk, link);
    else
      walk.taken_off = true;
    link = next;
  }
  keep(walk, link);
  walk_pending(walk);
}

bool robust_holds(const Thread* thread, uint64_t begin, uint64_t end) {
  ListHead head;
  if (!read_head(thread, &head)) return false;
  const auto inside = [&](uint64_t link) {
    const uint64_t address = entry_of(link) + static_cast<uint64_t>(head.futex_offset);
    return entry_of(link) && address >= begin && address < end;
  };
  if (inside(head.pending)) return true;
  uint64_t link = head.first;
  for (int i = 0; i < kMaxEntries && entry_of(link) != thread->robust_head; ++i) {
    if (inside(link)) return true;
    if (peek(&link, entry_of(link), sizeof link) < sizeof link) break;
  }
  return false;
}

void robust_note_ahead(Thread* thread, const Region& region, uint64_t address) {
  if (is_pending(thread, address)) slot_add(thread, region.segment, offset_of(region, address));
}

void robust_note_atomic(Thread* thread, const Region& region, uint64_t address, uint32_t old_value,
                        uint32_t new_value) {
  const uint32_t self = static_cast<uint32_t>(thread->tid);
  const bool was_ours = (old_value & FUTEX_TID_MASK) == self,
             is_ours = (new_value & FUTEX_TID_MASK) == self;
  if (is_ours && !was_ours) robust_note_ahead(thread, region, address);
  if (!is_ours && is_pending(thread, address))
    slot_remove(thread, region.segment, offset_of(region, address));
}

bool robust_check_dead(Thread* thread, const Region& region, uint64_t address) {
  uint32_t value;
  if (!load(&log_header().robust_held) || peek(&value, address, 4) < 4) return false;
  const uint32_t owner = value & FUTEX_TID_MASK;
  if (!owner || owner == static_cast<uint32_t>(thread->tid)) return false;
  const uint64_t offset = offset_of(region, address);
  LaneEntry* lane = noted_owner(owner, region.segment, offset);
  if (!lane || !owner_gone(*lane)) return false;
  const bool done = hand_over(thread, address, owner);
  RobustFutex* slot = slot_find(*lane, region.segment, offset);
  if (slot) slot_clear(*lane, slot, region.segment);
  return done;
}

bool robust_owner_may_die(Thread* thread, const Region& region, uint64_t address, uint32_t value) {
  const uint32_t owner = value & FUTEX_TID_MASK;
  if (!owner) return false;
  if (is_pending(thread, address)) return true;
  return load(&log_header().robust_held) &&
         noted_owner(owner, region.segment, offset_of(region, address));
}

}  // namespace shmrec::agent
