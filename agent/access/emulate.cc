#include "agent/access/emulate.h"

#include "agent/arch/x86_64/entry.h"

namespace shmrec::agent {

int raise(Thread* thread, const Site& site, const Fault& fault) {
  thread->raise = fault;
  thread->regs.rip = site.ip;
  thread->exit_ip = reinterpret_cast<uint64_t>(shmrec_raise_trap);
  return kTail;
}

namespace {

constexpr uint64_t kStringBudget =
    64 * 1024;  // bytes of one string instruction before signals get a turn

// ---- String instructions ------------------------------------------------------------------------

bool backwards(const Regs& regs) { return regs.eflags & 0x400; }

// The source of a string instruction; only it may have a segment.
uint64_t source_of(const Site& site, const Regs& regs) { return segment_base(site) + regs.rsi; }

// Moves a string's pointer and counter by `elements`.
void advance(Regs& regs, const Site& site, uint64_t* pointer, uint64_t elements) {
  const uint64_t bytes = elements * site.bytes;
  *pointer += backwards(regs) ? -bytes : bytes;
}

// How many elements may be done at once: whole ones that lie in one page at each of the addresses,
// so that all of them or none faults; one that crosses into the next page goes alone.
uint64_t batch(const Regs& regs, const Site& site, uint64_t first, uint64_t second) {
  const uint64_t left = site.repeat ? regs.rcx : 1;
  if (backwards(regs)) return min<uint64_t>(left, 1);
  const uint64_t room = min(page_down(first) + kPage - first, page_down(second) + kPage - second);
  return min<uint64_t>(left, max<uint64_t>(room / site.bytes, 1));
}

// A string instruction goes on where it stands: it is entered again if elements are left.
int string_done(Thread* thread, const Site& site) {
  if (site.repeat && thread->regs.rcx) thread->exit_ip = site.ip;
  return kTail;
}

}  // namespace

int emulate_movs(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  for (uint64_t budget = kStringBudget; budget && (!site.repeat || regs.rcx);) {
    uint64_t elements = batch(regs, site, source_of(site, regs), regs.rdi);
    // A destination just behind the source repeats what was just written: no more at once than the
    // gap.
    const uint64_t gap = regs.rdi - source_of(site, regs);
    if (!backwards(regs) && gap && gap < elements * site.bytes)
      elements = max<uint64_t>(gap / site.bytes, 1);
    Fault fault;
    uint64_t got = 0, put = 0;
    const bool read = traced_read(thread, origin_of(thread, site), thread->bounce,
                                  source_of(site, regs), elements * site.bytes, &fault, &got);
    const uint64_t whole = got / site.bytes;
    const bool wrote = !whole || (traced_writable(regs.rdi, whole * site.bytes, &fault) &&
                                  traced_write(thread, origin_of(thread, site), regs.rdi,
                                               thread->bounce, whole * site.bytes, &fault, &put));
    const uint64_t done = put / site.bytes;
    advance(regs, site, &regs.rsi, done);
    advance(regs, site, &regs.rdi, done);
    if (site.repeat) regs.rcx -= done;
    if (!read || !wrote) return raise(thread, site, fault);
    if (!site.repeat) return kTail;
    budget -= min(budget, max<uint64_t>(done * site.bytes, 64));
  }
  return string_done(thread, site);
}

int emulate_stos(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  for (uint64_t budget = kStringBudget; budget && (!site.repeat || regs.rcx);) {
    const uint64_t elements = batch(regs, site, regs.rdi, regs.rdi);
    for (uint64_t i = 0; i < elements; ++i)
      memcpy(thread->bounce + i * site.bytes, &regs.rax, site.bytes);
    Fault fault;
    uint64_t put = 0;
    const bool wrote = traced_writable(regs.rdi, elements * site.bytes, &fault) &&
                       traced_write(thread, origin_of(thread, site), regs.rdi, thread->bounce,
                                    elements * site.bytes, &fault, &put);
    const uint64_t done = put / site.bytes;
    advance(regs, site, &regs.rdi, done);
    if (site.repeat) regs.rcx -= done;
    if (!wrote) return raise(thread, site, fault);
    if (!site.repeat) return kTail;
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

// One element per round: LODS, SCAS, CMPS.
int emulate_compare(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  const bool uses_rsi = site.form != Form::kScas, uses_rdi = site.form != Form::kLods;
  for (uint64_t round = 0; round < 4096 && (!site.repeat || regs.rcx); ++round) {
    Fault fault;
    uint64_t source = 0, target = 0;
    if (uses_rsi && !traced_read(thread, origin_of(thread, site), &source, source_of(site, regs),
                                 site.bytes, &fault))
      return raise(thread, site, fault);
    if (uses_rdi &&
        !traced_read(thread, origin_of(thread, site), &target, regs.rdi, site.bytes, &fault))
      return raise(thread, site, fault);
    if (uses_rsi) advance(regs, site, &regs.rsi, 1);
    if (uses_rdi) advance(regs, site, &regs.rdi, 1);
    if (site.repeat) --regs.rcx;
    if (site.form == Form::kLods)
      set_low(&regs.rax, source, site.bytes);
    else
      regs.eflags = (regs.eflags & ~0x8D5ull) |
                    compare_flags(uses_rsi ? source : regs.rax, target, site.bytes);
    const bool equal = regs.eflags & 0x40;
    if (!site.repeat) return kTail;
    if (site.form != Form::kLods && equal != (site.repeat == 1)) return kTail;
  }
  return string_done(thread, site);
}

namespace {

// ---- Stack and control --------------------------------------------------------------------------

// All of it or nothing, also across the end of what may be written.
bool write_whole(Thread* thread, const Site& site, uint64_t to, const void* from, uint32_t bytes,
                 Fault* fault) {
  return traced_writable(to, bytes, fault) &&
         traced_write(thread, origin_of(thread, site), to, from, bytes, fault);
}

bool push_value(Thread* thread, const Site& site, uint64_t value, uint32_t bytes, Fault* fault) {
  const uint64_t to = thread->regs.rsp - bytes;
  if (!write_whole(thread, site, to, &value, bytes, fault)) return false;
  thread->regs.rsp = to;
  return true;
}

bool pop_value(Thread* thread, const Site& site, uint64_t* value, uint32_t bytes, Fault* fault) {
  *value = 0;
  if (!traced_read(thread, origin_of(thread, site), value, thread->regs.rsp, bytes, fault))
    return false;
  thread->regs.rsp += bytes;
  return true;
}

bool operand_value(Thread* thread, const Site& site, uint64_t* value, Fault* fault) {
  *value = static_cast<uint64_t>(site.immediate);
  if (site.value_register != kNoRegister) *value = reg(thread->regs, site.value_register);
  if (!site.value_is_memory) return true;
  *value = 0;
  return traced_read(thread, origin_of(thread, site), value, thread->ea, site.bytes, fault);
}

}  // namespace

int emulate_push(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const bool ok = operand_value(thread, site, &value, &fault) &&
                  push_value(thread, site, value, site.value_bytes, &fault);
  return ok ? kTail : raise(thread, site, fault);
}

int emulate_pop(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const Regs before = thread->regs;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) return raise(thread, site, fault);
  if (!site.value_is_memory) {
    memcpy(&reg(thread->regs, site.value_register), &value, site.value_bytes);
    return kTail;
  }
  const uint64_t address = effective_address(site, thread->regs);  // with the new stack pointer
  if (write_whole(thread, site, address, &value, site.value_bytes, &fault)) return kTail;
  thread->regs = before;
  return raise(thread, site, fault);
}

int emulate_call(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  const uint64_t next = site.ip + site.length;
  const bool relative = site.value_register == kNoRegister && !site.value_is_memory;
  if (!operand_value(thread, site, &target, &fault) || !push_value(thread, site, next, 8, &fault))
    return raise(thread, site, fault);
  thread->exit_ip = relative ? next + target : target;
  return kTail;
}

int emulate_jump(Thread* thread, const Site& site) {
  Fault fault;
  if (!operand_value(thread, site, &thread->exit_ip, &fault)) return raise(thread, site, fault);
  return kTail;
}

int emulate_return(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  if (!pop_value(thread, site, &target, 8, &fault)) return raise(thread, site, fault);
  thread->exit_ip = target;
  thread->regs.rsp += static_cast<uint64_t>(site.immediate);
  return kTail;
}

int emulate_leave(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const uint64_t before = thread->regs.rsp;
  thread->regs.rsp = thread->regs.rbp;
  if (!pop_value(thread, site, &value, 8, &fault)) {
    thread->regs.rsp = before;
    return raise(thread, site, fault);
  }
  thread->regs.rbp = value;
  return kTail;
}

int emulate_push_flags(Thread* thread, const Site& site) {
  Fault fault;
  if (!push_value(thread, site, thread->regs.eflags & ~0x10100ull, site.value_bytes, &fault))
    return raise(thread, site, fault);
  return kTail;
}

int emulate_pop_flags(Thread* thread, const Site& site) {
  constexpr uint64_t kUserFlags = 0x250DD5;  // what user code may change
  Fault fault;
  uint64_t value;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) return raise(thread, site, fault);
  thread->regs.eflags = (thread->regs.eflags & ~kUserFlags) | (value & kUserFlags);
  return kTail;
}

int emulate_xlat(Thread* thread, const Site& site) {
  Fault fault;
  const uint64_t address = segment_base(site) + thread->regs.rbx + (thread->regs.rax & 0xFF);
  if (!traced_read(thread, origin_of(thread, site), &thread->regs.rax, address, 1, &fault))
    return raise(thread, site, fault);
  return kTail;
}

}  // namespace shmrec::agent
