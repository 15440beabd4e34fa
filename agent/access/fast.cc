#include "agent/access/fast.h"

#include "agent/access/access.h"
#include "agent/access/quick_sites.h"
#include "agent/access/stripes.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/guarded.h"
#include "agent/log/records.h"
#include "agent/memory/brake.h"
#include "agent/memory/native.h"
#include "agent/patches/patch.h"
#include "agent/process/event.h"
#include "agent/signals/signals.h"
#include "agent/sites/table.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// A counter of this process. While it has one thread, one instruction without a lock does.
void count(const Thread* thread, uint64_t* counter) {
  if (thread->process->many_threads)
    fetch_add(counter, uint64_t{1});
  else
    asm volatile("incq %0" : "+m"(*counter) : : "cc");
}

uint64_t count_event(Thread* thread) {
  if (thread->process->many_threads) return next_event(thread);
  count(thread, &thread->process->entry->events);
  return thread->process->entry->events;
}

// ---- Regions ------------------------------------------------------------------------------------

bool refresh(Thread* thread, uint64_t address, KnownRegion* known) {
  Region region;
  const uint32_t sequence = regions_sequence();
  if (!region_find(address, &region) || (region.protection & PROT_EXEC)) return false;
  known->sequence = sequence;
  known->segment = region.segment;
  known->begin = region.begin, known->end = region.end;
  known->alias = region.alias, known->segment_offset = region.segment_offset;
  known->readable = region.protection != PROT_NONE;
  known->writable = (region.protection & PROT_WRITE) != 0;
  known->writes_only = region.writes_only;
  known->braked = static_cast<uint32_t>(region.braked);
  known->relaxed = region.relaxed;
  known->usage = &usage_of(thread, region.segment);
  return true;
}

bool in_known(Thread* thread, uint64_t address, uint32_t bytes) {
  KnownRegion& known = thread->known_region;
  const bool holds = !(known.sequence & 1) && known.sequence == regions_sequence() &&
                     address >= known.begin && address < known.end;
  return (holds || refresh(thread, address, &known)) && bytes <= known.end - address;
}

// ---- Records ------------------------------------------------------------------------------------

// Words of 8 bytes; of a shorter value, what is behind it is zero.
bool load_words(uint64_t* to, uint64_t from, uint32_t bytes) {
  if (bytes <= 8) return guarded_load(to, from, bytes);
  for (uint32_t at = 0; at < bytes; at += 8)
    if (!guarded_load(to + at / 8, from + at)) return false;
  return true;
}

bool store_words(uint64_t to, const uint64_t* from, uint32_t bytes) {
  if (bytes <= 8) return guarded_store(to, *from, bytes);
  for (uint32_t at = 0; at < bytes; at += 8)
    if (!guarded_store(to + at, from[at / 8], 8)) return false;
  return true;
}

void copy_words(uint64_t* to, const uint64_t* from, uint32_t bytes) {
  to[0] = bytes >= 8 ? from[0] : from[0] & ((uint64_t{1} << 8 * bytes) - 1);
  for (uint32_t i = 1; i < bytes / 8; ++i) to[i] = from[i];
}

uint64_t* words_of(Thread* thread) { return reinterpret_cast<uint64_t*>(thread->value); }

// The record, at the cursor; not part of the log yet.
bool prepare(Access& access, RecordKind kind) {
  Thread* thread = access.thread;
  const QuickSite* quick = place_of(access);
  if (!quick) return false;
  access.record_bytes = short_record_bytes(kind, access.bytes);
  access.record = reinterpret_cast<ShortRecord*>(thread->cursor);
  access.record->offset = static_cast<uint32_t>(access.address - quick->begin);
  access.record->event_place = count_event(thread) | quick->place;
  *access.version() = 0;
  // The chunk ends behind it (log/records.h).
  *reinterpret_cast<uint64_t*>(thread->cursor + access.record_bytes) = 0;
  return true;
}

void commit(const Access& access, RecordKind kind, RecordState state) {
  Thread* thread = access.thread;
  store(&access.record->commit, commit_word(access.record_bytes, kind, state));
  thread->cursor += access.record_bytes;
  ++thread->chunk_records;
  count(thread, &thread->process->entry->accesses);
}

bool read(const Access& access) {
  Thread* thread = access.thread;
  if (access.relaxed) {
    *access.version() = rdtsc();
    return load_words(words_of(thread), access.alias, access.bytes);
  }
  for (;;) {
    const uint64_t before = stripe_wait(thread, access.stripe);
    compiler_fence();
    if (!load_words(words_of(thread), access.alias, access.bytes)) return false;
    compiler_fence();
    if (stripe_peek(access.stripe) != before) continue;
    *access.version() = stripe_version(before) + 1;
    return true;
  }
}

// Returns the version of what is written from here on.
uint64_t lock_line(const Access& access) {
  return access.relaxed ? rdtsc() : stripe_lock(access.thread, 0, access.stripe);
}

void unlock_line(Thread* thread, bool wrote) {
  if (thread->stripe[0]) stripe_unlock(thread, 0, wrote);
}

// As the program reads it by itself, where only writes are traced.
bool load_plain(const Access& access) {
  if (!load_words(words_of(access.thread), access.address, access.bytes)) return false;
  read_is_plain(access);
  return true;
}

bool load_value(Access& access) {
  const KnownRegion& known = access.thread->known_region;
  if (!known.readable) return false;
  if (known.writes_only) return load_plain(access);
  if (!prepare(access, RecordKind::kShortRead)) return false;
  if (!read(access)) {
    memset(access.record, 0, access.record_bytes);
    return false;
  }
  copy_words(access.value(), words_of(access.thread), access.bytes);
  commit(access, RecordKind::kShortRead, RecordState::kCommitted);
  count(access.thread, &access.usage->reads);
  return true;
}

bool store_value(Access& access) {
  constexpr RecordKind kKind = RecordKind::kShortWrite;
  Thread* thread = access.thread;
  uint64_t probe;
  if (!thread->known_region.writable || !guarded_load(&probe, access.alias, 1) ||
      !prepare(access, kKind))
    return false;
  copy_words(access.value(), words_of(thread), access.bytes);
  record_begin(thread, reinterpret_cast<uint8_t*>(access.record), access.record_bytes, kKind);
  const uint64_t version = lock_line(access);
  __atomic_store_n(access.version(), version, __ATOMIC_RELEASE);
  const bool ok = store_words(access.alias, access.value(), access.bytes);
  unlock_line(thread, ok);
  commit(access, kKind, ok ? RecordState::kCommitted : RecordState::kAborted);
  store(&thread->lane_entry->record, uint64_t{0});
  if (ok) count(thread, &access.usage->writes);
  return ok;
}

bool possible_now(Thread* thread, const Site& site) {
  const uint64_t address = thread->fast_ea;
  const bool in_line = address % kLineBytes + site.bytes <= kLineBytes;
  const bool aligned = site.bytes <= 8 || site.unaligned || address % site.bytes == 0;
  return in_line && aligned && !thread->offers_turn && !native_waits() && !brake_waits() &&
         in_known(thread, address, site.bytes) &&
         !brake_frees(site, static_cast<Braked>(thread->known_region.braked));
}

// REQUIRES: possible_now(thread, site)
Access access_of(Thread* thread, const Site& site, uint64_t stack, uint64_t frame) {
  const KnownRegion& known = thread->known_region;
  const uint64_t in_region = thread->fast_ea - known.begin;
  const uint64_t offset = known.segment_offset + in_region;
  return {.thread = thread,
          .site = site,
          .stack = stack,
          .frame = frame,
          .address = thread->fast_ea,
          .alias = known.alias + in_region,
          .offset = offset,
          .bytes = site.bytes,
          .stripe = stripe_index(known.segment, offset),
          .relaxed = known.relaxed != 0,
          .usage = known.usage};
}

bool perform(Thread* thread, const Site& site, uint64_t stack, uint64_t frame) {
  if (!possible_now(thread, site)) return false;
  Access access = access_of(thread, site, stack, frame);
  return site.form == Form::kLoad ? load_value(access) : store_value(access);
}

// ---- What reads and writes ----------------------------------------------------------------------

// Might it lock or unlock a robust mutex (kernel/robust.h)?
bool may_be_robust(const Thread* thread, const Site& site) {
  constexpr uint64_t kPending = 16;  // in struct robust_list_head
  uint64_t pending = 0;
  if (site.bytes != 4) return false;
  if (load(&log_header().robust_held)) return true;
  return thread->robust_head &&
         (!guarded_load(&pending, thread->robust_head + kPending) || pending);
}

// Nothing is to be part of the log of what was prepared.
void drop(const Access& access) {
  store(&access.record->commit, 0u);
  if (access.thread->lane_entry) store(&access.thread->lane_entry->record, uint64_t{0});
}

// Values before and after, one behind the other.
uint8_t* values_of(const Access& access, RecordKind kind) {
  return reinterpret_cast<uint8_t*>(access.version() +
                                    (kind == RecordKind::kShortReadThenWrite ? 2 : 1));
}

RecordKind kind_of_both(const Site& site) {
  return site.form == Form::kAtomic ? RecordKind::kShortReadWrite : RecordKind::kShortReadThenWrite;
}

// An atomic one holds the stripe from here to its end.
bool begin_atomic(Access& access) {
  Thread* thread = access.thread;
  *access.version() = lock_line(access);
  if (!load_words(words_of(thread), access.alias, access.bytes)) {
    unlock_line(thread, false);
    return false;
  }
  return true;
}

bool begin_both(Access& access) {
  Thread* thread = access.thread;
  const RecordKind kind = kind_of_both(access.site);
  const bool atomic = kind == RecordKind::kShortReadWrite;
  const KnownRegion& known = thread->known_region;
  if (!known.readable || !known.writable || (atomic && may_be_robust(thread, access.site)) ||
      !prepare(access, kind))
    return false;
  if (!(atomic ? begin_atomic(access) : read(access))) {
    drop(access);
    return false;
  }
  uint8_t* const values = values_of(access, kind);
  memset(access.version() + 1, 0, access.record_bytes - sizeof(ShortRecord) - sizeof(uint64_t));
  memcpy(values, thread->value, access.bytes);
  uint8_t* const record = reinterpret_cast<uint8_t*>(access.record);
  if (atomic) record_begin(thread, record, access.record_bytes, kind);
  thread->record = record;
  thread->record_bytes = access.record_bytes;
  thread->fast_alias = access.alias;
  thread->held_stripe = access.stripe;
  thread->held_relaxed = access.relaxed;
  thread->held_usage = access.usage;
  thread->fast_end = reinterpret_cast<uint64_t>(shmrec_fast_end);
  return true;
}

bool end_atomic(const Access& access) {
  const bool ok = load_words(words_of(access.thread), access.alias, access.bytes);
  memcpy(values_of(access, RecordKind::kShortReadWrite) + access.bytes, access.thread->value,
         access.bytes);
  unlock_line(access.thread, true);
  return ok;
}

bool end_modify(const Access& access) {
  constexpr RecordKind kKind = RecordKind::kShortReadThenWrite;
  Thread* thread = access.thread;
  memcpy(values_of(access, kKind) + access.bytes, thread->value, access.bytes);
  record_begin(thread, reinterpret_cast<uint8_t*>(access.record), access.record_bytes, kKind);
  const uint64_t version = lock_line(access);
  __atomic_store_n(access.version() + 1, version, __ATOMIC_RELEASE);
  const bool ok = store_words(access.alias, words_of(thread), access.bytes);
  unlock_line(thread, ok);
  return ok;
}

// False: it faulted, and did not happen.
bool end_both(const Access& access) {
  Thread* thread = access.thread;
  const RecordKind kind = kind_of_both(access.site);
  const bool atomic = kind == RecordKind::kShortReadWrite;
  const bool ok = atomic ? end_atomic(access) : end_modify(access);
  const bool happened = ok || atomic;
  commit(access, kind, happened ? RecordState::kCommitted : RecordState::kAborted);
  store(&thread->lane_entry->record, uint64_t{0});
  thread->record = nullptr;
  if (!happened) return false;
  count(thread, &access.usage->reads);
  count(thread, &access.usage->writes);
  return true;
}

// The one whose first end has been made, here or by quick.S.
Access access_held(Thread* thread) {
  const Site& site = site_numbered(thread->jumped_site);
  return {.thread = thread,
          .site = site,
          .alias = thread->fast_alias,
          .bytes = site.bytes,
          .stripe = thread->held_stripe,
          .relaxed = thread->held_relaxed != 0,
          .usage = thread->held_usage,
          .record_bytes = thread->record_bytes,
          .record = reinterpret_cast<ShortRecord*>(thread->record)};
}

// Where the program goes on behind a store.
uint64_t behind(const Site& site) {
  const uint64_t in_stub = load(&site.behind);
  return in_stub ? in_stub : site.ip + site.length;
}

}  // namespace

bool fast_possible(const Site& site) {
  const bool atomic = site.form == Form::kAtomic;
  const bool both = atomic || site.form == Form::kModify;
  const uint32_t most = atomic ? 16 : both ? 8 : kMaxFastBytes;
  const bool size = site.bytes && !(site.bytes & (site.bytes - 1)) && site.bytes <= most;
  return size && (atomic ? site.core_length && site.scratch != kNoRegister : site.valued_length);
}

namespace {

enum FastDone : uint32_t { kNothing, kStored, kLoaded };  // Thread::fast_done

// Where an access goes on that is not made the fast way. In memory that is not traced, though it is
// where such memory may be, it is the instruction's own.
uint64_t other_way(const Thread* thread, const Site& site) {
  Region region;
  return region_find(thread->fast_ea, &region) ? reinterpret_cast<uint64_t>(shmrec_access_jumped)
                                               : load(&site.miss);
}

}  // namespace

// From a stub by way of quick.S. `stack` and `frame` are the program's rsp and rbp. Returns where
// to go on.
extern "C" uint64_t access_fast(Thread* thread, uint64_t stack, uint64_t frame) {
  const Site& site = site_numbered(thread->jumped_site);
  thread->regs.rip = site.ip;
  region_use_begin(thread);
  const bool done = perform(thread, site, stack, frame);
  region_use_end(thread);
  thread->fast_done = !done ? kNothing : site.form == Form::kStore ? kStored : kLoaded;
  if (done) return site.form == Form::kLoad ? load(&site.finish) : behind(site);
  return other_way(thread, site);
}

// From the stub of what reads and writes. Returns where to go on, if not in the stub.
extern "C" uint64_t access_fast_begin(Thread* thread, uint64_t stack, uint64_t frame) {
  const Site& site = site_numbered(thread->jumped_site);
  thread->regs.rip = site.ip;
  region_use_begin(thread);
  if (possible_now(thread, site)) {
    Access access = access_of(thread, site, stack, frame);
    if (begin_both(access)) return 0;
  }
  region_use_end(thread);
  return other_way(thread, site);
}

// Returns where to go on, if not in the stub: the access faulted.
extern "C" uint64_t access_fast_end(Thread* thread) {
  thread->regs.rip = site_numbered(thread->jumped_site).ip;
  thread->fast_done = end_both(access_held(thread)) ? kStored : kNothing;
  region_use_end(thread);
  return thread->regs.rip;
}

namespace {

// A load is executed again, a store has been.
uint64_t next_ip(Thread* thread) {
  const Site& site = site_numbered(thread->jumped_site);
  if (thread->fast_done == kLoaded) stream_load_again(thread);
  return thread->fast_done == kStored ? site.ip + site.length : site.ip;
}

// The program's, as lahf and seto gave them.
uint64_t flags_of(const Thread* thread, uint64_t others) {
  constexpr uint64_t kByLahf = 0xD5, kOverflow = 1 << 11;
  return (others & ~(kByLahf | kOverflow)) | (thread->fast_flags >> 8 & kByLahf) |
         (thread->fast_flags & 1 ? kOverflow : 0);
}

}  // namespace

// Something waits for the thread; its registers are complete.
extern "C" void access_fast_deferred(Thread* thread) {
  thread->exit_ip = thread->regs.rip = next_ip(thread);
}

void fast_left(Thread* thread, Context* context) {
  const Regs& saved = thread->regs;
  Regs& regs = context->regs;
  regs.r8 = saved.r8, regs.r9 = saved.r9, regs.r10 = saved.r10, regs.r11 = saved.r11;
  regs.rdi = saved.rdi, regs.rsi = saved.rsi, regs.rdx = saved.rdx, regs.rcx = saved.rcx;
  regs.rax = saved.rax, regs.rsp = saved.rsp;
  regs.eflags = flags_of(thread, regs.eflags);
  regs.rip = next_ip(thread);
}

void fast_end_left(Thread* thread, Context* context) {
  context->regs.r10 = thread->regs.r10, context->regs.r11 = thread->regs.r11;
  quick_left(thread, context);
}

void fast_abandon(Thread* thread, Context* context) {
  const Site& site = site_numbered(thread->jumped_site);
  if (site.form == Form::kAtomic) {
    unlock_line(thread, false);
    reg(context->regs, site.scratch) = thread->saved_scratch;
  }
  drop(access_held(thread));
  thread->record = nullptr;
  region_use_end(thread);
  context->regs.rip = site.ip;
}

// The stub goes on where the stack says: it has rcx and the stack pointer to load yet.
void quick_left(Thread* thread, Context* context) {
  const Regs& saved = thread->regs;
  Regs& regs = context->regs;
  regs.r8 = saved.r8, regs.r9 = saved.r9;
  regs.rdi = saved.rdi, regs.rsi = saved.rsi, regs.rdx = saved.rdx, regs.rax = saved.rax;
  regs.eflags = flags_of(thread, regs.eflags);
  regs.rip = *reinterpret_cast<const uint64_t*>(regs.rsp);
  stub_left(thread, context);
}

void stub_left(Thread* thread, Context* context) {
  StubPlace place;
  if (patch_place(context->regs.rip, &place) && place.loaded) stream_load_again(thread);
  patch_leave_stub(thread, &context->regs);
}

}  // namespace shmrec::agent
