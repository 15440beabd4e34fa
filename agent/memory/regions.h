// The traced mappings of this address space: which program addresses stand for which bytes of which
// segment, and where their hidden alias is.
//
// Invariants
//  1. Regions are sorted, do not overlap, and are page aligned.
//  2. While a region is listed, [alias, alias + size) maps the same bytes with
//     alias_protection(protection), and the program's range, its view, has view_of(protection).
// Threads: lookups take no lock (they retry while a change is made); changes take regions_lock.
#pragma once

#include <linux/mman.h>

#include "agent/runtime.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::agent {

struct Region {
  uint64_t begin, end;        // program addresses
  uint64_t alias;             // address of the alias of `begin`
  uint64_t segment_offset;    // of `begin`
  uint32_t segment;           // SegmentEntry index
  uint32_t protection;        // PROT_* as the program asked
  uint32_t relaxed;           // 1: order: relaxed
  uint32_t sysv;              // 1: attached by shmat
  uint32_t not_forked;        // 1: MADV_DONTFORK
  uint32_t executed;          // 1: may be or was executable, which coverage says
  shmlog::UsageEntry* usage;  // null until the first access
  uint64_t alias_bytes() const { return end - begin; }
};

// What the program may do to traced memory without the agent: nothing, but for running code in it,
// for which it has to be readable too. What it writes there is traced; what it reads is not.
constexpr uint32_t view_of(uint32_t protection) {
  return protection & PROT_EXEC ? protection & ~uint32_t{PROT_WRITE} : PROT_NONE;
}
constexpr uint32_t alias_protection(uint32_t protection) {
  return protection & PROT_EXEC ? (protection & ~uint32_t{PROT_EXEC}) | PROT_READ : protection;
}

// Copies the region that holds `address` to *region. False if there is none.
bool region_find(uint64_t address, Region* region);
// Copies the first region that ends after `address` (it may begin after it). False if none.
bool region_next(uint64_t address, Region* region);
// Any traced byte in [address, address + bytes)? Cheap when nothing is traced there.
bool region_overlaps(uint64_t address, uint64_t bytes);
bool regions_empty();
// Copies a region that holds [offset, offset + bytes) of the segment. False if none is mapped here.
bool region_of_segment(uint32_t segment, uint64_t offset, uint64_t bytes, Region* region);
// region_find in another process, whose agent lies at `base` (0: it has none). False also if it may
// not be read.
bool region_find_remote(int32_t pid, uint64_t base, uint64_t address, Region* region);

extern SpinLock regions_lock;
// REQUIRES for all below: regions_lock held.
bool region_insert(const Region& region);  // false: table full
// Cuts [begin, end) out of the list; calls `removed` with each piece that went.
void region_remove(uint64_t begin, uint64_t end,
                   void (*removed)(const Region& piece, void* context), void* context);
// Applies `change` to each piece within [begin, end), splitting regions at the borders.
void region_update(uint64_t begin, uint64_t end, void (*change)(Region& piece, void* context),
                   void* context);

}  // namespace shmrec::agent
