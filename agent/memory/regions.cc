#include "agent/memory/regions.h"

#include "agent/memory/outside.h"
#include "agent/memory/remote_agent.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kMaxRegions = 128 * 1024;

// Sorted, with the unused places in one gap where the last change was made: mappings come and go
// beside each other, and then nothing is moved. In .bss: pages that are never used cost nothing.
struct Table {
  uint32_t count;
  uint32_t gap;  // index of the first region behind the gap
  Region places[kMaxRegions];
} table;

uint32_t sequence = 0;      // odd while `table` is being changed
uint32_t change_depth = 0;  // of the one who holds regions_lock
bool used = false;

uint32_t place_of(uint32_t index, uint32_t count, uint32_t gap) {
  return index < gap ? index : index + (kMaxRegions - count);
}
Region& at(uint32_t index) { return table.places[place_of(index, table.count, table.gap)]; }

// Index of the first region that ends after address. Without the lock the result may be nonsense,
// but is a place in the table.
uint32_t first_after(uint64_t address, uint32_t count, uint32_t gap) {
  uint32_t low = 0, high = count;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (table.places[place_of(middle, count, gap)].end > address)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}
uint32_t first_after(uint64_t address) { return first_after(address, table.count, table.gap); }

void move_gap(uint32_t index) {
  const uint32_t gap_size = kMaxRegions - table.count;
  Region* places = table.places;
  if (index < table.gap)
    memmove(places + index + gap_size, places + index, (table.gap - index) * sizeof(Region));
  else
    memmove(places + table.gap, places + table.gap + gap_size,
            (index - table.gap) * sizeof(Region));
  table.gap = index;
}

void insert_at(uint32_t index, const Region& region) {
  move_gap(index);
  table.places[index] = region;
  ++table.gap;
  store(&table.count, table.count + 1);
}

void erase_at(uint32_t index) {
  move_gap(index);
  store(&table.count, table.count - 1);
}

// Cuts a region in two at `address` if it lies inside one. The table always keeps room for two
// cuts.
void split_at(uint64_t address) {
  const uint32_t index = first_after(address);
  if (index >= table.count || at(index).begin >= address) return;
  Region upper = at(index);
  const uint64_t skipped = address - upper.begin;
  upper.begin = address;
  upper.alias += skipped;
  upper.segment_offset += skipped;
  at(index).end = address;
  insert_at(index + 1, upper);
}

bool any_in(uint64_t begin, uint64_t end) {
  const uint32_t index = first_after(begin);
  return index < table.count && at(index).begin < end;
}

// Does `upper` go on where `lower` ends, in all respects?
bool continues(const Region& lower, const Region& upper) {
  const uint64_t bytes = lower.end - lower.begin;
  return upper.begin == lower.end && upper.alias == lower.alias + bytes &&
         upper.segment_offset == lower.segment_offset + bytes && upper.segment == lower.segment &&
         upper.protection == lower.protection && upper.relaxed == lower.relaxed &&
         upper.writes_only == lower.writes_only && upper.braked == lower.braked &&
         upper.not_forked == lower.not_forked && upper.executed == lower.executed &&
         upper.may_write == lower.may_write && !upper.sysv && !lower.sysv;
}

// Joins the regions that touch in [begin, end] and have become alike, as the kernel joins mappings.
void join(uint64_t begin, uint64_t end) {
  uint32_t index = first_after(begin);
  if (index) --index;
  while (index + 1 < table.count && at(index).end <= end) {
    if (!continues(at(index), at(index + 1))) {
      ++index;
      continue;
    }
    at(index).end = at(index + 1).end;
    erase_at(index + 1);
  }
}

}  // namespace

SpinLock regions_lock;

uint32_t regions_sequence() { return load(&sequence); }
const uint32_t* regions_sequence_at() { return &sequence; }
bool regions_empty() { return load(&table.count) == 0; }
namespace {
uint64_t lowest = ~0ull, highest = 0;  // all that was ever inserted lies between
}
bool regions_unused() { return !load(&used); }
void regions_expect() { store(&used, true); }

bool region_next(uint64_t address, Region* region) {
  for (;;) {
    const uint32_t before = load(&sequence);
    if (before & 1) {
      cpu_pause();
      continue;
    }
    const uint32_t count = min(load(&table.count), kMaxRegions);
    const uint32_t gap = min(load(&table.gap), count);
    const uint32_t index = first_after(address, count, gap);
    const bool found = index < count;
    if (found) *region = table.places[place_of(index, count, gap)];
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (load(&sequence) == before) return found;
  }
}

bool region_find(uint64_t address, Region* region) {
  return region_next(address, region) && region->begin <= address;
}

bool region_of_segment(uint32_t segment, uint64_t offset, uint64_t bytes, Region* region) {
  for (uint64_t after = 0; region_next(after, region); after = region->end) {
    const uint64_t size = region->end - region->begin;
    if (region->segment == segment && region->segment_offset <= offset && bytes <= size &&
        offset - region->segment_offset <= size - bytes)
      return true;
  }
  return false;
}

bool region_next_remote(int32_t pid, uint64_t base, uint64_t address, Region* region) {
  const RemoteAgent agent = {pid, base};
  uint32_t low = 0, count, gap;
  if (!base || !agent.read(&table.count, &count) || !agent.read(&table.gap, &gap) ||
      count > kMaxRegions || gap > count)
    return false;
  for (uint32_t high = count; low < high;) {
    const uint32_t middle = (low + high) / 2;
    if (!agent.read(&table.places[place_of(middle, count, gap)], region)) return false;
    if (region->end > address)
      high = middle;
    else
      low = middle + 1;
  }
  return low < count && agent.read(&table.places[place_of(low, count, gap)], region);
}

bool region_overlaps(uint64_t address, uint64_t bytes) {
  Region region;
  if (regions_empty() || !bytes) return false;
  const uint64_t end = address + bytes < address ? ~0ull : address + bytes;
  if (address >= load(&highest) || end <= load(&lowest)) return false;
  return region_next(address, &region) && region.begin < end;
}

// ---- Changes ------------------------------------------------------------------------------------

RegionsChange::RegionsChange() {
  if (!change_depth++) __atomic_fetch_add(&sequence, 1u, __ATOMIC_SEQ_CST);
}

RegionsChange::~RegionsChange() {
  if (!--change_depth) __atomic_fetch_add(&sequence, 1u, __ATOMIC_SEQ_CST);
}

bool region_insert(const Region& region) {
  if (table.count + 3 > kMaxRegions) return false;
  RegionsChange change;
  used = true;
  store(&lowest, min(lowest, region.begin));
  store(&highest, max(highest, region.end));
  insert_at(first_after(region.begin), region);
  if (!outside_add(region.begin, region.end))
    for (uint32_t i = 0; i < table.count; ++i) outside_add(at(i).begin, at(i).end);
  join(region.begin, region.end);
  return true;
}

void region_remove(uint64_t begin, uint64_t end,
                   void (*removed)(const Region& piece, void* context), void* context) {
  if (!any_in(begin, end)) return;
  RegionsChange change;
  split_at(begin);
  split_at(end);
  for (uint32_t index = first_after(begin); index < table.count && at(index).begin < end;) {
    const Region piece = at(index);
    erase_at(index);
    outside_remove(piece.begin, piece.end);
    if (removed) removed(piece, context);
  }
}

void region_update(uint64_t begin, uint64_t end, void (*change_piece)(Region& piece, void* context),
                   void* context) {
  if (!any_in(begin, end)) return;
  RegionsChange change;
  split_at(begin);
  split_at(end);
  for (uint32_t index = first_after(begin); index < table.count && at(index).begin < end; ++index)
    change_piece(at(index), context);
  join(begin, end);
}

}  // namespace shmrec::agent
