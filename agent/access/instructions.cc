// Performing instructions that touch traced memory.
//
// An instruction never touches a traced segment itself, but for atomic ones. A load runs on a
// private copy of what was read under the stripe's version; a store runs on private memory, whose
// content is then written under the stripe's lock with the record written ahead. So what is logged
// is what the program got, and no generated code runs under a lock. Only atomic instructions (LOCK,
// xchg) run on the segment's alias, under the lock, so that they stay atomic towards processes that
// are not recorded and towards the kernel.
#include "agent/access/emulate.h"
#include "agent/agent_abi.h"
#include "agent/kernel/robust.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

enum Phase : uint32_t { kOnly = 0, kProbing };

// The private memory on which the instruction runs: as aligned as the address it names.
uint8_t* bounce_for(uint8_t* buffer, uint64_t address) { return buffer + address % 64; }

int run_core(Thread* thread, const Site& site, uint64_t target, uint64_t code) {
  thread->core = thread->regs;
  reg(thread->core, site.scratch) = target;
  thread->core_ip = code;
  return kCore;
}

// The registers as the instruction left them, but the one that held the address.
void take_core(Thread* thread, const Site& site) {
  const uint64_t rip = thread->regs.rip, scratch = reg(thread->regs, site.scratch);
  thread->regs = thread->core;
  thread->regs.rip = rip;
  reg(thread->regs, site.scratch) = scratch;
}

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
  if (!traced_writable(thread->ea, site.bytes, &fault)) return raise(thread, site, fault);
  const uint64_t target = reinterpret_cast<uint64_t>(bounce_for(thread->bounce, thread->ea));
  return run_core(thread, site, target, site.core);
}

int end_store(Thread* thread, const Site& site) {
  Fault fault;
  take_core(thread, site);
  if (!traced_write(thread, origin_of(thread, site), thread->ea,
                    bounce_for(thread->bounce, thread->ea), site.bytes, &fault))
    return raise(thread, site, fault);
  return kTail;
}

// The region that holds the whole access, if there is one.
bool in_one_region(Thread* thread, const Site& site, Region* region) {
  return region_find(thread->ea, region) && site.bytes <= region->end - thread->ea;
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
  count_usage(thread, region, origin_of(thread, site), true, true);
  if (!word) return kTail;
  const uint64_t offset = region.segment_offset + (thread->ea - region.begin);
  memcpy(values, record + sizeof(RecordHeader) + lines_touched(offset, 4) * 8, sizeof values);
  robust_note_atomic(thread, region, thread->ea, values[0], values[1]);
  return kTail;
}

// ---- Masked accesses

void fill_differently(Thread* thread, uint32_t bytes) {
  memset(bounce_for(thread->bounce, thread->ea), 0, bytes);
  memset(bounce_for(thread->bounce2, thread->ea), 0xFF, bytes);
  thread->second_target = reinterpret_cast<uint64_t>(bounce_for(thread->bounce2, thread->ea));
}

// Bytes that the instruction wrote, whatever was there before.
uint64_t written_mask(Thread* thread, uint32_t bytes) {
  const uint8_t* a = bounce_for(thread->bounce, thread->ea);
  const uint8_t* b = bounce_for(thread->bounce2, thread->ea);
  uint64_t mask = 0;
  for (uint32_t i = 0; i < bytes; ++i)
    if (a[i] == b[i]) mask |= uint64_t{1} << i;
  return mask;
}

// Calls `access` with each run of set bits: first byte and length. Stops when it returns false.
template <typename Access>
bool for_each_run(uint64_t mask, Access access) {
  for (uint32_t at = 0; at < 64;) {
    if (!(mask >> at & 1)) {
      ++at;
      continue;
    }
    uint32_t end = at;
    while (end < 64 && (mask >> end & 1)) ++end;
    if (!access(at, end - at)) return false;
    at = end;
  }
  return true;
}

int begin_masked(Thread* thread, const Site& site) {
  fill_differently(thread, 64);
  const bool probing = site.form == Form::kMaskedLoad;
  thread->phase = probing ? kProbing : kOnly;
  const uint64_t target = reinterpret_cast<uint64_t>(bounce_for(thread->bounce, thread->ea));
  return run_core(thread, site, target, probing ? site.probe : site.core);
}

int end_masked_load(Thread* thread, const Site& site) {
  if (thread->phase == kOnly) {
    take_core(thread, site);
    return kTail;
  }
  Fault fault;
  uint64_t mask = written_mask(thread, site.bytes);
  if (site.packed) {
    uint64_t packed = 0;
    for (; mask; mask &= mask - 1) packed = packed << 1 | 1;
    mask = packed;
  }
  uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  memset(bounce, 0, 64);
  const bool ok = for_each_run(mask, [&](uint32_t at, uint32_t bytes) {
    return traced_read(thread, origin_of(thread, site), bounce + at, thread->ea + at, bytes,
                       &fault);
  });
  if (!ok) return raise(thread, site, fault);
  thread->phase = kOnly;
  return run_core(thread, site, reinterpret_cast<uint64_t>(bounce), site.core);
}

int end_masked_store(Thread* thread, const Site& site) {
  Fault fault;
  take_core(thread, site);
  const uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  // As the processor does: nothing is stored if a part of it cannot be.
  const uint64_t mask = written_mask(thread, site.bytes);
  const bool possible = for_each_run(mask, [&](uint32_t at, uint32_t bytes) {
    return traced_writable(thread->ea + at, bytes, &fault);
  });
  if (!possible) return raise(thread, site, fault);
  const bool ok = for_each_run(mask, [&](uint32_t at, uint32_t bytes) {
    return traced_write(thread, origin_of(thread, site), thread->ea + at, bounce + at, bytes,
                        &fault);
  });
  return ok ? kTail : raise(thread, site, fault);
}

int begin_touch(Thread* thread, const Site& site) {
  const uint64_t alias = alias_of(thread->ea, 1);
  return run_core(thread, site, alias ? alias : thread->ea, site.core);
}

int end_touch(Thread* thread, const Site& site) {
  take_core(thread, site);
  return kTail;
}

int nothing(Thread*, const Site&) { return kTail; }

struct Performance {
  int (*begin)(Thread*, const Site&);
  int (*end)(Thread*, const Site&);
};
// In the order of Form.
constexpr Performance kPerformances[] = {
    {begin_load, end_touch},           // kLoad
    {begin_store, end_store},          // kStore
    {begin_modify, end_modify},        // kModify
    {begin_atomic, end_atomic},        // kAtomic
    {begin_masked, end_masked_load},   // kMaskedLoad
    {begin_masked, end_masked_store},  // kMaskedStore
    {begin_touch, end_touch},          // kTouch
    {emulate_movs, nothing},          {emulate_stos, nothing},    {emulate_compare, nothing},
    {emulate_compare, nothing},       {emulate_compare, nothing}, {emulate_push, nothing},
    {emulate_pop, nothing},           {emulate_call, nothing},    {emulate_jump, nothing},
    {emulate_return, nothing},        {emulate_leave, nothing},   {emulate_push_flags, nothing},
    {emulate_pop_flags, nothing},     {emulate_xlat, nothing},
};

const Performance& performance(const Site& site) {
  return kPerformances[static_cast<int>(site.form)];
}

}  // namespace

extern "C" int access_begin(Thread* thread) {
  const Site& site = site_at(thread->site_index);
  thread->regs.rip = site.ip;
  thread->exit_ip = site.ip + site.length;
  thread->ea = effective_address(site, thread->regs);
  thread->event = next_event(thread);
  thread->phase = kOnly;
  thread->record = nullptr;
  return performance(site).begin(thread, site);
}

extern "C" int access_end(Thread* thread) {
  const Site& site = site_at(thread->site_index);
  return performance(site).end(thread, site);
}

void access_abort(Thread* thread, uint64_t* address) {
  const Site& site = site_at(thread->site_index);
  if (in_generated(*address)) *address = site.ip;  // of a SIGFPE
  if (thread->record) {
    if (*address >= thread->alias && *address < thread->alias + site.bytes)
      *address += thread->ea - thread->alias;
    atomic_end(thread, false);
  }
  thread->regs.rip = site.ip;
}

}  // namespace shmrec::agent
