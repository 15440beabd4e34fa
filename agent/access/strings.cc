// String instructions, with their repeat.
#include "agent/access/emulate.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/processor.h"

namespace shmrec::agent {
namespace {

// Bytes of one string instruction before signals get a turn.
constexpr uint64_t kStringBudget = 64 * 1024;

bool backwards(const Regs& regs) { return regs.eflags & kDirectionFlag; }

// The addresses of a string instruction; only the source may have a segment.
uint64_t source_of(const Site& site, const Regs& regs) {
  return segment_base(site) + address_in(site, regs.rsi);
}
uint64_t target_of(const Site& site, const Regs& regs) { return address_in(site, regs.rdi); }

// How many elements are left to do. With 32-bit addresses the counter has 32 bits, too.
uint64_t left(const Site& site, const Regs& regs) {
  return site.repeat == Repeat::kNone ? 1 : address_in(site, regs.rcx);
}

// Moves a string's pointer by `elements`. One of 32 bits loses its upper half as by any move to it.
void advance(const Regs& regs, const Site& site, uint64_t* pointer, uint64_t elements) {
  const uint64_t bytes = elements * site.bytes;
  if (elements) *pointer = address_in(site, *pointer + (backwards(regs) ? -bytes : bytes));
}

void count_down(Regs& regs, const Site& site, uint64_t elements) {
  if (site.repeat != Repeat::kNone && elements) regs.rcx = address_in(site, regs.rcx - elements);
}

// The program sees a trap after each element.
bool stepping(const Thread* thread) { return thread->held_flags & kTrapFlag; }
uint64_t budget_of(const Thread* thread) { return stepping(thread) ? 1 : kStringBudget; }

// How many elements may be done at once: whole ones that lie in one page at each of the addresses,
// so that all of them or none faults; one that crosses into the next page goes alone.
uint64_t batch(const Thread* thread, const Site& site, uint64_t first, uint64_t second) {
  const Regs& regs = thread->regs;
  if (backwards(regs) || stepping(thread)) return min<uint64_t>(left(site, regs), 1);
  const uint64_t room = min(page_down(first) + kPage - first, page_down(second) + kPage - second);
  return min<uint64_t>(left(site, regs), max<uint64_t>(room / site.bytes, 1));
}

// A string instruction goes on where it stands: it is entered again if elements are left.
int string_done(Thread* thread, const Site& site) {
  if (site.repeat != Repeat::kNone && left(site, thread->regs)) thread->exit_ip = site.ip;
  return kTail;
}

}  // namespace

int emulate_movs(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  for (uint64_t budget = budget_of(thread); budget && left(site, regs);) {
    const uint64_t source = source_of(site, regs), target = target_of(site, regs);
    uint64_t elements = batch(thread, site, source, target);
    // A destination just behind the source repeats what was just written: no more at once than the
    // gap.
    const uint64_t gap = target - source;
    if (!backwards(regs) && gap && gap < elements * site.bytes)
      elements = max<uint64_t>(gap / site.bytes, 1);
    Fault fault;
    uint64_t got = 0, put = 0;
    const bool read = traced_read(thread, origin_of(thread, site), thread->bounce, source,
                                  elements * site.bytes, &fault, &got);
    const uint64_t whole = got / site.bytes;
    const bool wrote = !whole || (traced_writable(target, whole * site.bytes, &fault) &&
                                  traced_write(thread, origin_of(thread, site), target,
                                               thread->bounce, whole * site.bytes, &fault, &put));
    const uint64_t done = put / site.bytes;
    advance(regs, site, &regs.rsi, done);
    advance(regs, site, &regs.rdi, done);
    count_down(regs, site, done);
    if (!read || !wrote) return raise(thread, site, fault);
    if (site.repeat == Repeat::kNone) return kTail;
    budget -= min(budget, max<uint64_t>(done * site.bytes, 64));
  }
  return string_done(thread, site);
}

int emulate_stos(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  for (uint64_t budget = budget_of(thread); budget && left(site, regs);) {
    const uint64_t target = target_of(site, regs);
    const uint64_t elements = batch(thread, site, target, target);
    for (uint64_t i = 0; i < elements; ++i)
      memcpy(thread->bounce + i * site.bytes, &regs.rax, site.bytes);
    Fault fault;
    uint64_t put = 0;
    const bool wrote = traced_writable(target, elements * site.bytes, &fault) &&
                       traced_write(thread, origin_of(thread, site), target, thread->bounce,
                                    elements * site.bytes, &fault, &put);
    const uint64_t done = put / site.bytes;
    advance(regs, site, &regs.rdi, done);
    count_down(regs, site, done);
    if (!wrote) return raise(thread, site, fault);
    if (site.repeat == Repeat::kNone) return kTail;
    budget -= min(budget, max<uint64_t>(done * site.bytes, 64));
  }
  return string_done(thread, site);
}

namespace {

// The low `bytes` of a register take a value as a move to it would leave it.
void set_low(uint64_t* to, uint64_t value, uint32_t bytes) {
  if (bytes == 4)
    *to = static_cast<uint32_t>(value);
  else
    memcpy(to, &value, bytes);
}

// Flags as CMP leaves them.
uint64_t compare_flags(uint64_t a, uint64_t b, uint32_t bytes) {
  const int shift = 64 - bytes * 8;
  uint64_t flags;
  asm("cmp %2, %1\n\tpushfq\n\tpop %0" : "=r"(flags) : "r"(a << shift), "r"(b << shift) : "cc");
  // The adjust and parity flags come from the low bits, which the shift moved.
  constexpr uint64_t kParity = 4, kAdjust = 16;
  flags &= ~(kParity | kAdjust);
  if (!__builtin_parity(static_cast<uint8_t>(a - b))) flags |= kParity;
  flags |= (a ^ b ^ (a - b)) & kAdjust;
  return flags & 0x8D5;
}

}  // namespace

// One element per round: LODS, SCAS, CMPS. The flags that a fault between two elements shows are
// those of the last one on AMD's processors, and those from before the instruction on others.
int emulate_compare(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  uint64_t flags = regs.eflags;
  const bool uses_rsi = site.form != Form::kScas, uses_rdi = site.form != Form::kLods;
  const uint64_t rounds = stepping(thread) ? 1 : 4096;
  for (uint64_t round = 0; round < rounds && left(site, regs); ++round) {
    Fault fault;
    uint64_t source = 0, target = 0;
    if (uses_rsi && !traced_read(thread, origin_of(thread, site), &source, source_of(site, regs),
                                 site.bytes, &fault))
      return raise(thread, site, fault);
    if (uses_rdi && !traced_read(thread, origin_of(thread, site), &target, target_of(site, regs),
                                 site.bytes, &fault))
      return raise(thread, site, fault);
    if (uses_rsi) advance(regs, site, &regs.rsi, 1);
    if (uses_rdi) advance(regs, site, &regs.rdi, 1);
    count_down(regs, site, 1);
    if (site.form == Form::kLods)
      set_low(&regs.rax, source, site.bytes);
    else
      flags = (flags & ~0x8D5ull) | compare_flags(uses_rsi ? source : regs.rax, target, site.bytes);
    const bool equal = flags & 0x40;
    const bool last = site.repeat == Repeat::kNone || !left(site, regs) ||
                      (site.form != Form::kLods && equal != (site.repeat == Repeat::kWhileEqual));
    if (last || made_by_amd()) regs.eflags = flags;
    if (last) return kTail;
  }
  return string_done(thread, site);
}

}  // namespace shmrec::agent
