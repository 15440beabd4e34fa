#include "agent/access/routines.h"

#include "agent/arch/x86_64/exceptions.h"
#include "agent/memory/window.h"

namespace shmrec::agent {

namespace {

// ---- Ranges of the program's memory -------------------------------------------------------------

// The memory at an address, up to where it becomes traced or is traced no more; of traced memory,
// no more than is in its page, of which one record is made.
struct Part {
  bool traced;
  Region region;
  uint64_t bytes;
};

Part part_at(uint64_t address, uint64_t bytes) {
  Part part = {false, {}, bytes};
  if (!region_next(address, &part.region)) return part;
  if (part.region.begin > address) {
    part.bytes = min(bytes, part.region.begin - address);
    return part;
  }
  part.traced = true;
  part.bytes = min(bytes, page_down(address) + kPage - address);
  return part;
}

bool readable(uint64_t address) {
  uint8_t byte;
  return safe_copy(&byte, reinterpret_cast<void*>(address), 1);
}

// Can the first byte and all in its page be read, or written?
bool permits(uint64_t address, bool write) {
  Region region;
  Fault fault;
  if (!region_find(address, &region))
    return write ? safe_writable(address, &fault) : readable(address);
  const bool allowed = write ? region.protection & PROT_WRITE : region.protection != PROT_NONE;
  return allowed && readable(region.alias + (address - region.begin));
}

// A byte in each page.
bool permits_all(uint64_t address, uint64_t bytes, bool write) {
  if (address + bytes < address) return false;
  for (uint64_t at = address; at < address + bytes; at = page_down(at) + kPage)
    if (!permits(at, write)) return false;
  return true;
}

struct Range {
  uint64_t at, bytes;
};

// ---- Copying ------------------------------------------------------------------------------------

bool in_traced(uint64_t address) {
  Region region;
  return region_find(address, &region);
}

// What moves at once. Private memory that is copied to private memory goes through the bounce
// buffer, since the two may overlap.
struct Move {
  uint64_t to, from, bytes;
};

bool move(Thread* thread, const Origin& origin, const Move& part, bool to_traced,
          bool from_traced) {
  Fault fault;
  void* const to = reinterpret_cast<void*>(part.to);
  const void* const from = reinterpret_cast<const void*>(part.from);
  if (!to_traced && from_traced)
    return traced_read(thread, origin, to, part.from, part.bytes, &fault);
  if (to_traced && !from_traced)
    return traced_write(thread, origin, part.to, from, part.bytes, &fault);
  return traced_read(thread, origin, thread->bounce, part.from, part.bytes, &fault) &&
         traced_write(thread, origin, part.to, thread->bounce, part.bytes, &fault);
}

bool move_upwards(Thread* thread, const Origin& origin, Move left) {
  while (left.bytes) {
    const Part to = part_at(left.to, left.bytes), from = part_at(left.from, left.bytes);
    const uint64_t bytes = min(min(to.bytes, from.bytes), kPage);
    if (!move(thread, origin, {left.to, left.from, bytes}, to.traced, from.traced)) return false;
    left = {left.to + bytes, left.from + bytes, left.bytes - bytes};
  }
  return true;
}

// How much of what ends at `end` lies in one page.
uint64_t in_page_before(uint64_t end) { return (end - 1) % kPage + 1; }

bool move_downwards(Thread* thread, const Origin& origin, Move left) {
  while (left.bytes) {
    const uint64_t to_end = left.to + left.bytes, from_end = left.from + left.bytes;
    const uint64_t bytes = min(left.bytes, min(in_page_before(to_end), in_page_before(from_end)));
    const Move last = {to_end - bytes, from_end - bytes, bytes};
    if (!move(thread, origin, last, in_traced(last.to), in_traced(last.from))) return false;
    left.bytes -= bytes;
  }
  return true;
}

// Two mappings of the same bytes: the order in which the routine moves them shows.
bool overlap_by_aliases(uint64_t to, uint64_t from) {
  Region a, b;
  return region_find(to, &a) && region_find(from, &b) && a.begin != b.begin &&
         a.segment == b.segment;
}

bool copy(Thread* thread, const Origin& origin) {
  const Regs& regs = thread->regs;
  const Move all = {regs.rdi, regs.rsi, regs.rdx};
  if (overlap_by_aliases(all.to, all.from) || !permits_all(all.from, all.bytes, false) ||
      !permits_all(all.to, all.bytes, true))
    return false;
  const bool downwards = all.to - all.from < all.bytes;
  return downwards ? move_downwards(thread, origin, all) : move_upwards(thread, origin, all);
}

bool perform_copy(Thread* thread, const Origin& origin) {
  if (!copy(thread, origin)) return false;
  thread->regs.rax = thread->regs.rdi;
  return true;
}

bool perform_copy_to_end(Thread* thread, const Origin& origin) {
  if (!copy(thread, origin)) return false;
  thread->regs.rax = thread->regs.rdi + thread->regs.rdx;
  return true;
}

// ---- Setting ------------------------------------------------------------------------------------

bool perform_set(Thread* thread, const Origin& origin) {
  const Regs& regs = thread->regs;
  Fault fault;
  if (!permits_all(regs.rdi, regs.rdx, true)) return false;
  memset(thread->bounce, static_cast<int>(regs.rsi & 0xFF), min(regs.rdx, kPage));
  for (uint64_t at = 0; at < regs.rdx;) {
    const uint64_t bytes = min(part_at(regs.rdi + at, regs.rdx - at).bytes, kPage);
    if (!traced_write(thread, origin, regs.rdi + at, thread->bounce, bytes, &fault)) return false;
    at += bytes;
  }
  thread->regs.rax = regs.rdi;
  return true;
}

// In the order of Routine, from kCopy. Each does all of it, or returns false.
constexpr bool (*kPerform[])(Thread* thread, const Origin& origin) = {
    perform_copy, perform_copy_to_end, perform_set};
static_assert(sizeof kPerform / sizeof kPerform[0] == static_cast<int>(Routine::kCount) - 1);

}  // namespace

int routine_perform(Thread* thread, const Site& site) {
  uint64_t caller;
  // A stack in traced memory is not read behind its back.
  const bool known = safe_copy(&caller, reinterpret_cast<void*>(thread->regs.rsp), sizeof caller) &&
                     !in_traced(thread->regs.rsp);
  const auto perform = kPerform[static_cast<int>(site.routine) - 1];
  Origin origin = origin_of(thread, site);
  origin.caller = caller;
  if (!known || !perform(thread, origin)) {
    thread->exit_ip = load(&site.miss);
    return kTail;
  }
  thread->regs.rsp += sizeof caller;
  thread->exit_ip = caller;
  return kTail;
}

namespace {

// Reads where only writes are recorded are the program's own.
bool concerns(uint64_t address, bool reads) {
  Region region;
  return region_find(address, &region) && !(region.writes_only && reads);
}

}  // namespace

bool access_concerns(const Site& site, const Regs& regs) {
  if (site.form != Form::kRoutine)
    return concerns(effective_address(site, regs), only_reads(site.form));
  const bool stepping = regs.eflags & kTrapFlag;
  return !stepping && regs.rdx >= kLeastPerformed &&
         (concerns(regs.rdi, false) ||
          (pointers_of(site.routine) == 2 && concerns(regs.rsi, true)));
}

}  // namespace shmrec::agent
