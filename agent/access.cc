// Performing accesses to traced memory.
//
// An instruction never touches a traced segment itself, but for atomic ones. A load runs on a private
// copy of what was read under the stripe's version; a store runs on private memory, whose content is
// then written under the stripe's lock with the record written ahead. So what is logged is what the
// program got, and no generated code runs under a lock. Only atomic instructions (LOCK, xchg) run on
// the segment's alias, under the lock, so that they stay atomic towards processes that are not
// recorded and towards the kernel.
#include "agent/access.h"

#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/decode.h"
#include "agent/entry.h"
#include "agent/robust.h"
#include "agent/stripes.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr int kSigsegv = 11;
constexpr int kAccessError = 2;       // SEGV_ACCERR
constexpr uint64_t kWriteError = 2;   // page-fault error code: it was a write
constexpr uint64_t kStringBudget = 64 * 1024;  // bytes of one string instruction before signals get a turn

// ---- Pieces: an access cut where traced and private memory meet ----------------------------------------

struct Piece {
  bool traced;
  Region region;
  uint64_t bytes;
};

Piece first_piece(uint64_t address, uint64_t bytes) {
  Piece piece = {false, {}, bytes};
  Region region;
  if (regions_empty() || !region_next(address, &region)) return piece;
  if (region.begin > address) {
    piece.bytes = min(bytes, region.begin - address);
    return piece;
  }
  piece = {true, region, min(bytes, region.end - address)};
  // Whole pages one by one, so that a fault (beyond the end of a file) is all or nothing. What one
  // instruction may access stays in one piece.
  if (bytes > 64) piece.bytes = min(piece.bytes, page_down(address) + kPage - address);
  return piece;
}

UsageEntry& usage_of(Thread* thread, const Region& region) {
  if (region.usage) return *region.usage;
  UsageEntry* usage = usage_enter(thread->process, region.segment);
  Locked lock(regions_lock);
  region_update(region.begin, region.end,
                [](Region& piece, void* entry) { piece.usage = static_cast<UsageEntry*>(entry); }, usage);
  return *usage;
}

void count_usage(Thread* thread, const Region& region, const Origin& origin, bool reads, bool writes) {
  UsageEntry& usage = usage_of(thread, region);
  if (reads) fetch_add(&usage.reads, uint64_t{1});
  if (writes) fetch_add(&usage.writes, uint64_t{1});
  if (origin.syscall) fetch_add(&usage.kernel, uint64_t{1});
}

// ---- Records ---------------------------------------------------------------------------------------------

struct Draft {
  uint8_t* at;
  uint32_t bytes;
  uint32_t lines;
  RecordHeader& header() { return *reinterpret_cast<RecordHeader*>(at); }
  uint64_t* versions() { return reinterpret_cast<uint64_t*>(at + sizeof(RecordHeader)); }
};

Draft draft(Thread* thread, const Origin& origin, RecordKind kind, const Region& region, uint64_t address,
            uint32_t length) {
  const uint64_t offset = region.segment_offset + (address - region.begin);
  Draft result = {nullptr, record_bytes(kind, offset, length), lines_touched(offset, length)};
  result.at = record_reserve(thread, result.bytes);
  RecordHeader& header = result.header();
  header.segment = region.segment;
  header.offset = offset;
  header.address = address;
  header.pc = origin.pc;
  header.event = origin.event;
  header.length = length;
  header.syscall = origin.syscall;
  header.flags = origin.flags | (region.relaxed ? kFlagRelaxed : 0);
  return result;
}

// The part of [offset, offset + bytes) in the line that holds `offset`.
uint64_t in_line(uint64_t offset, uint64_t bytes) { return min(bytes, kLineBytes - offset % kLineBytes); }

// An address in the alias as the program knows it.
void to_program(Fault* fault, uint64_t alias, uint64_t address) { fault->address += address - alias; }

// Reads one line's part, so that value and version belong together.
bool read_line(Thread* thread, const Region& region, uint8_t* to, uint64_t alias, uint64_t offset,
               uint64_t bytes, uint64_t* version, Fault* fault) {
  const void* from = reinterpret_cast<const void*>(alias);
  if (region.relaxed) {
    *version = rdtsc();
    return safe_copy(to, from, bytes, fault);
  }
  const uint32_t stripe = stripe_index(region.segment, offset);
  for (;;) {
    const uint64_t before = stripe_wait(thread, stripe);
    compiler_fence();
    if (!safe_copy(to, from, bytes, fault)) return false;
    compiler_fence();
    if (stripe_peek(stripe) != before) continue;
    *version = stripe_version(before) + 1;
    return true;
  }
}

bool write_line(Thread* thread, const Region& region, const uint8_t* from, uint64_t alias,
                uint64_t offset, uint64_t bytes, uint64_t* version, Fault* fault) {
  void* to = reinterpret_cast<void*>(alias);
  if (region.relaxed) {
    *version = rdtsc();
    return safe_copy(to, from, bytes, fault);
  }
  const uint64_t locked = stripe_lock(thread, 0, stripe_index(region.segment, offset));
  __atomic_store_n(version, locked, __ATOMIC_RELEASE);
  const bool ok = safe_copy(to, from, bytes, fault);
  stripe_unlock(thread, 0, ok);
  return ok;
}

bool read_lines(Thread* thread, const Region& region, uint8_t* to, uint64_t address, uint64_t bytes,
                uint64_t* versions, Fault* fault) {
  uint64_t alias = region.alias + (address - region.begin);
  uint64_t offset = region.segment_offset + (address - region.begin);
  for (uint32_t line = 0; bytes; ++line) {
    const uint64_t part = in_line(offset, bytes);
    if (!read_line(thread, region, to, alias, offset, part, &versions[line], fault)) {
      to_program(fault, region.alias, region.begin);
      return false;
    }
    to += part, alias += part, offset += part, bytes -= part;
  }
  return true;
}

bool write_lines(Thread* thread, const Region& region, const uint8_t* from, uint64_t address,
                 uint64_t bytes, uint64_t* versions, Fault* fault) {
  uint64_t alias = region.alias + (address - region.begin);
  uint64_t offset = region.segment_offset + (address - region.begin);
  for (uint32_t line = 0; bytes; ++line) {
    const uint64_t part = in_line(offset, bytes);
    if (!write_line(thread, region, from, alias, offset, part, &versions[line], fault)) {
      to_program(fault, region.alias, region.begin);
      return false;
    }
    from += part, alias += part, offset += part, bytes -= part;
  }
  return true;
}

bool permitted(const Region& region, uint64_t address, bool write, Fault* fault) {
  if (write ? region.protection & PROT_WRITE : region.protection != PROT_NONE) return true;
  constexpr uint64_t kPresent = 1, kUser = 4;
  *fault = {kSigsegv, kAccessError, address,
            kUser | (write ? kWriteError : 0) | (region.protection != PROT_NONE ? kPresent : 0)};
  return false;
}

// Are the pages there? A store that faults half way would leave a record of something that did not
// happen, and an instruction with side effects must not run before its fault.
bool present(const Region& region, uint64_t address, uint64_t bytes, Fault* fault) {
  uint8_t probe;
  const uint64_t alias = region.alias + (address - region.begin), last = alias + bytes - 1;
  // The first byte that is not there is the one that faults.
  const uint64_t second = page_down(last) > alias ? page_down(last) : last;
  if (safe_copy(&probe, reinterpret_cast<void*>(alias), 1, fault) &&
      safe_copy(&probe, reinterpret_cast<void*>(second), 1, fault))
    return true;
  to_program(fault, region.alias, region.begin);
  fault->error |= kWriteError;  // the probe has read, the program writes
  return false;
}

bool read_piece(Thread* thread, const Origin& origin, uint8_t* to, const Piece& piece, uint64_t address,
                Fault* fault) {
  if (!piece.traced) return safe_copy(to, reinterpret_cast<void*>(address), piece.bytes, fault);
  if (!permitted(piece.region, address, false, fault)) return false;
  const uint32_t bytes = static_cast<uint32_t>(piece.bytes);
  Draft record = draft(thread, origin, RecordKind::kRead, piece.region, address, bytes);
  uint64_t* versions = record.versions();
  if (!read_lines(thread, piece.region, to, address, bytes, versions, fault)) {
    record_abandon(record.at, record.bytes);
    return false;
  }
  memcpy(versions + record.lines, to, bytes);
  record_commit(thread, record.at, record.bytes, RecordKind::kRead);
  count_usage(thread, piece.region, origin, true, false);
  return true;
}

bool write_piece(Thread* thread, const Origin& origin, const uint8_t* from, const Piece& piece,
                 uint64_t address, Fault* fault) {
  if (!piece.traced) return safe_copy(reinterpret_cast<void*>(address), from, piece.bytes, fault);
  if (!permitted(piece.region, address, true, fault)) return false;
  if (!present(piece.region, address, piece.bytes, fault)) return false;
  const uint32_t bytes = static_cast<uint32_t>(piece.bytes);
  Draft record = draft(thread, origin, RecordKind::kWrite, piece.region, address, bytes);
  memcpy(record.versions() + record.lines, from, bytes);
  record_begin(thread, record.at, record.bytes, RecordKind::kWrite);
  const bool ok = write_lines(thread, piece.region, from, address, bytes, record.versions(), fault);
  record_commit(thread, record.at, record.bytes, RecordKind::kWrite,
                ok ? RecordState::kCommitted : RecordState::kAborted);
  if (ok) count_usage(thread, piece.region, origin, false, true);
  return ok;
}

}  // namespace

bool traced_read(Thread* thread, const Origin& origin, void* to, uint64_t address, uint64_t bytes,
                 Fault* fault, uint64_t* done) {
  uint64_t at = 0;
  while (at < bytes) {
    const Piece piece = first_piece(address + at, bytes - at);
    const bool ok = read_piece(thread, origin, static_cast<uint8_t*>(to) + at, piece, address + at, fault);
    if (done) *done = at + (ok ? piece.bytes : 0);
    if (!ok) return false;
    at += piece.bytes;
  }
  return true;
}

bool traced_write(Thread* thread, const Origin& origin, uint64_t address, const void* from,
                  uint64_t bytes, Fault* fault, uint64_t* done) {
  uint64_t at = 0;
  while (at < bytes) {
    const Piece piece = first_piece(address + at, bytes - at);
    const bool ok =
        write_piece(thread, origin, static_cast<const uint8_t*>(from) + at, piece, address + at, fault);
    if (done) *done = at + (ok ? piece.bytes : 0);
    if (!ok) return false;
    at += piece.bytes;
  }
  return true;
}

bool traced_writable(uint64_t address, uint64_t bytes, Fault* fault) {
  for (uint64_t at = 0; at < bytes;) {
    const Piece piece = first_piece(address + at, bytes - at);
    const bool ok = piece.traced ? permitted(piece.region, address + at, true, fault) &&
                                       present(piece.region, address + at, piece.bytes, fault)
                                 : safe_writable(address + at, fault);
    if (!ok) return false;
    at += piece.bytes;
  }
  return true;
}

uint64_t alias_of(uint64_t address, uint64_t bytes) {
  Region region;
  if (!region_find(address, &region) || bytes > region.end - address) return 0;
  return region.alias + (address - region.begin);
}

// ---- Atomic accesses ---------------------------------------------------------------------------------------

namespace {

// Locks the one or two stripes of the access, in rising order, and writes the record ahead.
bool atomic_begin(Thread* thread, const Origin& origin, const Region& region, uint64_t address,
                  uint32_t bytes, Fault* fault) {
  Draft record = draft(thread, origin, RecordKind::kReadWrite, region, address, bytes);
  const uint64_t alias = region.alias + (address - region.begin);
  uint64_t* versions = record.versions();
  if (!region.relaxed) {
    uint32_t stripes[2] = {stripe_index(region.segment, record.header().offset),
                           stripe_index(region.segment, record.header().offset + bytes - 1)};
    const bool two = record.lines == 2 && stripes[0] != stripes[1];
    const int first = two && stripes[1] < stripes[0];
    versions[first] = stripe_lock(thread, 0, stripes[first]);
    if (two) versions[1 - first] = stripe_lock(thread, 1, stripes[1 - first]);
    else if (record.lines == 2) versions[1] = versions[0];
  } else {
    for (uint32_t line = 0; line < record.lines; ++line) versions[line] = rdtsc();
  }
  if (!safe_copy(versions + record.lines, reinterpret_cast<void*>(alias), bytes, fault)) {
    to_program(fault, region.alias, region.begin);
    for (int slot = 1; slot >= 0; --slot)
      if (thread->stripe[slot]) stripe_unlock(thread, slot, false);
    record_abandon(record.at, record.bytes);
    return false;
  }
  record_begin(thread, record.at, record.bytes, RecordKind::kReadWrite);
  thread->record = record.at;
  thread->record_bytes = record.bytes;
  thread->alias = alias;
  return true;
}

void atomic_end(Thread* thread, bool happened) {
  uint8_t* record = thread->record;
  const RecordHeader& header = *reinterpret_cast<RecordHeader*>(record);
  uint8_t* values = record + sizeof(RecordHeader) + lines_touched(header.offset, header.length) * 8;
  safe_copy(values + header.length, reinterpret_cast<void*>(thread->alias), header.length);
  for (int slot = 1; slot >= 0; --slot)
    if (thread->stripe[slot]) stripe_unlock(thread, slot, happened);
  thread->record = nullptr;
  record_commit(thread, record, thread->record_bytes, RecordKind::kReadWrite,
                happened ? RecordState::kCommitted : RecordState::kAborted);
}

}  // namespace

int64_t traced_atomic(Thread* thread, const Origin& origin, uint64_t address,
                      int64_t (*perform)(uint32_t* word, void* context), void* context, Fault* fault) {
  Region region;
  if (!region_find(address, &region) || !permitted(region, address, true, fault) ||
      !atomic_begin(thread, origin, region, address, 4, fault))
    return -14;  // EFAULT
  const int64_t result = perform(reinterpret_cast<uint32_t*>(thread->alias), context);
  atomic_end(thread, true);
  count_usage(thread, region, origin, true, true);
  return result;
}

// ---- Instructions ------------------------------------------------------------------------------------------

namespace {

enum Next : int { kTail = 0, kCore = 1 };
enum Phase : uint32_t { kOnly = 0, kProbing };

Origin origin_of(Thread* thread, const Site& site) { return {site.ip, thread->event, 0}; }

// The private memory on which the instruction runs: as aligned as the address it names.
uint8_t* bounce_for(uint8_t* buffer, uint64_t address) { return buffer + address % 64; }

int raise(Thread* thread, const Site& site, const Fault& fault) {
  thread->raise = fault;
  thread->regs.rip = site.ip;
  thread->exit_ip = reinterpret_cast<uint64_t>(shmrec_raise_trap);
  return kTail;
}

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

// Where an instruction must stand for the program's bits: a register bit offset moves the address on,
// and the processor will move it again.
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
  if (!traced_write(thread, origin_of(thread, site), thread->ea, bounce_for(thread->bounce, thread->ea),
                    site.bytes, &fault))
    return raise(thread, site, fault);
  return kTail;
}

// The region that holds the whole access, if there is one.
bool in_one_region(Thread* thread, const Site& site, Region* region) {
  return region_find(thread->ea, region) && site.bytes <= region->end - thread->ea;
}

int begin_modify(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  if (!traced_writable(thread->ea, site.bytes, &fault)) return raise(thread, site, fault);
  const bool one_record = site.bytes <= 64 && in_one_region(thread, site, &region);
  const bool ok =
      one_record
          ? read_lines(thread, region, bounce, thread->ea, site.bytes, thread->versions, &fault)
          : traced_read(thread, origin_of(thread, site), bounce, thread->ea, site.bytes, &fault);
  if (!ok) return raise(thread, site, fault);
  if (one_record) memcpy(thread->old_value, bounce, site.bytes);
  const uint64_t target = reinterpret_cast<uint64_t>(bounce);
  return run_core(thread, site, unmoved(site, thread->regs, target, thread->ea), site.core);
}

int end_modify(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  const Origin origin = origin_of(thread, site);
  const uint8_t* bounce = bounce_for(thread->bounce, thread->ea);
  take_core(thread, site);
  if (site.bytes > 64 || !in_one_region(thread, site, &region)) {
    if (!traced_write(thread, origin, thread->ea, bounce, site.bytes, &fault))
      return raise(thread, site, fault);
    return kTail;
  }
  Draft record = draft(thread, origin, RecordKind::kReadThenWrite, region, thread->ea, site.bytes);
  uint64_t* versions = record.versions();
  uint8_t* values = reinterpret_cast<uint8_t*>(versions + 2 * record.lines);
  memcpy(versions, thread->versions, record.lines * 8);
  memcpy(values, thread->old_value, site.bytes);
  memcpy(values + site.bytes, bounce, site.bytes);
  record_begin(thread, record.at, record.bytes, RecordKind::kReadThenWrite);
  const bool ok = write_lines(thread, region, bounce, thread->ea, site.bytes, versions + record.lines, &fault);
  record_commit(thread, record.at, record.bytes, RecordKind::kReadThenWrite,
                ok ? RecordState::kCommitted : RecordState::kAborted);
  if (!ok) return raise(thread, site, fault);
  count_usage(thread, region, origin, true, true);
  return kTail;
}

int begin_atomic(Thread* thread, const Site& site) {
  Fault fault;
  Region region;
  if (!in_one_region(thread, site, &region)) return begin_modify(thread, site);
  if (!permitted(region, thread->ea, true, &fault)) return raise(thread, site, fault);
  if (site.bytes == 4 && load(&log_header().robust_held)) robust_check_dead(thread, region, thread->ea);
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
    return traced_read(thread, origin_of(thread, site), bounce + at, thread->ea + at, bytes, &fault);
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
    return traced_write(thread, origin_of(thread, site), thread->ea + at, bounce + at, bytes, &fault);
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

// ---- String instructions ------------------------------------------------------------------------------------

bool backwards(const Regs& regs) { return regs.eflags & 0x400; }

// The source of a string instruction; only it may have a segment.
uint64_t source_of(const Site& site, const Regs& regs) {
  return site.fs_relative ? read_fs_base() + regs.rsi : regs.rsi;
}

// Moves a string's pointer and counter by `elements`.
void advance(Regs& regs, const Site& site, uint64_t* pointer, uint64_t elements) {
  const uint64_t bytes = elements * site.bytes;
  *pointer += backwards(regs) ? -bytes : bytes;
}

// How many elements may be done at once: whole ones that lie in one page at each of the addresses, so
// that all of them or none faults; one that crosses into the next page goes alone.
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

int begin_movs(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  for (uint64_t budget = kStringBudget; budget && (!site.repeat || regs.rcx);) {
    uint64_t elements = batch(regs, site, source_of(site, regs), regs.rdi);
    // A destination just behind the source repeats what was just written: no more at once than the gap.
    const uint64_t gap = regs.rdi - source_of(site, regs);
    if (!backwards(regs) && gap && gap < elements * site.bytes) elements = max<uint64_t>(gap / site.bytes, 1);
    Fault fault;
    uint64_t got = 0, put = 0;
    const bool read = traced_read(thread, origin_of(thread, site), thread->bounce, source_of(site, regs),
                                  elements * site.bytes, &fault, &got);
    const uint64_t whole = got / site.bytes;
    const bool wrote = !whole || (traced_writable(regs.rdi, whole * site.bytes, &fault) &&
                                  traced_write(thread, origin_of(thread, site), regs.rdi, thread->bounce,
                                               whole * site.bytes, &fault, &put));
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

int begin_stos(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  for (uint64_t budget = kStringBudget; budget && (!site.repeat || regs.rcx);) {
    const uint64_t elements = batch(regs, site, regs.rdi, regs.rdi);
    for (uint64_t i = 0; i < elements; ++i) memcpy(thread->bounce + i * site.bytes, &regs.rax, site.bytes);
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

// The low `bytes` of a register take a value as a move to it would leave it.
void set_low(uint64_t* to, uint64_t value, uint32_t bytes) {
  if (bytes == 4) *to = static_cast<uint32_t>(value);
  else memcpy(to, &value, bytes);
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

// One element per round: LODS, SCAS, CMPS.
int begin_compare(Thread* thread, const Site& site) {
  Regs& regs = thread->regs;
  const bool uses_rsi = site.form != Form::kScas, uses_rdi = site.form != Form::kLods;
  for (uint64_t round = 0; round < 4096 && (!site.repeat || regs.rcx); ++round) {
    Fault fault;
    uint64_t source = 0, target = 0;
    if (uses_rsi && !traced_read(thread, origin_of(thread, site), &source, source_of(site, regs), site.bytes, &fault))
      return raise(thread, site, fault);
    if (uses_rdi && !traced_read(thread, origin_of(thread, site), &target, regs.rdi, site.bytes, &fault))
      return raise(thread, site, fault);
    if (uses_rsi) advance(regs, site, &regs.rsi, 1);
    if (uses_rdi) advance(regs, site, &regs.rdi, 1);
    if (site.repeat) --regs.rcx;
    if (site.form == Form::kLods) set_low(&regs.rax, source, site.bytes);
    else
      regs.eflags = (regs.eflags & ~0x8D5ull) |
                    compare_flags(uses_rsi ? source : regs.rax, target, site.bytes);
    const bool equal = regs.eflags & 0x40;
    if (!site.repeat) return kTail;
    if (site.form != Form::kLods && equal != (site.repeat == 1)) return kTail;
  }
  return string_done(thread, site);
}

// ---- Stack and control ----------------------------------------------------------------------------------------

bool push_value(Thread* thread, const Site& site, uint64_t value, uint32_t bytes, Fault* fault) {
  if (!traced_write(thread, origin_of(thread, site), thread->regs.rsp - bytes, &value, bytes, fault))
    return false;
  thread->regs.rsp -= bytes;
  return true;
}

bool pop_value(Thread* thread, const Site& site, uint64_t* value, uint32_t bytes, Fault* fault) {
  *value = 0;
  if (!traced_read(thread, origin_of(thread, site), value, thread->regs.rsp, bytes, fault)) return false;
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

int begin_push(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const bool ok = operand_value(thread, site, &value, &fault) &&
                  push_value(thread, site, value, site.value_bytes, &fault);
  return ok ? kTail : raise(thread, site, fault);
}

int begin_pop(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const Regs before = thread->regs;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) return raise(thread, site, fault);
  if (!site.value_is_memory) {
    memcpy(&reg(thread->regs, site.value_register), &value, site.value_bytes);
    return kTail;
  }
  const uint64_t address = effective_address(site, thread->regs);  // with the new stack pointer
  if (traced_write(thread, origin_of(thread, site), address, &value, site.value_bytes, &fault)) return kTail;
  thread->regs = before;
  return raise(thread, site, fault);
}

int begin_call(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  const uint64_t next = site.ip + site.length;
  const bool relative = site.value_register == kNoRegister && !site.value_is_memory;
  if (!operand_value(thread, site, &target, &fault) || !push_value(thread, site, next, 8, &fault))
    return raise(thread, site, fault);
  thread->exit_ip = relative ? next + target : target;
  return kTail;
}

int begin_jump(Thread* thread, const Site& site) {
  Fault fault;
  if (!operand_value(thread, site, &thread->exit_ip, &fault)) return raise(thread, site, fault);
  return kTail;
}

int begin_return(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  if (!pop_value(thread, site, &target, 8, &fault)) return raise(thread, site, fault);
  thread->exit_ip = target;
  thread->regs.rsp += static_cast<uint64_t>(site.immediate);
  return kTail;
}

int begin_leave(Thread* thread, const Site& site) {
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

int begin_push_flags(Thread* thread, const Site& site) {
  Fault fault;
  if (!push_value(thread, site, thread->regs.eflags & ~0x10100ull, site.value_bytes, &fault))
    return raise(thread, site, fault);
  return kTail;
}

int begin_pop_flags(Thread* thread, const Site& site) {
  constexpr uint64_t kUserFlags = 0x250DD5;  // what user code may change
  Fault fault;
  uint64_t value;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) return raise(thread, site, fault);
  thread->regs.eflags = (thread->regs.eflags & ~kUserFlags) | (value & kUserFlags);
  return kTail;
}

int begin_xlat(Thread* thread, const Site& site) {
  Fault fault;
  const uint64_t address = thread->regs.rbx + (thread->regs.rax & 0xFF);
  if (!traced_read(thread, origin_of(thread, site), &thread->regs.rax, address, 1, &fault))
    return raise(thread, site, fault);
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
    {begin_movs, nothing},       {begin_stos, nothing},    {begin_compare, nothing},
    {begin_compare, nothing},    {begin_compare, nothing}, {begin_push, nothing},
    {begin_pop, nothing},        {begin_call, nothing},    {begin_jump, nothing},
    {begin_return, nothing},     {begin_leave, nothing},   {begin_push_flags, nothing},
    {begin_pop_flags, nothing},  {begin_xlat, nothing},
};

const Performance& performance(const Site& site) { return kPerformances[static_cast<int>(site.form)]; }

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
  if (*address >= kCodeBase && *address < kCodeBase + kCodeBytes) *address = site.ip;  // of a SIGFPE
  if (thread->record) {
    if (*address >= thread->alias && *address < thread->alias + site.bytes)
      *address += thread->ea - thread->alias;
    atomic_end(thread, false);
  }
  thread->regs.rip = site.ip;
}

}  // namespace shmrec::agent
