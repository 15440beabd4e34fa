// The traced mappings of this address space: which program addresses stand for which bytes of which
// segment, and where their hidden alias is.
//
// Invariants
//  1. Regions are sorted, do not overlap, and are page aligned.
//  2. While a region is listed, [alias, alias + size) maps the same bytes, readable, and writable
//     if the mapping could be made so; the program's range, its view, has view_of(region). What
//     the program itself may do there says `protection`. Regions of the same bytes share their
//     alias (aliases.h).
//  3. Who changes the program's mappings replaces regions in one RegionsChange. So memory that is
//     mapped before and after the change has a region at every moment, the old one or the new.
//
// A thread that meets the change from outside finds one of two things:
//  - the old region, or the new: it performs its access. It has announced itself before it looked
//    (RegionUse), and the changing thread waits for it before the syscall ends (regions_settle) and
//    before an alias goes. So an access is over when the program is told that the mapping is.
//  - a mapping that has been hidden already, and no region yet: it waits (regions_await_change) and
//    looks again.
//
// Threads: lookups take no lock (they retry while a change is made); changes take regions_lock, by
// a MapsLock. A thread within a RegionUse never takes it: the holder waits for that thread.
#pragma once

#include <linux/mman.h>

#include "agent/process/thread.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::agent {

// What the brake (brake.h) has left of a region, loosest last.
enum class Braked : uint32_t {
  kNo,
  kWrites,   // what writes is recorded
  kSampled,  // the same, of pages that are in the sample
  kOpen,     // of those that are not, nothing needs to be
};

struct Region {
  uint64_t begin, end;      // program addresses
  uint64_t alias;           // address of the alias of `begin`
  uint64_t segment_offset;  // of `begin`
  uint32_t segment;         // SegmentEntry index
  uint32_t protection;      // PROT_* as the program asked
  uint32_t relaxed;         // 1: order: relaxed
  uint32_t writes_only;     // 1: accesses: writes, by the policy or by the brake
  Braked braked;
  uint32_t sysv;        // 1: attached by shmat
  uint32_t not_forked;  // 1: MADV_DONTFORK
  uint32_t may_write;   // 1: the program may ask for PROT_WRITE
  uint32_t executed;    // 1: may be or was executable, which coverage says
  uint64_t alias_bytes() const { return end - begin; }
};

// What the program may do to traced memory without the agent: nothing, but for reading it where
// only writes are traced, and for running code in it, for which it has to be readable too. What it
// writes there is traced; what it reads is not. Memory that may be written may be read, on this
// processor. Where the brake has opened it the program does what it may.
constexpr uint32_t view_of(const Region& region) {
  const uint32_t protection = region.protection;
  if (region.braked == Braked::kOpen) return protection;
  if (!(protection & PROT_EXEC) && !region.writes_only) return PROT_NONE;
  const uint32_t readable = protection & PROT_WRITE ? PROT_READ : PROT_NONE;
  return (protection & ~uint32_t{PROT_WRITE}) | readable;
}

// Copies the region that holds `address` to *region. False if there is none.
bool region_find(uint64_t address, Region* region);
// Copies the first region that ends after `address` (it may begin after it). False if none.
bool region_next(uint64_t address, Region* region);
// Any traced byte in [address, address + bytes)? Cheap when nothing is traced there.
bool region_overlaps(uint64_t address, uint64_t bytes);
// Of their changes; odd while one is made. What was looked up while it had one even value holds as
// long as it has it.
uint32_t regions_sequence();
const uint32_t* regions_sequence_at();  // where it is
bool regions_empty();
bool regions_unused();  // nothing has ever been traced in this address space
void regions_expect();  // something is about to be
// Copies a region that holds [offset, offset + bytes) of the segment. False if none is mapped here.
bool region_of_segment(uint32_t segment, uint64_t offset, uint64_t bytes, Region* region);
// region_next in another process, whose agent lies at `base` (0: it has none). False also if it may
// not be read.
bool region_next_remote(int32_t pid, uint64_t base, uint64_t address, Region* region);

// ---- Accesses
// From before a region is looked up until the last use of its alias. Nests.
void region_use_begin(Thread* thread);
void region_use_start();  // once, at the start of the address space
// May Thread::region_use be set by a plain store?
bool regions_use_is_cheap();
void region_use_end(Thread* thread);
class RegionUse {
 public:
  explicit RegionUse(Thread* thread) : thread_(thread), outermost_(!thread->region_use) {
    if (outermost_) region_use_begin(thread_);
  }
  ~RegionUse() {
    if (outermost_) region_use_end(thread_);
  }
  RegionUse(const RegionUse&) = delete;

 private:
  Thread* thread_;
  bool outermost_;
};
// Returns when no thread is between a change of the mappings and that of the regions.
void regions_await_change();

// ---- Changes
extern SpinLock regions_lock;
class MapsLock {
 public:
  MapsLock();
  ~MapsLock();
  MapsLock(const MapsLock&) = delete;
};
// REQUIRES for all below: regions_lock held.
// A mapping that other threads may be using is about to be hidden: whose access faults waits for
// its region, though settled before.
void regions_known_change();
// The regions are as the mappings are; waits for the accesses that still use what was before.
void regions_settle(const Thread* self);
// What is done within its life is seen by lookups as one change. Nests.
class RegionsChange {
 public:
  RegionsChange();
  ~RegionsChange();
  RegionsChange(const RegionsChange&) = delete;
};
bool region_insert(const Region& region);  // false: table full
// Cuts [begin, end) out of the list; calls `removed` with each piece that went.
void region_remove(uint64_t begin, uint64_t end,
                   void (*removed)(const Region& piece, void* context), void* context);
// Applies `change` to each piece within [begin, end), splitting regions at the borders.
void region_update(uint64_t begin, uint64_t end, void (*change)(Region& piece, void* context),
                   void* context);
}  // namespace shmrec::agent
