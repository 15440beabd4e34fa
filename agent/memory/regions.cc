#include "agent/memory/regions.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kMaxRegions = 16384;

// In .bss: pages that are never used cost nothing.
Region regions[kMaxRegions];
uint32_t count = 0;
uint32_t sequence = 0;  // odd while `regions` is being changed

struct Change {
  Change() { __atomic_fetch_add(&sequence, 1u, __ATOMIC_SEQ_CST); }
  ~Change() { __atomic_fetch_add(&sequence, 1u, __ATOMIC_SEQ_CST); }
};

// Index of the first region that ends after address.
uint32_t first_after(uint64_t address) {
  uint32_t low = 0, high = min(load(&count), kMaxRegions);
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (regions[middle].end > address)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

void insert_at(uint32_t index, const Region& region) {
  memmove(&regions[index + 1], &regions[index], (count - index) * sizeof(Region));
  regions[index] = region;
  store(&count, count + 1);
}

void erase_at(uint32_t index) {
  memmove(&regions[index], &regions[index + 1], (count - index - 1) * sizeof(Region));
  store(&count, count - 1);
}

// Cuts a region in two at `address` if it lies inside one. The table always keeps room for two
// cuts.
void split_at(uint64_t address) {
  const uint32_t index = first_after(address);
  if (index >= count || regions[index].begin >= address) return;
  Region upper = regions[index];
  const uint64_t skipped = address - upper.begin;
  upper.begin = address;
  upper.alias += skipped;
  upper.segment_offset += skipped;
  regions[index].end = address;
  insert_at(index + 1, upper);
}

}  // namespace

SpinLock regions_lock;

bool regions_empty() { return load(&count) == 0; }

bool region_next(uint64_t address, Region* region) {
  for (;;) {
    const uint32_t before = load(&sequence);
    if (before & 1) {
      cpu_pause();
      continue;
    }
    const uint32_t index = first_after(address);
    const bool found = index < load(&count);
    if (found) *region = regions[index];
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

namespace {

// The agent of a process, whose image is the same as ours but for its base.
struct RemoteAgent {
  int32_t pid;
  uint64_t base;

  // Copies its counterpart of *ours.
  template <typename T>
  bool read(const T* ours, T* to) const {
    const uint64_t offset = reinterpret_cast<uint64_t>(ours) - agent_base();
    const uint64_t local[2] = {reinterpret_cast<uint64_t>(to), sizeof(T)};
    const uint64_t remote[2] = {base + offset, sizeof(T)};
    return sys(__NR_process_vm_readv, pid, local, 1, remote, 1, 0) ==
           static_cast<int64_t>(sizeof(T));
  }
};

}  // namespace

bool region_find_remote(int32_t pid, uint64_t base, uint64_t address, Region* region) {
  const RemoteAgent agent = {pid, base};
  uint32_t low = 0, high;
  if (!base || !agent.read(&count, &high) || high > kMaxRegions) return false;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (!agent.read(&regions[middle], region)) return false;
    if (region->begin <= address && address < region->end) return true;
    if (region->end <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

bool region_overlaps(uint64_t address, uint64_t bytes) {
  Region region;
  if (regions_empty() || !bytes) return false;
  return region_next(address, &region) &&
         region.begin < (address + bytes < address ? ~0ull : address + bytes);
}

bool region_insert(const Region& region) {
  if (count + 3 > kMaxRegions) return false;
  Change change;
  insert_at(first_after(region.begin), region);
  return true;
}

void region_remove(uint64_t begin, uint64_t end,
                   void (*removed)(const Region& piece, void* context), void* context) {
  if (!region_overlaps(begin, end - begin)) return;
  Change change;
  split_at(begin);
  split_at(end);
  for (uint32_t index = first_after(begin); index < count && regions[index].begin < end;) {
    const Region piece = regions[index];
    erase_at(index);
    if (removed) removed(piece, context);
  }
}

void region_update(uint64_t begin, uint64_t end, void (*change_piece)(Region& piece, void* context),
                   void* context) {
  if (!region_overlaps(begin, end - begin)) return;
  Change change;
  split_at(begin);
  split_at(end);
  for (uint32_t index = first_after(begin); index < count && regions[index].begin < end; ++index)
    change_piece(regions[index], context);
}

}  // namespace shmrec::agent
