#include "agent/access/access.h"

#include <linux/mman.h>

#include "agent/access/lines.h"
#include "agent/access/stripes.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/memory/callers.h"
#include "agent/signals/signal_numbers.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// ---- Pieces: an access cut where traced and private memory meet ---------------------------------

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

// Which entry counted the uses of a segment by this process. It may be another's by now, or belong
// to a segment with the same place here.
constexpr uint32_t kKnownUsages = 8 * 1024;
UsageEntry* usages[kKnownUsages];

}  // namespace

UsageEntry& usage_of(Thread* thread, uint32_t segment) {
  UsageEntry*& known = usages[segment % kKnownUsages];
  UsageEntry* usage = load(&known);
  const bool spare = usage && !load(&usage->process);
  if (spare ||
      (usage && usage->segment == segment && load(&usage->process) == thread->process->index))
    return *usage;
  usage = usage_enter(thread->process, segment);
  store(&known, usage);
  return *usage;
}

void count_usage(Thread* thread, const Region& region, const Origin& origin, bool reads,
                 bool writes) {
  UsageEntry& usage = usage_of(thread, region.segment);
  if (reads) fetch_add(&usage.reads, uint64_t{1});
  if (writes) fetch_add(&usage.writes, uint64_t{1});
  if (origin.syscall) fetch_add(&usage.kernel, uint64_t{1});
}

void code_written(const Region& region) {
  if (region.protection & PROT_EXEC) shmrec_serialize();
}

namespace {

// ---- Records ------------------------------------------------------------------------------------

struct Draft {
  uint8_t* at;
  uint32_t bytes;
  uint32_t lines;
  RecordHeader& header() { return *reinterpret_cast<RecordHeader*>(at); }
  uint64_t* versions() { return reinterpret_cast<uint64_t*>(at + sizeof(RecordHeader)); }
};

// The values, but for an atomic one: what it stores is known when it has been made.
Filled filled_of(RecordKind kind, const Draft& record, uint32_t length) {
  const uint32_t parts = kind == RecordKind::kReadThenWrite ? 2 : 1;
  const uint32_t begin = static_cast<uint32_t>(sizeof(RecordHeader)) + parts * record.lines * 8;
  if (kind == RecordKind::kReadWrite) return {record.bytes, record.bytes};
  return {begin, begin + parts * length};
}

Draft draft(Thread* thread, const Origin& origin, RecordKind kind, const Region& region,
            uint64_t address, uint32_t length) {
  const uint64_t offset = region.segment_offset + (address - region.begin);
  const Callers& callers = callers_of(thread, origin.pc, origin.stack, origin.frame, origin.caller);
  Draft result = {nullptr, record_bytes(kind, offset, length, callers.count),
                  lines_touched(offset, length)};
  result.at = record_reserve(thread, result.bytes, filled_of(kind, result, length));
  RecordHeader& header = result.header();
  header.segment = region.segment;
  header.offset = offset;
  header.address = address;
  header.pc = origin.pc;
  header.event = origin.event;
  header.length = length;
  header.syscall = origin.syscall;
  header.flags = origin.flags | (region.relaxed ? kFlagRelaxed : 0);
  put_callers(callers, header, result.at + result.bytes);
  return result;
}

// An address in the alias as the program knows it.
void to_program(Fault* fault, uint64_t alias, uint64_t address) {
  fault->address += address - alias;
}

// Where [address, address + bytes) of the region lies.
Bytes bytes_of(const Region& region, uint64_t address, uint64_t bytes) {
  const uint64_t in_region = address - region.begin;
  return {region.alias + in_region, region.segment_offset + in_region, bytes};
}

bool read_lines(Thread* thread, const Region& region, uint8_t* to, uint64_t address, uint64_t bytes,
                uint64_t* versions, Fault* fault) {
  if (lines_read(thread, region, bytes_of(region, address, bytes), to, versions, fault))
    return true;
  to_program(fault, region.alias, region.begin);
  return false;
}

bool write_lines(Thread* thread, const Region& region, const uint8_t* from, uint64_t address,
                 uint64_t bytes, uint64_t* versions, Fault* fault) {
  if (lines_write(thread, region, bytes_of(region, address, bytes), from, versions, fault))
    return true;
  to_program(fault, region.alias, region.begin);
  return false;
}

bool permitted(const Region& region, uint64_t address, bool write, Fault* fault) {
  if (write ? region.protection & PROT_WRITE : region.protection != PROT_NONE) return true;
  *fault = {kSigsegv, kSegvAccerr, address,
            kFaultUser | (write ? kFaultWrite : 0) |
                (region.protection != PROT_NONE ? kFaultPresent : 0)};
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
  fault->error |= kFaultWrite;  // the probe has read, the program writes
  return false;
}

// As the program reads it by itself, where only writes are traced.
bool read_unlogged(uint8_t* to, const Piece& piece, uint64_t address, Fault* fault) {
  const Region& region = piece.region;
  const uint64_t alias = region.alias + (address - region.begin);
  if (safe_copy(to, reinterpret_cast<const void*>(alias), piece.bytes, fault)) return true;
  to_program(fault, region.alias, region.begin);
  return false;
}

bool read_piece(Thread* thread, const Origin& origin, uint8_t* to, const Piece& piece,
                uint64_t address, Fault* fault) {
  if (!piece.traced) return safe_copy(to, reinterpret_cast<void*>(address), piece.bytes, fault);
  if (!permitted(piece.region, address, false, fault)) return false;
  if (piece.region.writes_only) return read_unlogged(to, piece, address, fault);
  const uint32_t bytes = static_cast<uint32_t>(piece.bytes);
  Draft record = draft(thread, origin, RecordKind::kRead, piece.region, address, bytes);
  uint64_t* versions = record.versions();
  uint8_t* const value = reinterpret_cast<uint8_t*>(versions + record.lines);
  // Into the record first: `to` may be memory that other threads of the program write.
  if (!read_lines(thread, piece.region, value, address, bytes, versions, fault) ||
      !range_copy(to, value, bytes, fault)) {
    record_abandon(thread, record.at);
    return false;
  }
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
  uint8_t* const value = reinterpret_cast<uint8_t*>(record.versions() + record.lines);
  // From the record then, for the same reason.
  if (!range_copy(value, from, bytes, fault)) {
    record_abandon(thread, record.at);
    return false;
  }
  record_begin(thread, record.at, record.bytes, RecordKind::kWrite);
  const bool ok =
      write_lines(thread, piece.region, value, address, bytes, record.versions(), fault);
  record_commit(thread, record.at, record.bytes, RecordKind::kWrite,
                ok ? RecordState::kCommitted : RecordState::kAborted);
  if (ok) count_usage(thread, piece.region, origin, false, true);
  code_written(piece.region);
  return ok;
}

}  // namespace

namespace {

// Was memory that is not traced found hidden, because another thread is replacing it by traced
// memory?
bool hidden_meanwhile(const Piece& piece, const Fault& fault) {
  Region region;
  if (piece.traced || regions_unused()) return false;
  regions_await_change();
  return region_find(fault.address, &region);
}

}  // namespace

bool traced_read(Thread* thread, const Origin& origin, void* to, uint64_t address, uint64_t bytes,
                 Fault* fault, uint64_t* done) {
  uint64_t at = 0;
  RegionUse use(thread);
  while (at < bytes) {
    const Piece piece = first_piece(address + at, bytes - at);
    const bool ok =
        read_piece(thread, origin, static_cast<uint8_t*>(to) + at, piece, address + at, fault);
    if (!ok && hidden_meanwhile(piece, *fault)) continue;
    if (done) *done = at + (ok ? piece.bytes : 0);
    if (!ok) return false;
    at += piece.bytes;
  }
  return true;
}

bool traced_write(Thread* thread, const Origin& origin, uint64_t address, const void* from,
                  uint64_t bytes, Fault* fault, uint64_t* done) {
  uint64_t at = 0;
  RegionUse use(thread);
  while (at < bytes) {
    const Piece piece = first_piece(address + at, bytes - at);
    const bool ok = write_piece(thread, origin, static_cast<const uint8_t*>(from) + at, piece,
                                address + at, fault);
    if (!ok && hidden_meanwhile(piece, *fault)) continue;
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
    if (!ok && hidden_meanwhile(piece, *fault)) continue;
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

// ---- Read-modify-write without LOCK -------------------------------------------------------------

bool modify_begin(Thread* thread, const Region& region, uint8_t* to, uint64_t address,
                  uint32_t bytes, Fault* fault) {
  if (!read_lines(thread, region, to, address, bytes, thread->versions, fault)) return false;
  memcpy(thread->old_value, to, bytes);
  return true;
}

bool modify_end(Thread* thread, const Origin& origin, const Region& region, const uint8_t* from,
                uint64_t address, uint32_t bytes, Fault* fault) {
  Draft record = draft(thread, origin, RecordKind::kReadThenWrite, region, address, bytes);
  uint64_t* versions = record.versions();
  uint8_t* values = reinterpret_cast<uint8_t*>(versions + 2 * record.lines);
  memcpy(versions, thread->versions, record.lines * 8);
  memcpy(values, thread->old_value, bytes);
  memcpy(values + bytes, from, bytes);
  record_begin(thread, record.at, record.bytes, RecordKind::kReadThenWrite);
  const bool ok = write_lines(thread, region, from, address, bytes, versions + record.lines, fault);
  record_commit(thread, record.at, record.bytes, RecordKind::kReadThenWrite,
                ok ? RecordState::kCommitted : RecordState::kAborted);
  if (ok) count_usage(thread, region, origin, true, true);
  code_written(region);
  return ok;
}

// ---- Atomic accesses ----------------------------------------------------------------------------

namespace {

// Locks the one or two stripes of the access, in rising order.
void atomic_lock(Thread* thread, const Region& region, Draft& record) {
  uint64_t* versions = record.versions();
  if (region.relaxed) {
    for (uint32_t line = 0; line < record.lines; ++line) versions[line] = rdtsc();
    return;
  }
  const RecordHeader& header = record.header();
  const uint32_t stripes[2] = {stripe_index(region.segment, header.offset),
                               stripe_index(region.segment, header.offset + header.length - 1)};
  const bool two = record.lines == 2 && stripes[0] != stripes[1];
  const int first = two && stripes[1] < stripes[0];
  versions[first] = stripe_lock(thread, 0, stripes[first]);
  if (two)
    versions[1 - first] = stripe_lock(thread, 1, stripes[1 - first]);
  else if (record.lines == 2)
    versions[1] = versions[0];
}

void atomic_unlock(Thread* thread, bool happened) {
  for (int slot = 1; slot >= 0; --slot)
    if (thread->stripe[slot]) stripe_unlock(thread, slot, happened);
}

}  // namespace

bool atomic_begin(Thread* thread, const Origin& origin, const Region& region, uint64_t address,
                  uint32_t bytes, Fault* fault) {
  if (!permitted(region, address, true, fault)) return false;
  Draft record = draft(thread, origin, RecordKind::kReadWrite, region, address, bytes);
  const uint64_t alias = region.alias + (address - region.begin);
  atomic_lock(thread, region, record);
  if (!safe_copy(record.versions() + record.lines, reinterpret_cast<void*>(alias), bytes, fault)) {
    to_program(fault, region.alias, region.begin);
    fault->error |= kFaultWrite;  // the copy has read, the program writes
    atomic_unlock(thread, false);
    record_abandon(thread, record.at);
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
  atomic_unlock(thread, happened);
  thread->record = nullptr;
  record_commit(thread, record, thread->record_bytes, RecordKind::kReadWrite,
                happened ? RecordState::kCommitted : RecordState::kAborted);
}

int64_t traced_atomic(Thread* thread, const Origin& origin, uint64_t address,
                      int64_t (*perform)(uint32_t* word, void* context), void* context,
                      Fault* fault) {
  Region region;
  RegionUse use(thread);
  if (!region_find(address, &region) || !atomic_begin(thread, origin, region, address, 4, fault))
    return -EFAULT;
  const int64_t result = perform(reinterpret_cast<uint32_t*>(thread->alias), context);
  atomic_end(thread, true);
  count_usage(thread, region, origin, true, true);
  return result;
}

}  // namespace shmrec::agent
