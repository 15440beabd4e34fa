#include "agent/memory/aliases.h"

#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/memory/native.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kMaxAliases = 64 * 1024;
constexpr uint32_t kChains = 1024;
constexpr uint64_t kRoom = 1 << 20;        // kept free before and behind a segment's first alias
constexpr uint64_t kIdleBytes = 64 << 20;  // more than this of a used alias is not kept in vain

struct Alias {
  uint64_t at;      // where
  uint64_t offset;  // in the segment
  uint64_t bytes;
  uint64_t used;  // bytes of it that regions use, each counted as often as it is used
  uint32_t segment;
  uint16_t may_write;
  uint16_t sysv;
  uint32_t next;  // in its chain, + 1
  uint64_t end() const { return at + bytes; }
  uint64_t base() const { return at - offset; }  // where byte 0 of the segment would be
};

Alias aliases[kMaxAliases];  // unused ones have no bytes
uint32_t chains[kChains];    // by segment: index + 1
uint32_t used_places = 0;    // indexes below have been used
uint32_t free_places = 0;    // chain of unused ones among them, index + 1
uint32_t unused = 0;         // aliases that nothing uses
bool trimmable = false;      // one is much longer than what is used of it
uint64_t cursor = 0;         // where the next segment's first alias goes

uint64_t zone_begin() { return agent_base() + kAliasOffset; }
uint64_t zone_end() { return agent_base() + kZoneBytes; }

uint32_t* chain_of(uint32_t segment) { return &chains[segment % kChains]; }

Alias* alias_add(const Alias& alias) {
  uint32_t index = free_places;
  if (index) {
    free_places = aliases[--index].next;
  } else {
    if (used_places == kMaxAliases) return nullptr;
    index = used_places++;
  }
  aliases[index] = alias;
  uint32_t* chain = chain_of(alias.segment);
  aliases[index].next = *chain;
  *chain = index + 1;
  return &aliases[index];
}

void alias_remove(Alias* alias) {
  const uint32_t index = static_cast<uint32_t>(alias - aliases);
  for (uint32_t* link = chain_of(alias->segment); *link; link = &aliases[*link - 1].next) {
    if (*link != index + 1) continue;
    *link = alias->next;
    break;
  }
  alias->bytes = 0;
  alias->next = free_places;
  free_places = index + 1;
}

// The aliases that may serve a region, one after another: begins with null.
Alias* next_alike(const Region& region, const Alias* after) {
  uint32_t link = after ? after->next : *chain_of(region.segment);
  for (; link; link = aliases[link - 1].next) {
    Alias& alias = aliases[link - 1];
    if (alias.segment == region.segment && alias.may_write == region.may_write && !alias.sysv)
      return &alias;
  }
  return nullptr;
}

// Takes the addresses until something is mapped over. -EEXIST: something is mapped there.
int64_t reserve(uint64_t at, uint64_t bytes) {
  const int64_t got = sys(__NR_mmap, at, bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (failed(got)) return got;
  if (got == static_cast<int64_t>(at)) return 0;
  sys(__NR_munmap, got, bytes);
  return -EEXIST;
}

// Maps the bytes of `view` once more at `to`, which is reserved. What the program has locked is not
// locked twice.
bool duplicate(uint64_t view, uint64_t bytes, uint64_t to, bool may_write) {
  constexpr uint64_t kTo = MREMAP_MAYMOVE | MREMAP_FIXED;
  int64_t at = sys(__NR_mremap, view, 0, bytes, kTo, to);
  if (at == -EAGAIN) {  // it is locked, and the limit leaves no room for as much again
    constexpr uint64_t kOnFault = 1;
    sys(__NR_munlock, view, bytes);
    at = sys(__NR_mremap, view, 0, bytes, kTo, to);
    sys(__NR_mlock2, view, bytes, kOnFault);
  }
  if (failed(at)) {
    sys(__NR_munmap, to, bytes);
    return false;
  }
  sys(__NR_munlock, to, bytes);
  sys(__NR_mprotect, to, bytes, PROT_READ | (may_write ? PROT_WRITE : 0));
  sys(__NR_madvise, to, bytes, MADV_DONTDUMP);  // a core has the program's own view
  return true;
}

// Makes bytes [first, end) of the segment an alias at base + first, of which nothing is used yet.
// 0, or -EEXIST if something is there, or -ENOMEM.
int64_t alias_make(const Region& region, uint64_t view, uint64_t base, uint64_t first,
                   uint64_t end) {
  const uint64_t bytes = end - first;
  if (const int64_t error = reserve(base + first, bytes); failed(error)) return error;
  if (!duplicate(view + (first - region.segment_offset), bytes, base + first, region.may_write))
    return -ENOMEM;
  Alias* alias =
      alias_add({base + first, first, bytes, 0, region.segment,
                 static_cast<uint16_t>(region.may_write), static_cast<uint16_t>(region.sysv), 0});
  if (!alias) {
    sys(__NR_munmap, base + first, bytes);
    return -ENOMEM;
  }
  ++unused;
  return 0;
}

// The alias of the segment that holds `address`.
Alias* alias_at(uint32_t segment, uint64_t address) {
  for (uint32_t link = *chain_of(segment); link; link = aliases[link - 1].next) {
    Alias& alias = aliases[link - 1];
    if (alias.at <= address && address < alias.end()) return &alias;
  }
  return nullptr;
}

Alias* covering(const Region& region) {
  const uint64_t end = region.segment_offset + region.alias_bytes();
  for (Alias* alias = next_alike(region, nullptr); alias; alias = next_alike(region, alias))
    if (alias->offset <= region.segment_offset && end <= alias->offset + alias->bytes) return alias;
  return nullptr;
}

// ---- Beside what is there already ---------------------------------------------------------------

// Of the aliases with that base, the first that ends behind byte `first` of the segment.
Alias* first_behind(const Region& region, uint64_t base, uint64_t first) {
  Alias* found = nullptr;
  for (Alias* alias = next_alike(region, nullptr); alias; alias = next_alike(region, alias))
    if (alias->base() == base && alias->end() > base + first && (!found || alias->at < found->at))
      found = alias;
  return found;
}

// Makes one alias of those with that base that touch each other from byte `first` on.
void join(const Region& region, uint64_t base, uint64_t first) {
  Alias* lower = first_behind(region, base, first ? first - 1 : 0);
  while (Alias* upper =
             lower ? first_behind(region, base, lower->offset + lower->bytes) : nullptr) {
    if (upper->at != lower->end()) return;
    if (!lower->used || !upper->used) --unused;
    lower->bytes += upper->bytes;
    lower->used += upper->used;
    alias_remove(upper);
  }
}

// The whole region at one base: makes what is missing.
bool fill(const Region& region, uint64_t view, uint64_t base) {
  const uint64_t end = region.segment_offset + region.alias_bytes();
  for (uint64_t at = region.segment_offset; at < end;) {
    const Alias* alias = first_behind(region, base, at);
    const uint64_t stop = alias ? min(end, alias->offset) : end;
    if (at < stop && failed(alias_make(region, view, base, at, stop))) return false;
    at = alias ? max(stop, alias->offset + alias->bytes) : stop;
  }
  join(region, base, region.segment_offset);
  return true;
}

Alias* beside(const Region& region, uint64_t view) {
  uint64_t tried = 0;
  for (const Alias* alias = next_alike(region, nullptr); alias; alias = next_alike(region, alias)) {
    const uint64_t base = alias->base(), begin = base + region.segment_offset,
                   end = begin + region.alias_bytes();
    const bool near = begin <= alias->end() + kRoom && alias->at <= end + kRoom;
    if (base == tried || !near || begin < zone_begin() || end > zone_end()) continue;
    tried = base;
    if (fill(region, view, base)) return covering(region);
  }
  return nullptr;
}

// ---- In a place of its own ----------------------------------------------------------------------

// Addresses are used in turn, so that one is not used again soon after its alias has gone.
Alias* elsewhere(const Region& region, uint64_t view) {
  const uint64_t first = region.segment_offset, bytes = region.alias_bytes();
  const uint64_t before = region.sysv ? kPage : min(first, kRoom) + kPage;
  const uint64_t behind = region.sysv ? 0 : kRoom;
  if (!cursor) cursor = zone_begin();
  const uint64_t start = cursor;
  for (bool wrapped = false; !wrapped || cursor < start;) {
    const uint64_t at = cursor + before;
    if (at + bytes > zone_end()) {
      if (wrapped) break;
      wrapped = true;
      cursor = zone_begin();
      continue;
    }
    cursor = at + bytes + behind;
    // A base below zero is none the worse: only sums with an offset are used.
    const int64_t error = alias_make(region, view, at - first, first, first + bytes);
    if (!failed(error)) return alias_at(region.segment, at);
    if (error != -EEXIST) break;
  }
  return nullptr;
}

// ---- Giving back --------------------------------------------------------------------------------

// Gives back the ends of a long alias that no region uses, as of a window that moves over a file.
void trim(Alias* alias) {
  uint64_t begin = alias->end(), end = alias->at;
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end) {
    if (region.alias < alias->at || region.alias >= alias->end()) continue;
    begin = min(begin, region.alias);
    end = max(end, region.alias + region.alias_bytes());
  }
  if (begin >= end) return;
  if (begin > alias->at) sys(__NR_munmap, alias->at, begin - alias->at);
  if (end < alias->end()) sys(__NR_munmap, end, alias->end() - end);
  alias->offset += begin - alias->at;
  alias->at = begin;
  alias->bytes = end - begin;
}

}  // namespace

bool alias_use(Region* region, uint64_t view) {
  Alias* alias = region->sysv ? nullptr : covering(*region);
  if (!alias && !region->sysv) alias = beside(*region, view);
  if (!alias) alias = elsewhere(*region, view);
  if (!alias) return false;
  if (!alias->used) --unused;
  alias->used += region->alias_bytes();
  region->alias = alias->base() + region->segment_offset;
  return true;
}

void alias_unuse(const Region& piece) {
  Alias* alias = alias_at(piece.segment, piece.alias);
  if (!alias) return;
  alias->used -= min(alias->used, piece.alias_bytes());
  if (!alias->used) ++unused;
  trimmable |= alias->bytes > kIdleBytes && alias->used < alias->bytes - kIdleBytes;
}

void aliases_collect() {
  if (!unused && !trimmable) return;
  for (uint32_t i = 0; i < used_places; ++i) {
    Alias& alias = aliases[i];
    if (!alias.bytes) continue;
    if (alias.used) {
      if (alias.bytes > kIdleBytes && alias.used < alias.bytes - kIdleBytes) trim(&alias);
      continue;
    }
    sys(__NR_munmap, alias.at, alias.bytes);
    const uint32_t segment = alias.segment;
    alias_remove(&alias);
    --unused;
    native_or_alias_gone(segment);
  }
  trimmable = false;
}

bool alias_of(uint32_t segment) {
  for (uint32_t link = *chain_of(segment); link; link = aliases[link - 1].next)
    if (aliases[link - 1].segment == segment) return true;
  return false;
}

int64_t could_be(uint64_t view, uint64_t bytes, uint32_t protection) {
  const int64_t copy = sys(__NR_mremap, view, 0, bytes, MREMAP_MAYMOVE);
  if (failed(copy)) return copy;
  const int64_t result = sys(__NR_mprotect, copy, bytes, protection);
  sys(__NR_munmap, copy, bytes);
  return result;
}

}  // namespace shmrec::agent
