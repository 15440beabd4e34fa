#include "agent/access/fast.h"

#include "agent/access/access.h"
#include "agent/access/stripes.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/guarded.h"
#include "agent/log/records.h"
#include "agent/memory/callers.h"
#include "agent/memory/native.h"
#include "agent/patches/patch.h"
#include "agent/process/event.h"
#include "agent/signals/signals.h"
#include "agent/sites/table.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kMaxFastBytes = 32;

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

bool refresh(Thread* thread, uint64_t address, KnownRegion* known) {
  Region region;
  known->sequence = regions_sequence();
  if (!region_find(address, &region) || region.relaxed || (region.protection & PROT_EXEC)) {
    known->sequence = 1;
    return false;
  }
  known->segment = region.segment;
  known->begin = region.begin, known->end = region.end;
  known->alias = region.alias, known->segment_offset = region.segment_offset;
  known->readable = region.protection != PROT_NONE && !region.writes_only;
  known->writable = (region.protection & PROT_WRITE) != 0;
  known->usage = &usage_of(thread, region.segment);
  return true;
}

bool in_known(Thread* thread, uint64_t address, uint32_t bytes) {
  KnownRegion& known = thread->known_region;
  const bool holds = !(known.sequence & 1) && known.sequence == regions_sequence() &&
                     address >= known.begin && address < known.end;
  return (holds || refresh(thread, address, &known)) && bytes <= known.end - address;
}

// An access that can be made, with its record.
struct Access {
  Thread* thread;
  const Site& site;
  uint64_t alias, offset;
  uint32_t bytes, record_bytes;
  RecordHeader* record;

  uint64_t* version() const { return reinterpret_cast<uint64_t*>(record + 1); }
  uint64_t* value() const { return version() + 1; }
};

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

bool prepare(Access& access, RecordKind kind, uint64_t stack, uint64_t frame) {
  Thread* thread = access.thread;
  const Callers& callers = callers_of(thread, access.site.ip, stack, frame);
  access.record_bytes = record_bytes(kind, access.offset, access.bytes, callers.count);
  if (!record_has_room(thread, access.record_bytes) && !record_keep(thread, access.record_bytes))
    return false;
  if (load(&log_header().chunks_scarce)) return false;
  RecordHeader& header = *(access.record = reinterpret_cast<RecordHeader*>(thread->cursor));
  header.segment = thread->known_region.segment;
  header.offset = access.offset;
  header.address = thread->fast_ea;
  header.pc = access.site.ip;
  header.event = count_event(thread);
  header.length = access.bytes;
  header.syscall = header.flags = 0;
  put_callers(callers, header, reinterpret_cast<uint8_t*>(&header) + access.record_bytes);
  return true;
}

void commit(const Access& access, RecordKind kind, RecordState state) {
  Thread* thread = access.thread;
  store(&access.record->commit, commit_word(access.record_bytes, kind, state));
  thread->cursor += access.record_bytes;
  ++thread->since_clock;
  count(thread, &thread->process->entry->accesses);
}

bool read(Access& access) {
  Thread* thread = access.thread;
  const uint32_t stripe = stripe_index(thread->known_region.segment, access.offset);
  for (;;) {
    const uint64_t before = stripe_wait(thread, stripe);
    compiler_fence();
    if (!load_words(words_of(thread), access.alias, access.bytes)) return false;
    compiler_fence();
    if (stripe_peek(stripe) != before) continue;
    *access.version() = stripe_version(before) + 1;
    return true;
  }
}

bool load_value(Access& access, uint64_t stack, uint64_t frame) {
  if (!access.thread->known_region.readable || !prepare(access, RecordKind::kRead, stack, frame))
    return false;
  if (!read(access)) {
    memset(access.record, 0, access.record_bytes);
    return false;
  }
  copy_words(access.value(), words_of(access.thread), access.bytes);
  commit(access, RecordKind::kRead, RecordState::kCommitted);
  count(access.thread, &access.thread->known_region.usage->reads);
  return true;
}

bool store_value(Access& access, uint64_t stack, uint64_t frame) {
  Thread* thread = access.thread;
  uint64_t probe;
  if (!thread->known_region.writable || !guarded_load(&probe, access.alias, 1) ||
      !prepare(access, RecordKind::kWrite, stack, frame))
    return false;
  copy_words(access.value(), words_of(thread), access.bytes);
  record_begin(thread, reinterpret_cast<uint8_t*>(access.record), access.record_bytes,
               RecordKind::kWrite);
  const uint64_t version =
      stripe_lock(thread, 0, stripe_index(thread->known_region.segment, access.offset));
  __atomic_store_n(access.version(), version, __ATOMIC_RELEASE);
  const bool ok = store_words(access.alias, access.value(), access.bytes);
  stripe_unlock(thread, 0, ok);
  commit(access, RecordKind::kWrite, ok ? RecordState::kCommitted : RecordState::kAborted);
  store(&thread->lane_entry->record, uint64_t{0});
  if (ok) count(thread, &thread->known_region.usage->writes);
  return ok;
}

bool perform(Thread* thread, const Site& site, uint64_t stack, uint64_t frame) {
  const uint64_t address = thread->fast_ea;
  const bool in_line = address % kLineBytes + site.bytes <= kLineBytes;
  const bool aligned = site.bytes <= 8 || site.unaligned || address % site.bytes == 0;
  if (!in_line || !aligned || native_waits() || !in_known(thread, address, site.bytes))
    return false;
  const uint64_t in_region = address - thread->known_region.begin;
  Access access = {thread,
                   site,
                   thread->known_region.alias + in_region,
                   thread->known_region.segment_offset + in_region,
                   site.bytes,
                   0,
                   nullptr};
  return site.form == Form::kLoad ? load_value(access, stack, frame)
                                  : store_value(access, stack, frame);
}

// Where the program goes on behind a store.
uint64_t behind(const Site& site) {
  const uint64_t in_stub = load(&site.behind);
  return in_stub ? in_stub : site.ip + site.length;
}

}  // namespace

bool fast_possible(const Site& site) {
  const bool kind = site.form == Form::kLoad || site.form == Form::kStore;
  const bool size = site.bytes && !(site.bytes & (site.bytes - 1)) && site.bytes <= kMaxFastBytes;
  return kind && size && site.core_length && site.scratch != kNoRegister &&
         site.second_scratch == kNoRegister;
}

// From a stub. `stack` and `frame` are the program's rsp and rbp. Returns where to go on.
extern "C" uint64_t access_fast(Thread* thread, uint64_t stack, uint64_t frame) {
  const Site& site = *thread->fast_site;
  region_use_begin(thread);
  const bool done = perform(thread, site, stack, frame);
  region_use_end(thread);
  thread->fast_done = done && site.form == Form::kStore;
  if (done) return site.form == Form::kLoad ? load(&site.finish) : behind(site);
  thread->jumped_site = site_number(site);
  return reinterpret_cast<uint64_t>(shmrec_access_jumped);
}

namespace {

// A load is executed again, a store has been.
uint64_t next_ip(const Thread* thread) {
  const Site& site = *thread->fast_site;
  return thread->fast_done ? site.ip + site.length : site.ip;
}

}  // namespace

// Something waits for the thread; its registers are complete.
extern "C" void access_fast_deferred(Thread* thread) { thread->exit_ip = next_ip(thread); }

void fast_left(Thread* thread, Context* context) {
  const Regs& saved = thread->regs;
  Regs& regs = context->regs;
  constexpr uint64_t kByLahf = 0xD5, kOverflow = 1 << 11;
  const uint64_t flags =
      (thread->fast_flags >> 8 & kByLahf) | (thread->fast_flags & 1 ? kOverflow : 0);
  regs.r8 = saved.r8, regs.r9 = saved.r9, regs.r10 = saved.r10, regs.r11 = saved.r11;
  regs.rdi = saved.rdi, regs.rsi = saved.rsi, regs.rdx = saved.rdx, regs.rcx = saved.rcx;
  regs.rax = saved.rax, regs.rsp = saved.rsp;
  regs.eflags = (regs.eflags & ~(kByLahf | kOverflow)) | flags;
  regs.rip = next_ip(thread);
}

}  // namespace shmrec::agent
