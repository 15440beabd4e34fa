#include "agent/patches/patch.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/kernel/syscalls.h"
#include "agent/log/log.h"
#include "agent/memory/modules.h"
#include "agent/memory/regions.h"
#include "agent/patches/arena.h"
#include "agent/patches/call_sites.h"
#include "agent/patches/libraries.h"
#include "agent/patches/stop_stub.h"
#include "agent/patches/tactics.h"
#include "agent/patches/text.h"
#include "agent/signals/unwind.h"
#include "agent/sites/table.h"

namespace shmrec::agent {

using shmlog::PatchCount;

namespace {

constexpr uint32_t kMaxPatches = 16 * 1024;
constexpr uint32_t kBuckets = 2 * kMaxPatches;
constexpr uint64_t kGone = 1;      // in `ips`: something was here
constexpr uint8_t kMaxStrays = 8;  // jumps into the overwritten bytes, until the tactic is changed

struct Patch {
  uint64_t ip, stub;  // ip 0: free
  StubLayout layout;
  uint32_t sites[kMaxCovered];  // numbers of those that ask, 0: does not
  uint8_t lengths[kMaxCovered];
  uint8_t count, bytes;
  uint8_t outside;  // bit i: the stub's part i looks outside of the window
  uint8_t original[kJumpBytes];
  Arrivals arrivals;
  uint8_t tactic;
  bool call, stop;
  uint8_t strays;
  uint16_t next_free;
};

Patch patches[kMaxPatches];  // 0 is none
uint32_t patch_count = 1;    // those from here on were never used
uint16_t free_patch = 0;
uint64_t ips[kBuckets];  // of the jumps that are there, hashed, open
uint16_t numbers[kBuckets];
uint64_t lowest = ~0ull, highest = 0;  // of all that was ever patched
bool ended = false;                    // no more
uint32_t changes = 0;                  // how often text was changed
SpinLock patches_lock;

// Of replay.
struct Stop {
  StopTest test;
  Patch* patch;  // null: none is looked for
};
Stop stop = {};

uint32_t hash_of(uint64_t ip) {
  return static_cast<uint32_t>(ip * 0x9E3779B97F4A7C15 >> 40) % kBuckets;
}

bool none_over(uint64_t begin, uint64_t end) {
  return end + 64 < load(&lowest) || begin > load(&highest) + 64;
}
bool none_near(uint64_t ip) { return none_over(ip, ip); }

// The patch whose jump begins at `ip`.
Patch* patch_at(uint64_t ip) {
  uint64_t found;
  for (uint32_t at = hash_of(ip); (found = load(&ips[at])); at = (at + 1) % kBuckets)
    if (found == ip) return &patches[numbers[at]];
  return nullptr;
}

uint16_t number_of(const Patch& patch) { return static_cast<uint16_t>(&patch - patches); }

// The patch one of whose bytes lies in [begin, end); null: none.
Patch* patch_over(uint64_t begin, uint64_t end) {
  if (none_over(begin, end)) return nullptr;
  for (uint64_t ip = begin - kJumpBytes + 1; ip < end; ++ip)
    if (Patch* patch = patch_at(ip)) return patch;
  return nullptr;
}

void enter(const Patch& patch) {
  uint32_t at = hash_of(patch.ip);
  while (ips[at] > kGone) at = (at + 1) % kBuckets;
  numbers[at] = number_of(patch);
  store(&ips[at], patch.ip);
  store(&lowest, min(lowest, patch.ip));
  store(&highest, max(highest, patch.ip));
}

void take_out(const Patch& patch) {
  for (uint32_t at = hash_of(patch.ip); ips[at]; at = (at + 1) % kBuckets)
    if (ips[at] == patch.ip && numbers[at] == number_of(patch)) store(&ips[at], kGone);
}

uint16_t take_number() {
  if (const uint16_t number = free_patch) {
    free_patch = patches[number].next_free;
    return number;
  }
  return patch_count < kMaxPatches ? static_cast<uint16_t>(patch_count++) : 0;
}

void free_number(uint16_t number) {
  patches[number].ip = 0;
  patches[number].next_free = free_patch;
  free_patch = number;
}

bool alone(const Thread* thread) {
  return threads_of(thread->process) == 1 && !memory_is_shared(thread->process);
}

// ---- Counting -----------------------------------------------------------------------------------

void count(PatchCount what) {
  fetch_add(&log_header().patches[static_cast<uint32_t>(what)], uint64_t{1});
}

constexpr PatchCount kByTactic[] = {PatchCount::kDirect, PatchCount::kRelocated,
                                    PatchCount::kPunned};

PatchCount kind_of(const Plan& plan) {
  static_assert(sizeof kByTactic / sizeof kByTactic[0] == kTacticCount);
  if (plan.covered.call) return PatchCount::kCalls;
  if (plan.covered.routine != Routine::kNone) return PatchCount::kRoutines;
  return kByTactic[plan.tactic - 1];
}

// ---- Putting in ---------------------------------------------------------------------------------

void describe_patch(const Plan& plan, Patch* patch) {
  patch->ip = plan.covered.ip;
  patch->stub = plan.stub;
  patch->layout = plan.layout;
  patch->count = static_cast<uint8_t>(plan.covered.count);
  patch->bytes = static_cast<uint8_t>(plan.covered.bytes);
  patch->tactic = plan.tactic;
  patch->call = plan.covered.call;
  patch->stop = plan.covered.stop;
  patch->strays = 0;
  patch->outside = 0;
  memcpy(patch->original, plan.original, kJumpBytes);
  patch->arrivals = plan.arrivals;
  for (uint32_t i = 0; i < plan.covered.count; ++i) {
    const Covered& covered = plan.covered.instructions[i];
    patch->lengths[i] = covered.length;
    patch->sites[i] = covered.site ? site_number(*covered.site) : 0;
    if (covered.site && covered.site->outside) patch->outside |= 1 << i;
  }
}

// From the jump on, their accesses end in the stub.
void lead_sites(const Patch& patch) {
  for (uint32_t i = 0; i < patch.count; ++i) {
    if (!patch.sites[i]) continue;
    Site& site = site_numbered(patch.sites[i]);
    const bool last = i + 1 == patch.count;
    store(&site.miss, patch.stub + patch.layout.parts[i].copy);
    store(&site.finish, patch.stub + patch.layout.parts[i].finish);
    store(&site.behind, patch.stub + (last ? patch.layout.back : patch.layout.parts[i + 1].begin));
  }
}

void forget_sites(const Patch& patch) {
  for (uint32_t i = 0; i < patch.count; ++i)
    if (patch.sites[i]) store(&site_numbered(patch.sites[i]).behind, uint64_t{0});
}

void make_jump(const Patch& patch, uint8_t* jump) {
  const uint32_t distance = static_cast<uint32_t>(patch.stub - (patch.ip + kJumpBytes));
  const bool breaks = patch.tactic == kBreakpointTactic;
  jump[0] = breaks ? kBreakpoint : 0xE9;
  memcpy(jump + 1, breaks ? static_cast<const void*>(patch.original + 1) : &distance, 4);
}

// To a stub that is there. False: nothing was changed.
bool jump_in(const Thread* thread, const Patch& patch) {
  uint8_t jump[kJumpBytes];
  lead_sites(patch);
  make_jump(patch, jump);
  enter(patch);
  const bool ok =
      text_replace(patch.ip, patch.original, jump, kJumpBytes, patch.arrivals, alone(thread));
  store(&changes, changes + 1);
  if (!ok) take_out(patch), forget_sites(patch);
  return ok;
}

bool put_in(const Thread* thread, const Plan& plan, uint16_t number) {
  uint8_t code[kMaxStubBytes];
  StubLayout layout;
  Patch& patch = patches[number];
  if (!plan_emit(plan.covered, plan.stub, code, &layout) ||
      !text_write(plan.stub, code, layout.bytes))
    return false;
  describe_patch(plan, &patch);
  return jump_in(thread, patch);
}

// ---- Taking out ---------------------------------------------------------------------------------

// The stub stays. False: the text cannot be written any more.
bool undo(const Thread* thread, Patch& patch) {
  uint8_t jump[kJumpBytes];
  make_jump(patch, jump);
  if (!text_replace(patch.ip, jump, patch.original, kJumpBytes, patch.arrivals, alone(thread)))
    return false;
  store(&changes, changes + 1);
  take_out(patch);
  forget_sites(patch);
  for (uint32_t i = 0; i < patch.count; ++i)
    if (patch.sites[i]) site_unpin(site_numbered(patch.sites[i]));
  if (patch.call) call_site_undone(patch.ip);
  count(PatchCount::kPutBack);
  return true;
}

// Makes room for a jump at `ip`. False: `ip` itself has been overwritten.
bool clear(const Thread* thread, uint64_t ip) {
  while (Patch* other = patch_over(ip, ip + kJumpBytes))
    if (other->ip < ip || !undo(thread, *other)) return false;
  return true;
}

template <typename Visit>
void for_each_patch_in(uint64_t begin, uint64_t end, Visit visit) {
  if (begin > highest || end <= lowest) return;
  for (uint32_t i = 1; i < patch_count; ++i)
    if (patches[i].ip >= begin && patches[i].ip < end) visit(patches[i]);
}

bool is_in(const Patch& patch) { return patch_at(patch.ip) == &patch; }

// Can code at `ip` be patched at all?
bool possible(const Thread* thread, uint64_t ip) {
  if (ended || stop.patch || log_header().slow || !stubs_possible() ||
      !module_patchable(ip, kMaxInstruction))
    return false;
  ended = modules_use_gs() || thread->program_gs;
  return !ended;
}

void withdraw(const Plan& plan, uint16_t number) {
  arena_give_back(plan.stub, number);
  plan_unpin(plan.covered);
}

// False: nothing was changed, and what the plan took is given back.
bool carry_out(const Thread* thread, const Plan& plan, uint16_t number, bool planned) {
  store(&gs_kept, 1u);
  if (planned && put_in(thread, plan, number)) {
    count(kind_of(plan));
    return true;
  }
  if (planned) withdraw(plan, number);
  free_number(number);
  return false;
}

// The patch that has been undone, if all of its sites are what they were. False: nothing was
// changed.
bool bring_back(Thread* thread, const Patch& patch) {
  uint32_t pinned = 0;
  uint64_t ip = patch.ip;
  for (; pinned < patch.count; ip += patch.lengths[pinned++]) {
    if (!patch.sites[pinned]) continue;
    Site* const found = site_pin(thread, ip);
    if (found == &site_numbered(patch.sites[pinned])) continue;
    if (found) site_unpin(*found);
    break;
  }
  const bool ok = pinned == patch.count && jump_in(thread, patch);
  for (uint32_t i = 0; !ok && i < pinned; ++i)
    if (patch.sites[i]) site_unpin(site_numbered(patch.sites[i]));
  return ok;
}

// Does its stub look outside of the window for each instruction that has met memory there?
bool looks_enough(const Patch& patch) {
  for (uint32_t i = 0; i < patch.count; ++i)
    if (patch.sites[i] && site_numbered(patch.sites[i]).outside && !(patch.outside >> i & 1))
      return false;
  return true;
}

// The site's patch of before it was put back, if all is as it was then. False: nothing was changed.
bool redo(Thread* thread, Site& site) {
  const Patch& patch = patches[site.old_patch];
  if (!site.old_patch || patch.ip != site.ip || site.stray || is_in(patch) ||
      !looks_enough(patch) || !bring_back(thread, patch))
    return false;
  count(kByTactic[patch.tactic - 1]);
  return true;
}

// The same jump leads to another stub, which looks outside of the window where this one does not.
// If there is no room for it, this one stays.
void replace_stub(Thread* thread, Patch& patch) {
  const uint16_t number = take_number();
  if (!number) return;
  const Routine routine = patch.sites[0] ? site_numbered(patch.sites[0]).routine : Routine::kNone;
  if (!undo(thread, patch)) return free_number(number);
  Plan plan;
  const bool planned = plan_patch(thread, patch.ip, number, patch.tactic, &plan, routine);
  if (!carry_out(thread, plan, number, planned)) bring_back(thread, patch);
}

// A site that is patched has met memory where its stub does not look.
void look_outside(Thread* thread, Site& site) {
  Patch* const patch = patch_over(site.ip, site.ip + 1);
  if (site.outside || !patch || patch->call) return;
  Site* const held = thread->site;
  site.outside = 1;
  replace_stub(thread, *patch);
  store(&thread->site, held);
}

}  // namespace

bool patch_put_back(const Thread* thread, const Site& site) {
  Locked regions(regions_lock);
  Locked lock(patches_lock);
  Patch* patch = patch_over(site.ip, site.ip + 1);
  if (!patch || !undo(thread, *patch)) return false;
  shmrec_serialize();  // the thread itself goes on in what was written
  for (uint32_t i = 0; i < patch->count; ++i)
    if (patch->sites[i]) site_numbered(patch->sites[i]).old_patch = number_of(*patch);
  return true;
}

void patch_site(Thread* thread, Site& site, bool outside) {
  Locked regions(regions_lock);
  Locked lock(patches_lock);
  if (ended || log_header().slow || site.ip == 0) return;
  if (site.patched == kPatched && outside) look_outside(thread, site);
  if (site.patched) return;
  if (outside) site.outside = 1;
  site.patched = kUnpatchable;
  const bool can_be = stub_possible(site) && possible(thread, site.ip);
  const bool cleared = can_be && clear(thread, site.ip);
  Site* const held = thread->site;
  site.patched = kNotPatched;
  const bool again = cleared && redo(thread, site);
  store(&thread->site, held);
  if (again) return;
  site.patched = kUnpatchable;
  const uint16_t number = cleared ? take_number() : 0;
  if (!number) return count(PatchCount::kLeft);
  Plan plan;
  site.patched = kNotPatched;
  const uint8_t first = site.stray ? kPunning : 1;
  const bool planned = plan_patch(thread, site.ip, number, first, &plan);
  store(&thread->site, held);
  if (carry_out(thread, plan, number, planned)) return;
  site.patched = kUnpatchable;
  count(PatchCount::kLeft);
}

// Others of its kind may jump to what follows the first instruction. If they come to the
// overwritten bytes again and again, the routine is left as it is from then on.
void patch_routine(Thread* thread, uint64_t ip, Routine routine, bool outside) {
  Locked lock(patches_lock);
  const Patch* const patch = patch_at(ip);
  if (patch && outside && patch->sites[0]) look_outside(thread, site_numbered(patch->sites[0]));
  if (patch || !possible(thread, ip)) return;
  const uint16_t number = clear(thread, ip) ? take_number() : 0;
  if (!number) return;
  Plan plan;
  bool planned = plan_patch(thread, ip, number, 1, &plan, routine);
  if (planned && plan.covered.instructions[0].site->stray) {
    withdraw(plan, number);
    planned = false;
  }
  carry_out(thread, plan, number, planned);
}

// The first patch of a process looks through its code for uses of gs: 8 KiB in the time of a trap.
bool patch_call(Thread* thread, uint64_t ip, bool strays, uint32_t traps) {
  constexpr uint64_t kBytesPerTrap = 8192;
  Locked regions(regions_lock);
  Locked lock(patches_lock);
  if (!load(&gs_kept) && !ended && traps < modules_unread() / kBytesPerTrap) return false;
  if (patch_at(ip) || !possible(thread, ip)) return true;
  const uint16_t number = clear(thread, ip) ? take_number() : 0;
  if (!number) return true;
  Plan plan;
  const bool planned = plan_call(thread, ip, number, strays ? kPunning : 1, &plan);
  carry_out(thread, plan, number, planned);
  return true;
}

// ---- Threads in stubs ---------------------------------------------------------------------------

bool in_stub(uint64_t rip) { return arena_owner(rip) != 0; }

bool patch_place(uint64_t rip, StubPlace* place) {
  const uint16_t number = arena_owner(rip);
  if (!number) return false;
  const Patch& patch = patches[number];
  const uint64_t at = rip - patch.stub;
  uint32_t i = 0, next = 0;
  bool in_hit = false;
  *place = {};
  place->ip = patch.ip;
  for (; i < patch.count; ++i) {
    const PartLayout& part = patch.layout.parts[i];
    in_hit = at >= part.hit && at < part.end;
    const bool last = i + 1 == patch.count;
    next = last ? patch.layout.back : patch.layout.parts[i + 1].begin;
    if (in_hit || (at >= part.begin && at < next)) break;
    place->ip += patch.lengths[i];
  }
  if (i == patch.count) return true;
  const PartLayout& part = patch.layout.parts[i];
  place->copy = patch.stub + part.copy;
  place->site = patch.sites[i] ? &site_numbered(patch.sites[i]) : nullptr;
  place->asks = in_hit || at < part.copy;
  place->loaded = in_hit && part.returned && at >= part.returned && at < part.done;
  place->rcx_saved = in_hit ? at < part.enter : at >= part.saved && at < part.copy;
  place->rax_saved = at >= part.spilled && at < part.unspilled;
  place->begins = at == part.begin && i > 0;
  place->call = patch.call && i == 0;
  if (!in_hit || !part.done) return true;
  place->stack_saved = at >= part.stacked && at < part.unstacked;
  place->holds = at >= part.held && at < part.unheld;
  if (at < part.done) return true;
  place->ip += patch.lengths[i];
  place->asks = false;
  return true;
}

bool patch_leave_stub(const Thread* thread, Regs* regs) {
  StubPlace place;
  if (!patch_place(regs->rip, &place)) return false;
  if (place.rcx_saved) regs->rcx = thread->saved_rcx;
  if (place.rax_saved) regs->rax = thread->saved_scratch;
  if (place.call) regs->rcx = place.ip + kSyscallBytes, regs->r11 = regs->eflags;
  if (place.stack_saved) regs->rsp = thread->regs.rsp;
  regs->rip = place.ip;
  return true;
}

namespace {

// The part of a stub that stands for the overwritten instruction at `ip`, or for the one of which
// only a lock prefix is before it. `ip`: there is none.
uint64_t part_for(uint64_t ip, bool behind_lock) {
  for (uint32_t back = 1; back < kJumpBytes; ++back) {
    const Patch* patch = patch_at(ip - back);
    for (uint32_t i = 0, at = 0; patch && i < patch->count; at += patch->lengths[i++])
      if (at + behind_lock == back && (!behind_lock || patch->original[at] == kLockPrefix))
        return patch->stub + patch->layout.parts[i].begin;
  }
  return ip;
}

}  // namespace

uint64_t patch_resume(uint64_t ip) { return none_near(ip) ? ip : part_for(ip, false); }

namespace {

// The program comes to what the jump has overwritten: rarely because a signal found it there, and
// often because it jumps there. Behind a lock prefix no part of a stub is just what is there.
void stray(const Thread* thread, uint64_t ip) {
  Locked regions(regions_lock);
  Locked lock(patches_lock);
  Patch* patch = patch_over(ip, ip + 1);
  if (!patch || patch->ip == ip || patch->stop) return;
  count(PatchCount::kStrays);
  const uint64_t at = ip - patch->ip;
  const bool behind_lock = patch->arrivals.inner >> at & 1;
  const bool own = at < patch->lengths[0];
  if (++patch->strays < kMaxStrays && !behind_lock) return;
  patch->strays = 0;
  if (patch->call) {
    if (undo(thread, *patch)) call_site_strayed(patch->ip);
    return;
  }
  Site& site = site_numbered(patch->sites[0]);
  if (!undo(thread, *patch)) return;
  site.stray = 1;
  if (behind_lock && own) site.patched = kUnpatchable;
}

bool overwritten(uint64_t ip) {
  const Patch* patch = patch_over(ip, ip + 1);
  return patch && patch->ip != ip;
}

}  // namespace

bool patch_trapped(Thread* thread, Context* context) {
  const uint64_t rip = context->regs.rip;
  const bool breakpoint = context->trap == kBreakpointTrap;
  const uint64_t met = breakpoint ? rip - 1 : rip;
  if (none_near(met)) return false;
  if (breakpoint) {
    Locked lock(patches_lock);  // what was being replaced has been
    uint8_t byte = kBreakpoint;
    if (safe_copy(&byte, reinterpret_cast<void*>(met), 1) && byte != kBreakpoint) {
      context->regs.rip = met;
      return true;
    }
    return false;
  }
  if (context->trap != kInvalidOpcode && context->trap != kGeneralProtection) return false;
  if (overwritten(met)) {
    const bool behind_call = thread->exit_ip == met;  // it may have been there when the jump came
    if (!behind_call) stray(thread, met);
    thread->exit_ip = 0;
    context->regs.rip = patch_resume(met);
    // What cannot be put back goes on with the prefix that was jumped over: it does the same.
    if (!behind_call && context->regs.rip == met) context->regs.rip = part_for(met, true);
    return true;
  }
  // Another thread has put back what this one met, or it is the program's own and is met again.
  const uint32_t now = load(&changes);
  if (thread->changes_met == now) return false;
  thread->changes_met = now;
  return true;
}

void patch_original(uint64_t ip, uint8_t* code, uint64_t bytes) {
  if (none_over(ip, ip + bytes)) return;
  for (uint64_t at = ip - kJumpBytes + 1; at < ip + bytes; ++at) {
    const Patch* patch = patch_at(at);
    if (!patch) continue;
    for (uint64_t i = 0; i < kJumpBytes; ++i)
      if (at + i >= ip && at + i < ip + bytes) code[at + i - ip] = patch->original[i];
  }
}

bool patches_vacate(uint64_t begin, uint64_t end) {
  const uint64_t arena = arena_next(begin);
  if (!arena || arena >= end) return true;
  Locked regions(regions_lock);
  Locked lock(patches_lock);
  const RegionsChange change;
  for (uint32_t i = 1; i < patch_count; ++i) {
    Patch& patch = patches[i];
    const uint64_t base = patch.stub & ~(kArenaBytes - 1);
    if (!patch.ip || base >= end || base + kArenaBytes <= begin) continue;
    if (is_in(patch) && !undo(current_thread(), patch)) return false;
    free_number(number_of(patch));
  }
  arenas_drop(begin, end);
  return true;
}

// ---- Stops --------------------------------------------------------------------------------------

namespace {

bool in_text(const Patch& patch) {
  uint8_t jump[kJumpBytes], found[kJumpBytes];
  make_jump(patch, jump);
  return safe_copy(found, reinterpret_cast<void*>(patch.ip), sizeof found) &&
         memcmp(found, jump, sizeof jump) == 0;
}

}  // namespace

bool patch_stop(Thread* thread, const StopTest& test) {
  if (!patches_vacate(0, ~0ull)) return false;
  Locked lock(patches_lock);
  stop.test = test;
  const uint16_t number = clear(thread, test.ip) ? take_number() : 0;
  if (!number) return false;
  Plan plan;
  const bool planned = plan_stop(thread, stop.test, number, &plan);
  if (planned && put_in(thread, plan, number)) {
    stop.patch = &patches[number];
    return true;
  }
  free_number(number);
  arenas_drop(0, ~0ull);
  return false;
}

void patch_stop_end() {
  Locked lock(patches_lock);
  if (!stop.patch) return;
  // What the program has written there itself stays.
  if (in_text(*stop.patch)) text_write(stop.patch->ip, stop.patch->original, kJumpBytes);
  take_out(*stop.patch);
  free_number(number_of(*stop.patch));
  stop.patch = nullptr;
  arenas_drop(0, ~0ull);
}

StopTrap patch_stop_trap(Regs* regs) {
  if (!stop.patch) return StopTrap::kNone;
  const Patch& patch = *stop.patch;
  const bool breaks = patch.tactic == kBreakpointTactic && regs->rip == patch.ip + 1;
  const bool repeated = regs->rip == patch.stub + patch.layout.stop.repeated;
  if (!breaks && !repeated && regs->rip != patch.stub + patch.layout.stop.met)
    return StopTrap::kNone;
  regs->rip = patch.ip;
  return repeated ? StopTrap::kRepeated : StopTrap::kMet;
}

uint64_t patch_stop_missed() { return stop.patch->stub + stop.patch->layout.stop.missed; }
uint64_t patch_stop_repeat() { return stop.patch->stub + stop.patch->layout.stop.repeat; }

// ---- Code that goes -----------------------------------------------------------------------------

void patches_forget(uint64_t begin, uint64_t end) {
  libraries_forget(begin, end);
  call_sites_forget(begin, end);
  Locked lock(patches_lock);
  for_each_patch_in(begin, end, [](Patch& patch) {
    const uint16_t number = number_of(patch);
    const RegionsChange change;  // what is known by the stub's addresses is not any more
    take_out(patch);
    arena_give_back(patch.stub, number);
    free_number(number);
  });
}

void patches_undo(uint64_t begin, uint64_t end) {
  Locked lock(patches_lock);
  for_each_patch_in(begin, end, [](Patch& patch) {
    if (is_in(patch)) undo(current_thread(), patch);
  });
}

void patches_end_locked() {
  {
    Locked lock(patches_lock);
    ended = true;
  }
  patches_undo(0, ~0ull);
  store(&gs_kept, 0u);
}

void patches_end() {
  Locked regions(regions_lock);
  patches_end_locked();
}

void patches_end_if_free() {
  if (!regions_lock.try_lock()) return;
  const bool free = patches_lock.try_lock();
  if (free) patches_lock.unlock(), patches_end_locked();
  regions_lock.unlock();
}

void patch_describe(UnwindInfo* info) {
  info->patches = reinterpret_cast<uint64_t>(patches);
  info->patch_size = sizeof(Patch);
  info->patch_ip = offsetof(Patch, ip);
  info->patch_stub = offsetof(Patch, stub);
  info->patch_lengths = offsetof(Patch, lengths);
  info->patch_count = offsetof(Patch, count);
  info->patch_back = offsetof(Patch, layout.back);
  info->patch_parts = offsetof(Patch, layout.parts);
  info->part_size = sizeof(PartLayout);
  info->part_begin = offsetof(PartLayout, begin);
  info->part_hit = offsetof(PartLayout, hit);
  info->part_done = offsetof(PartLayout, done);
  info->part_end = offsetof(PartLayout, end);
  info->part_stacked = offsetof(PartLayout, stacked);
  info->part_unstacked = offsetof(PartLayout, unstacked);
}

void patches_before_fork() { patches_lock.lock(); }
void patches_after_fork() { patches_lock.unlock(); }

}  // namespace shmrec::agent
