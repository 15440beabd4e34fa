// Performing instructions that touch traced memory.
//
// An instruction never touches a traced segment itself, but for atomic ones. A load runs on a
// private copy of what was read under the stripe's version; a store runs on private memory, whose
// content is then written under the stripe's lock with the record written ahead. So what is logged
// is what the program got, and no generated code runs under a lock. Only atomic instructions (LOCK,
// xchg) run on the segment's alias, under the lock, so that they stay atomic towards processes that
// are not recorded and towards the kernel.
#include "agent/access/performance.h"
#include "agent/access/routines.h"
#include "agent/agent_abi.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/processor.h"
#include "agent/kernel/robust.h"
#include "agent/memory/brake.h"
#include "agent/memory/native.h"
#include "agent/process/event.h"
#include "agent/replay/accesses.h"
#include "agent/replay/replay.h"
#include "agent/signals/signal_numbers.h"
#include "agent/sites/table.h"
#include "agent/stream/turns.h"

namespace shmrec::agent {

using namespace shmlog;

int run_core(Thread* thread, const Site& site, uint64_t target, uint64_t code) {
  thread->core = thread->regs;
  reg(thread->core, site.scratch) = target;
  thread->core_ip = code;
  return kCore;
}

void take_core(Thread* thread, const Site& site) {
  const Regs before = thread->regs;
  thread->regs = thread->core;
  thread->regs.rip = before.rip;
  reg(thread->regs, site.scratch) = reg(before, site.scratch);
  if (site.second_scratch != kNoRegister)
    reg(thread->regs, site.second_scratch) = reg(before, site.second_scratch);
}

namespace {

// Where an instruction must stand for the program's bits: a register bit offset moves the address
// on, and the processor will move it again.
uint64_t unmoved(const Site& site, const Regs& regs, uint64_t target, uint64_t address) {
  if (site.bit_register < 0) return target;
  Site plain = site;
  plain.bit_register = kNoRegister;
  return target - (address - effective_address(plain, regs));
}

int begin_load(Thread* thread, const Site& site) {
  Fault fault;
  uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  if (!traced_read(thread, origin_of(thread, site), bounce, thread->ea, site.bytes, &fault))
    return raise(thread, site, fault);
  const uint64_t target = reinterpret_cast<uint64_t>(bounce);
  return run_core(thread, site, unmoved(site, thread->regs, target, thread->ea), site.core);
}

int begin_store(Thread* thread, const Site& site) {
  Fault fault;
  if (!thread->stored_by_kernel && !traced_writable(thread->ea, site.bytes, &fault))
    return raise(thread, site, fault);
  const uint64_t target = reinterpret_cast<uint64_t>(bounce_for(thread->bounce, thread->ea));
  return run_core(thread, site, target, site.core);
}

int end_store(Thread* thread, const Site& site) {
  Fault fault;
  take_core(thread, site);
  if (traced_write(thread, origin_of(thread, site), thread->ea,
                   bounce_for(thread->bounce, thread->ea), site.bytes, &fault))
    return kTail;
  // The kernel stores as far as it can, calls what it cannot store to not mapped, and names the
  // first byte.
  if (thread->stored_by_kernel)
    fault = {kSigsegv, kSegvMaperr, thread->ea, kFaultUser | kFaultWrite};
  return raise(thread, site, fault);
}

// The region that holds the whole access, if there is one: also what the brake has cut in two.
bool in_one_region(Thread* thread, const Site& site, Region* region) {
  Region next;
  if (!region_find(thread->ea, region)) return false;
  if (site.bytes <= region->end - thread->ea) return true;
  if (!region_find(region->end, &next) || next.segment != region->segment ||
      next.alias != region->alias + region->alias_bytes() || next.protection != region->protection)
    return false;
  region->end = next.end;
  return site.bytes <= region->end - thread->ea;
}

// Wider ones (FXSAVE) and those across the border of a segment are a read and a write.
bool one_record(Thread* thread, const Site& site, Region* region) {
  return site.bytes <= 64 && in_one_region(thread, site, region);
}

int begin_modify(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  if (!traced_writable(thread->ea, site.bytes, &fault)) return raise(thread, site, fault);
  const bool ok =
      one_record(thread, site, &region)
          ? modify_begin(thread, region, bounce, thread->ea, site.bytes, &fault)
          : traced_read(thread, origin_of(thread, site), bounce, thread->ea, site.bytes, &fault);
  if (!ok) return raise(thread, site, fault);
  const uint64_t target = reinterpret_cast<uint64_t>(bounce);
  return run_core(thread, site, unmoved(site, thread->regs, target, thread->ea), site.core);
}

int end_modify(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  const Origin origin = origin_of(thread, site);
  const uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  take_core(thread, site);
  const bool ok = one_record(thread, site, &region)
                      ? modify_end(thread, origin, region, bounce, thread->ea, site.bytes, &fault)
                      : traced_write(thread, origin, thread->ea, bounce, site.bytes, &fault);
  return ok ? kTail : raise(thread, site, fault);
}

int begin_atomic(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  if (!in_one_region(thread, site, &region)) return begin_modify(thread, site);
  if (site.bytes == 4 && load(&log_header().robust_held))
    robust_check_dead(thread, region, thread->ea);
  if (!atomic_begin(thread, origin_of(thread, site), region, thread->ea, site.bytes, &fault))
    return raise(thread, site, fault);
  if (site.bytes == 4 && thread->robust_head) robust_note_ahead(thread, region, thread->ea);
  return run_core(thread, site, unmoved(site, thread->regs, thread->alias, thread->ea), site.core);
}

int end_atomic(Thread* thread, const Site& site) {
  if (!thread->record) return end_modify(thread, site);
  Region region;
  uint32_t values[2] = {};
  const uint8_t* record = thread->record;
  const bool word = site.bytes == 4 && thread->robust_head;
  take_core(thread, site);
  atomic_end(thread, true);
  if (!region_find(thread->ea, &region)) return kTail;
  code_written(region);
  count_usage(thread, region, origin_of(thread, site), true, true);
  if (!word) return kTail;
  const uint64_t offset = region.segment_offset + (thread->ea - region.begin);
  memcpy(values, record + sizeof(RecordHeader) + lines_touched(offset, 4) * 8, sizeof values);
  robust_note_atomic(thread, region, thread->ea, values[0], values[1]);
  return kTail;
}

// ---- Masked accesses: what is written is found by writing twice ---------------------------------

enum Phase : uint32_t { kFirst = 0, kSecond, kLast, kOnAlias };

uint64_t first_target(Thread* thread) {
  return reinterpret_cast<uint64_t>(bounce_for(thread->bounce, thread->ea));
}
uint64_t second_target(Thread* thread) {
  return reinterpret_cast<uint64_t>(bounce_for(thread->bounce2, thread->ea));
}

int begin_masked_load(Thread* thread, const Site& site) {
  fill_differently(thread, kMaxMaskedBytes);
  return run_core(thread, site, first_target(thread), site.probe);
}

int end_masked_load(Thread* thread, const Site& site) {
  if (thread->phase == kLast) {
    take_core(thread, site);
    return kTail;
  }
  if (thread->phase++ == kFirst) return run_core(thread, site, second_target(thread), site.probe);
  Fault fault;
  uint32_t selected = 0;
  const auto read = [&](uint32_t at, uint32_t bytes) {
    return traced_read(thread, origin_of(thread, site), bounce_for(thread->bounce, thread->ea) + at,
                       thread->ea + at, bytes, &fault);
  };
  // Of what is packed only the number of elements counts.
  for_each_written(thread, site.bytes, [&](uint32_t, uint32_t bytes) {
    selected += bytes;
    return true;
  });
  bool ok = true;
  if (!site.packed)
    ok = for_each_written(thread, site.bytes, read);
  else if (selected)
    ok = read(0, selected);
  if (!ok) return raise(thread, site, fault);
  return run_core(thread, site, first_target(thread), site.core);
}

int begin_masked_store(Thread* thread, const Site& site) {
  fill_differently(thread, kMaxMaskedBytes);
  thread->access_bytes = site.bytes;
  if (site.converts) thread->mxcsr = read_mxcsr();
  return run_core(thread, site, first_target(thread), site.core);
}

}  // namespace

int begin_written(Thread* thread, const Site& site) {
  return run_core(thread, site, first_target(thread), site.core);
}

int end_written(Thread* thread, const Site& site) {
  if (thread->phase++ == kFirst) return run_core(thread, site, second_target(thread), site.core);
  Fault fault;
  take_core(thread, site);
  const uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  // As the processor does: nothing is stored if a part of it cannot be.
  const bool possible = for_each_written(
      thread, thread->access_bytes,
      [&](uint32_t at, uint32_t bytes) { return traced_writable(thread->ea + at, bytes, &fault); });
  if (!possible) {
    if (site.converts && !convert_flags_in_spite_of_fault()) write_mxcsr(thread->mxcsr);
    return raise(thread, site, fault);
  }
  const bool ok = for_each_written(thread, thread->access_bytes, [&](uint32_t at, uint32_t bytes) {
    return traced_write(thread, origin_of(thread, site), thread->ea + at, bounce + at, bytes,
                        &fault);
  });
  return ok ? kTail : raise(thread, site, fault);
}

namespace {

// ---- Others -------------------------------------------------------------------------------------

int begin_touch(Thread* thread, const Site& site) {
  const uint64_t alias = alias_of(thread->ea, 1);
  return run_core(thread, site, alias ? alias : thread->ea, site.core);
}

int end_touch(Thread* thread, const Site& site) {
  take_core(thread, site);
  return kTail;
}

int begin_pop_segment(Thread* thread, const Site& site) {
  Fault fault;
  uint8_t* bounce = bounce_for(thread->bounce, thread->regs.rsp);
  if (!traced_read(thread, origin_of(thread, site), bounce, thread->regs.rsp, site.value_bytes,
                   &fault))
    return raise(thread, site, fault);
  return run_core(thread, site, reinterpret_cast<uint64_t>(bounce), site.core);
}

int end_pop_segment(Thread* thread, const Site& site) {
  take_core(thread, site);
  thread->regs.rsp += site.value_bytes;
  return kTail;
}

int nothing(Thread*, const Site&) { return kTail; }

struct Performance {
  int (*begin)(Thread*, const Site&);
  int (*end)(Thread*, const Site&);
};
// In the order of Form.
constexpr Performance kPerformances[] = {
    {begin_load, end_touch},               // kLoad
    {begin_store, end_store},              // kStore
    {begin_modify, end_modify},            // kModify
    {begin_atomic, end_atomic},            // kAtomic
    {begin_masked_load, end_masked_load},  // kMaskedLoad
    {begin_masked_store, end_written},     // kMaskedStore
    {begin_save_state, end_written},       // kSaveState
    {begin_load_state, end_touch},         // kLoadState
    {begin_load_tile, end_touch},          // kLoadTile
    {begin_store_tile, end_store_tile},    // kStoreTile
    {begin_touch, end_touch},              // kTouch
    {begin_pop_segment, end_pop_segment},  // kPopSegment
    {emulate_movs, nothing},
    {emulate_stos, nothing},
    {emulate_compare, nothing},  // kLods
    {emulate_compare, nothing},  // kCmps
    {emulate_compare, nothing},  // kScas
    {emulate_push, nothing},
    {emulate_pop, nothing},
    {emulate_call, nothing},
    {emulate_jump, nothing},
    {emulate_return, nothing},
    {emulate_enter, nothing},
    {emulate_leave, nothing},
    {emulate_push_flags, nothing},
    {emulate_pop_flags, nothing},
    {emulate_far_jump, nothing},
    {emulate_far_call, nothing},
    {emulate_far_return, nothing},
    {emulate_interrupt_return, nothing},
    {emulate_xlat, nothing},
    {emulate_move_direct, nothing},
    {routine_perform, nothing},  // kRoutine
};
static_assert(sizeof kPerformances / sizeof kPerformances[0] == static_cast<int>(Form::kGather));

const Performance& performance(const Site& site) {
  return kPerformances[static_cast<int>(site.form)];
}

// ---- In replay ----------------------------------------------------------------------------------

// Might it lock or unlock a robust mutex (kernel/robust.h)?
bool may_be_robust(const Thread* thread, const Site& site) {
  return site.form == Form::kAtomic && site.bytes == 4 &&
         (thread->robust_head || load(&log_header().robust_held));
}

// Does the instruction do on the alias what it would do on the program's memory? Nobody else writes
// there, and nobody reads what is logged.
bool runs_on_alias(Thread* thread, const Site& site, Region* region) {
  const uint32_t wanted = site.form == Form::kLoad ? PROT_READ : PROT_WRITE;
  return site.form <= Form::kAtomic && !thread->stored_by_kernel && !may_be_robust(thread, site) &&
         region_find(thread->ea, region) && site.bytes <= region->end - thread->ea &&
         (region->protection & wanted) && !(region->protection & PROT_EXEC);
}

int begin_replayed(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  if (!replay_access(thread, thread->regs, site.ip, &fault)) return raise(thread, site, fault);
  if (!runs_on_alias(thread, site, &region)) return performance(site).begin(thread, site);
  const uint64_t target = region.alias + (thread->ea - region.begin);
  thread->phase = kOnAlias;
  return run_core(thread, site, unmoved(site, thread->regs, target, thread->ea), site.core);
}

// Site and regions are the thread's to use until the access is over.
int next_of(Thread* thread, int next) {
  if (next == kTail) {
    region_use_end(thread);
    site_leave(thread);
  }
  return next;
}

}  // namespace

extern "C" int access_begin(Thread* thread) {
  native_look(thread);
  brake_look(thread);
  ++thread->brake_meter.slow;
  const Site& site = *thread->site;
  thread->regs.rip = site.ip;
  const uint64_t behind = load(&site.behind);
  thread->exit_ip = behind ? behind : site.ip + site.length;
  thread->ea = effective_address(site, thread->regs);
  if (thread->offers_turn) turn_offer_at_access(thread);
  thread->event = next_event(thread);
  thread->phase = kFirst;
  thread->record = nullptr;
  region_use_begin(thread);  // until the instruction is done
  if (replaying()) return next_of(thread, begin_replayed(thread, site));
  return next_of(thread, performance(site).begin(thread, site));
}

// From a stub: its site is pinned. What is in the window and not traced, or only read where only
// writes are traced, and what has to fault, is the instruction's own to find out.
extern "C" int access_jumped(Thread* thread) {
  Site& site = site_numbered(thread->jumped_site);
  store(&thread->site, &site);
  thread->regs.rip = site.ip;
  thread->stored_by_kernel = 0;
  const bool checked = thread->regs.eflags & kAlignmentFlag;
  brake_look(thread);
  brake_put_back(thread, site);
  if (!checked && access_concerns(site, thread->regs)) return access_begin(thread);
  thread->exit_ip = load(&site.miss);
  site_leave(thread);
  return kTail;
}

// What comes with it, as a turn, comes with the signal of the instruction's own access.
extern "C" int access_replayed(Thread* thread) {
  if (!replay_access_needs_signal()) return access_jumped(thread);
  thread->exit_ip = load(&site_numbered(thread->jumped_site).miss);
  return kTail;
}

extern "C" int access_end(Thread* thread) {
  const Site& site = *thread->site;
  if (site.x87) x87_pointers_as_alone(thread, site);
  if (thread->phase == kOnAlias) return next_of(thread, end_touch(thread, site));
  return next_of(thread, performance(site).end(thread, site));
}

void access_abort(Thread* thread, uint64_t* address) {
  const Site& site = *thread->site;
  if (in_generated(*address)) *address = site.ip;  // of a SIGFPE
  if (thread->record) {
    if (*address >= thread->alias && *address < thread->alias + site.bytes)
      *address += thread->ea - thread->alias;
    atomic_end(thread, false);
  }
  region_use_end(thread);
  thread->regs.rip = site.ip;
  site_leave(thread);
}

}  // namespace shmrec::agent
