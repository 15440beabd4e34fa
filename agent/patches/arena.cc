#include "agent/patches/arena.h"

#include <linux/mman.h>

#include "agent/memory/remote_agent.h"
#include "agent/signals/unwind.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kGranule = 16;
constexpr uint32_t kGranules = kArenaBytes / kGranule;
constexpr uint32_t kMaxArenas = 256;
constexpr uint32_t kMaxTries = 512;  // mappings that are asked for
constexpr uint32_t kMaxTriesInReplay = 1 << 16;
constexpr int32_t kNearest = 2 << 4;  // in 64 KiB: beside the module there may soon be another

struct Arena {
  uint64_t base;
  uint32_t first;  // below this granule nothing is free
  uint16_t owners[kGranules];
};
Arena arenas[kMaxArenas];
uint32_t arena_count = 0;
int protection = PROT_READ | PROT_EXEC;
uint32_t max_tries = kMaxTries;

bool is_free(const Arena& arena, uint64_t at, uint32_t bytes) {
  if (at + bytes > kArenaBytes) return false;
  for (uint64_t granule = at / kGranule; granule <= (at + bytes - 1) / kGranule; ++granule)
    if (arena.owners[granule]) return false;
  return true;
}

void note(Arena& arena, uint64_t at, uint32_t bytes, uint16_t number) {
  for (uint64_t granule = at / kGranule; granule <= (at + bytes - 1) / kGranule; ++granule)
    store(&arena.owners[granule], number);
}

uint64_t take_in(Arena& arena, uint64_t from, uint32_t bytes, uint16_t number,
                 const Distances& distances) {
  const int64_t lowest = static_cast<int64_t>(arena.base - from);
  const int64_t highest = lowest + static_cast<int64_t>(kArenaBytes - 1);
  if (lowest < INT32_MIN || highest > INT32_MAX) return 0;
  if (!distances.allows_high(static_cast<uint32_t>(lowest) >> 16) &&
      !distances.allows_high(static_cast<uint32_t>(highest) >> 16))
    return 0;
  while (arena.first < kGranules && arena.owners[arena.first]) ++arena.first;
  for (uint64_t at = arena.first * kGranule; at + bytes <= kArenaBytes; ++at) {
    if (arena.owners[at / kGranule]) {
      at |= kGranule - 1;
      continue;
    }
    if (!distances.allows(static_cast<uint32_t>(arena.base + at - from)) ||
        !is_free(arena, at, bytes))
      continue;
    note(arena, at, bytes, number);
    return arena.base + at;
  }
  return 0;
}

bool map_at(uint64_t base) {
  return sys(__NR_mmap, base, kArenaBytes, protection,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
             0) == static_cast<int64_t>(base);
}

// The first address with this upper half of the distance at which an arena has room; 0: none.
uint64_t first_place(uint64_t from, uint32_t high, uint32_t bytes, const Distances& distances) {
  for (uint32_t low = 0; low < 1 << 16; ++low) {
    if (!distances.allows_byte(1, low >> 8)) {
      low |= 0xFF;
      continue;
    }
    if (!distances.allows_low(low)) continue;
    const uint64_t at =
        from + static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(high << 16 | low)));
    if (at % kArenaBytes + bytes <= kArenaBytes) return at;
  }
  return 0;
}

// Maps an arena: below the code from near to far, then above it from far to near, away from a heap
// that begins there.
bool make(uint64_t from, uint32_t bytes, const Distances& distances) {
  constexpr uint64_t kLowest = 1 << 20;
  if (arena_count == kMaxArenas) return false;
  uint32_t tries = 0;
  for (int32_t step = kNearest; step < (1 << 16) - kNearest && tries < max_tries; ++step) {
    const int32_t high = step < 1 << 15 ? -step : (1 << 16) - step - 1;
    if (high < 0 && static_cast<uint64_t>(-high) << 16 > from - kLowest) continue;
    if (!distances.allows_high(static_cast<uint32_t>(high) & 0xFFFF)) continue;
    const uint64_t at = first_place(from, static_cast<uint32_t>(high) & 0xFFFF, bytes, distances);
    if (!at) return false;
    ++tries;
    const uint64_t base = at & ~(kArenaBytes - 1);
    if (!map_at(base)) continue;
    arenas[arena_count].base = base;
    store(&arena_count, arena_count + 1);
    return true;
  }
  return false;
}

const Arena* arena_of(uint64_t address) {
  for (uint32_t i = 0, count = load(&arena_count); i < count; ++i)
    if (address - arenas[i].base < kArenaBytes) return &arenas[i];
  return nullptr;
}

}  // namespace

uint64_t arena_take(uint64_t from, uint32_t bytes, uint16_t number, const Distances& distances) {
  for (uint32_t i = 0; i < arena_count; ++i)
    if (const uint64_t at = take_in(arenas[i], from, bytes, number, distances)) return at;
  return make(from, bytes, distances)
             ? take_in(arenas[arena_count - 1], from, bytes, number, distances)
             : 0;
}

void arena_give_back(uint64_t stub, uint16_t number) {
  Arena* arena = const_cast<Arena*>(arena_of(stub));
  if (!arena) return;
  uint32_t at = static_cast<uint32_t>((stub - arena->base) / kGranule);
  arena->first = min(arena->first, at);
  for (; at < kGranules && arena->owners[at] == number; ++at)
    store(&arena->owners[at], uint16_t{0});
}

void arenas_in_replay() {
  protection |= PROT_WRITE;
  max_tries = kMaxTriesInReplay;
}

void arenas_drop(uint64_t begin, uint64_t end) {
  for (uint32_t i = arena_count; i-- > 0;) {
    if (arenas[i].base >= end || arenas[i].base + kArenaBytes <= begin) continue;
    sys(__NR_munmap, arenas[i].base, kArenaBytes);
    const uint32_t last = arena_count - 1;
    if (i != last) memcpy(&arenas[i], &arenas[last], sizeof arenas[i]);
    memset(&arenas[last], 0, sizeof arenas[last]);
    store(&arena_count, last);
  }
}

uint16_t arena_owner(uint64_t address) {
  const Arena* arena = arena_of(address);
  return arena ? load(&arena->owners[(address - arena->base) / kGranule]) : 0;
}

uint64_t arena_next(uint64_t address) {
  uint64_t next = 0;
  for (uint32_t i = 0, count = load(&arena_count); i < count; ++i)
    if (arenas[i].base + kArenaBytes > address && (!next || arenas[i].base < next))
      next = arenas[i].base;
  return next;
}

void arena_describe(UnwindInfo* info) {
  info->arenas = reinterpret_cast<uint64_t>(arenas);
  info->arena_count = reinterpret_cast<uint64_t>(&arena_count);
  info->arena_size = sizeof(Arena);
  info->arena_owners = offsetof(Arena, owners);
  info->arena_bytes = kArenaBytes;
  info->granule = kGranule;
  static_assert(offsetof(Arena, base) == 0);
}

bool arena_begins(uint64_t address, int32_t pid, uint64_t base) {
  if (address % kArenaBytes) return false;
  if (!pid) {
    const Arena* arena = arena_of(address);
    return arena && arena->base == address;
  }
  const RemoteAgent agent = {pid, base};
  uint32_t count = 0;
  if (!base || !agent.read(&arena_count, &count)) return false;
  for (uint32_t i = 0; i < min(count, kMaxArenas); ++i) {
    uint64_t begin = 0;
    if (agent.read(&arenas[i].base, &begin) && begin == address) return true;
  }
  return false;
}

}  // namespace shmrec::agent
