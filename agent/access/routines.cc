#include "agent/access/routines.h"

#include "agent/access/lines.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/memory/window.h"

namespace shmrec::agent {

namespace {

// ---- Ranges of the program's memory -------------------------------------------------------------

// Memory around an address that is traced as one region, or is not traced.
struct Stretch {
  uint64_t begin, end;
  bool traced;
  Region region;
  bool has(uint64_t address) const { return address >= begin && address < end; }
  // What the agent reads in place of the program.
  uint64_t readable(uint64_t address) const {
    return traced ? region.alias + (address - begin) : address;
  }
};

void find_stretch(uint64_t address, Stretch* stretch) {
  *stretch = {address, ~uint64_t{0}, false, {}};
  if (!region_next(address, &stretch->region)) return;
  stretch->traced = stretch->region.begin <= address;
  stretch->end = stretch->traced ? stretch->region.end : stretch->region.begin;
  if (stretch->traced) stretch->begin = stretch->region.begin;
}

// A place that moves upwards through the program's memory.
struct Walk {
  uint64_t at;
  Stretch stretch;

  explicit Walk(uint64_t address) : at(address) { find_stretch(address, &stretch); }
  bool traced() const { return stretch.traced; }
  // How many of the next bytes lie in one stretch, and in one page.
  uint64_t next(uint64_t bytes) {
    if (!stretch.has(at)) find_stretch(at, &stretch);
    return min(bytes, min(stretch.end - at, page_down(at) + kPage - at));
  }
};

// Can the byte be read, or written, and so all in its page?
bool permits(const Walk& walk, bool write) {
  uint8_t byte;
  Fault fault;
  const Stretch& stretch = walk.stretch;
  if (write && !stretch.traced) return safe_writable(walk.at, &fault);
  if (stretch.traced &&
      !(write ? stretch.region.protection & PROT_WRITE : stretch.region.protection != PROT_NONE))
    return false;
  return safe_copy(&byte, reinterpret_cast<void*>(stretch.readable(walk.at)), 1);
}

// Asks for a byte in each page. The copy of the walk comes back.
bool permits_all(Walk walk, uint64_t bytes, bool write) {
  if (walk.at + bytes < walk.at) return false;
  for (uint64_t now; bytes; walk.at += now, bytes -= now) {
    now = walk.next(bytes);
    if (!permits(walk, write)) return false;
  }
  return true;
}

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

// Where one of the two is private, only the other one's pages count.
uint64_t together(Walk& to, Walk& from, uint64_t bytes) {
  const uint64_t of_to = to.next(bytes), of_from = from.next(bytes);
  if (to.traced() == from.traced()) return min(of_to, of_from);
  const Walk& free = to.traced() ? from : to;
  return min(to.traced() ? of_to : of_from, free.stretch.end - free.at);
}

bool move_upwards(Thread* thread, const Origin& origin, Walk to, Walk from, uint64_t bytes) {
  while (bytes) {
    const uint64_t now = together(to, from, bytes);
    if (!move(thread, origin, {to.at, from.at, now}, to.traced(), from.traced())) return false;
    to.at += now, from.at += now, bytes -= now;
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
bool overlap_by_aliases(const Stretch& a, const Stretch& b) {
  return a.traced && b.traced && a.begin != b.begin && a.region.segment == b.region.segment;
}

bool copy(Thread* thread, const Origin& origin) {
  const Regs& regs = thread->regs;
  const uint64_t bytes = regs.rdx;
  const Walk to(regs.rdi), from(regs.rsi);
  if (overlap_by_aliases(to.stretch, from.stretch) || !permits_all(from, bytes, false) ||
      !permits_all(to, bytes, true))
    return false;
  const bool downwards = to.at - from.at < bytes;
  return downwards ? move_downwards(thread, origin, {to.at, from.at, bytes})
                   : move_upwards(thread, origin, to, from, bytes);
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
  Regs& regs = thread->regs;
  Walk to(regs.rdi);
  Fault fault;
  if (!permits_all(to, regs.rdx, true)) return false;
  memset(thread->bounce, static_cast<int>(regs.rsi & 0xFF), min(regs.rdx, kPage));
  for (uint64_t left = regs.rdx, now; left; to.at += now, left -= now) {
    now = to.next(left);
    if (!traced_write(thread, origin, to.at, thread->bounce, now, &fault)) return false;
  }
  regs.rax = regs.rdi;
  return true;
}

// ---- Looking ------------------------------------------------------------------------------------

bool look(const Walk& walk, uint8_t* to, uint64_t bytes) {
  Fault fault;
  return range_copy(to, reinterpret_cast<const void*>(walk.stretch.readable(walk.at)), bytes,
                    &fault);
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
  Walk walk(regs.rdi);
  for (uint64_t left = regs.rdx, needed; left; walk.at += needed, left -= needed) {
    const uint64_t bytes = walk.next(left);
    if (!look(walk, thread->bounce, bytes)) return false;
    uint64_t place = find(thread->bounce, value, bytes);
    if (walk.at == regs.rdi && place < min(bytes, kEarly)) return false;
    needed = min(place + 1, bytes);
    // What it has logged is what it has seen.
    if (walk.traced()) {
      if (!traced_read(thread, origin, thread->bounce, walk.at, needed, &fault)) return false;
      place = find(thread->bounce, value, needed);
    }
    if (place < needed) {
      regs.rax = walk.at + place;
      return true;
    }
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
  Walk a(regs.rdi), b(regs.rsi);
  for (uint64_t done = 0; done < regs.rdx;) {
    const uint64_t left = regs.rdx - done, bytes = min(a.next(left), b.next(left));
    if (!look(a, thread->bounce, bytes) || !look(b, thread->bounce2, bytes)) return false;
    const uint64_t equal = first_difference(thread->bounce, thread->bounce2, bytes);
    const uint64_t needed = equal == bytes ? bytes : min(equal, left - min(left, kLeft));
    if (!done && needed < min(bytes, kEarly)) return false;
    if (needed && !log_both(thread, origin, a.at, b.at, needed)) return false;
    if (first_difference(thread->bounce, thread->bounce2, needed) < needed)
      return leave_rest(regs, done);  // written meanwhile
    done += needed, a.at += needed, b.at += needed;
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
  // Of a stack in traced memory, whose reads are to be logged, this does not read.
  const bool known = safe_copy(&caller, reinterpret_cast<void*>(thread->regs.rsp), sizeof caller);
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

// Reads where only writes are recorded are the program's own, and all where the brake has opened
// it.
bool concerns(uint64_t address, bool reads) {
  Region region;
  return region_find(address, &region) && !(region.writes_only && reads) &&
         region.braked != Braked::kOpen;
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
