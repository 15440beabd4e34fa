#include "agent/access/routines.h"

#include "agent/access/lines.h"
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

// ---- Looking ------------------------------------------------------------------------------------

// No more than a page, whatever it is.
Part page_part_at(uint64_t address, uint64_t bytes) {
  Part part = part_at(address, bytes);
  part.bytes = min(part.bytes, page_down(address) + kPage - address);
  return part;
}

bool look(const Part& part, uint64_t address, uint8_t* to, uint64_t bytes) {
  Fault fault;
  const uint64_t at = part.traced ? part.region.alias + (address - part.region.begin) : address;
  return range_copy(to, reinterpret_cast<const void*>(at), bytes, &fault);
}

uint64_t word_at(const uint8_t* at) {
  uint64_t word;
  __builtin_memcpy(&word, at, sizeof word);
  return word;
}

// Where the first byte of this value is; `bytes`: nowhere.
uint64_t find(const uint8_t* at, uint8_t value, uint64_t bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101, kTops = 0x8080808080808080;
  uint64_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    const uint64_t zero = word_at(at + i) ^ kOnes * value;
    if ((zero - kOnes) & ~zero & kTops) break;
  }
  while (i < bytes && at[i] != value) ++i;
  return i;
}

uint64_t first_difference(const uint8_t* a, const uint8_t* b, uint64_t bytes) {
  uint64_t i = 0;
  while (i + 8 <= bytes && word_at(a + i) == word_at(b + i)) i += 8;
  while (i < bytes && a[i] == b[i]) ++i;
  return i;
}

// What is found this early is left to the routine.
constexpr uint64_t kEarly = 128;

bool perform_find(Thread* thread, const Origin& origin) {
  Regs& regs = thread->regs;
  const uint8_t value = static_cast<uint8_t>(regs.rsi);
  Fault fault;
  for (uint64_t done = 0; done < regs.rdx;) {
    const uint64_t at = regs.rdi + done;
    const Part part = page_part_at(at, regs.rdx - done);
    if (!look(part, at, thread->bounce, part.bytes)) return false;
    uint64_t place = find(thread->bounce, value, part.bytes);
    if (!done && place < min(part.bytes, kEarly)) return false;
    const uint64_t needed = min(place + 1, part.bytes);
    // What it has logged is what it has seen.
    if (part.traced) {
      if (!traced_read(thread, origin, thread->bounce, at, needed, &fault)) return false;
      place = find(thread->bounce, value, needed);
    }
    if (place < needed) {
      regs.rax = at + place;
      return true;
    }
    done += needed;
  }
  regs.rax = 0;
  return true;
}

// The routine is left so much at least that it compares as it does in the middle of long ranges.
constexpr uint64_t kLeft = 512;

bool log_both(Thread* thread, const Origin& origin, uint64_t a, uint64_t b, uint64_t bytes) {
  Fault fault;
  return traced_read(thread, origin, thread->bounce, a, bytes, &fault) &&
         traced_read(thread, origin, thread->bounce2, b, bytes, &fault);
}

// The first `done` bytes are equal: the routine need not look at them.
bool leave_rest(Regs& regs, uint64_t done) {
  done = regs.rdx < kLeft ? 0 : min(done, regs.rdx - kLeft);
  regs.rdi += done, regs.rsi += done, regs.rdx -= done;
  return false;
}

bool perform_compare(Thread* thread, const Origin& origin) {
  Regs& regs = thread->regs;
  for (uint64_t done = 0; done < regs.rdx;) {
    const uint64_t a = regs.rdi + done, b = regs.rsi + done;
    const Part first = page_part_at(a, regs.rdx - done), second = page_part_at(b, first.bytes);
    const uint64_t bytes = second.bytes;
    if (!look(first, a, thread->bounce, bytes) || !look(second, b, thread->bounce2, bytes))
      return false;
    const uint64_t equal = first_difference(thread->bounce, thread->bounce2, bytes);
    const uint64_t most = regs.rdx - done < kLeft ? 0 : regs.rdx - done - kLeft;
    const uint64_t needed = equal == bytes ? bytes : min(equal, most);
    if (!done && needed < min(bytes, kEarly)) return false;
    if (needed && !log_both(thread, origin, a, b, needed)) return false;
    if (first_difference(thread->bounce, thread->bounce2, needed) < needed)
      return leave_rest(regs, done);  // written meanwhile
    done += needed;
    if (equal < bytes) return leave_rest(regs, done);
  }
  regs.rax = 0;
  return true;
}

// In the order of Routine, from kCopy. Each does all of it, or returns false.
constexpr bool (*kPerform[])(Thread* thread, const Origin& origin) = {
    perform_copy, perform_copy_to_end, perform_set, perform_compare, perform_find};
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
  return !stepping && regs.rdx >= call_of(site.routine).least &&
         (concerns(regs.rdi, false) ||
          (call_of(site.routine).pointers == 2 && concerns(regs.rsi, true)));
}

}  // namespace shmrec::agent
