#include "agent/memory/native.h"

#include <linux/mman.h>

#include "agent/log/log.h"
#include "agent/memory/aliases.h"
#include "agent/memory/maps.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kMaxNatives = 4096;

Region natives[kMaxNatives];  // unordered
uint32_t count = 0;
uint64_t lowest = ~0ull, highest = 0;  // all that was ever added lies between
uint32_t seen = 0;                     // Header::promotions when the table was last gone through
uint32_t joining = 0;
uint32_t joins = 0;

void cut(Region* piece, uint64_t begin, uint64_t end) {
  piece->segment_offset += begin - piece->begin;
  piece->begin = begin;
  piece->end = end;
}

bool waits_with_native(const Thread* self) {
  struct Search {
    const Thread* self;
    bool found;
  } search = {self, false};
  for_each_thread_here(
      [](Thread* thread, void* raw) {
        Search& wanted = *static_cast<Search*>(raw);
        if (thread != wanted.self && load(&thread->call.uses_native)) wanted.found = true;
      },
      &search);
  return search.found;
}

void say_joined(Thread* thread, const Region& mapping) {
  const SegmentEntry& entry = segment_entry(mapping.segment);
  JournalValues values;
  values.segment = mapping.segment;
  journal(thread->process, JournalType::kPromoted, values);
  if (mapping.writes_only) return;  // nor are its reads logged from now on
  TextBuffer<320> text;
  text.add("read natively, unlogged, up to event ")
      .add_decimal(load(&thread->process->entry->events))
      .add(": ")
      .add(entry.name);
  values.text = text.data;
  journal(thread->process, JournalType::kCoverage, values);
}

bool promoted(uint32_t segment) {
  return load(&segment_entry(segment).tracing) == static_cast<uint32_t>(Tracing::kTraced);
}

}  // namespace

bool native_empty() { return load(&count) == 0; }

bool native_overlaps(uint64_t address, uint64_t bytes) {
  if (native_empty() || !bytes) return false;
  const uint64_t end = address + bytes < address ? ~0ull : address + bytes;
  if (address >= load(&highest) || end <= load(&lowest)) return false;
  Locked lock(regions_lock);
  for (uint32_t i = 0; i < count; ++i)
    if (natives[i].begin < end && natives[i].end > address) return true;
  return false;
}

namespace {

// The table keeps room for the pieces of two that are cut.
bool push(const Region& mapping) {
  if (count == kMaxNatives) return false;
  natives[count] = mapping;
  store(&lowest, min(lowest, mapping.begin));
  store(&highest, max(highest, mapping.end));
  store(&count, count + 1);
  return true;
}

}  // namespace

bool native_add(const Region& mapping) { return count + 3 <= kMaxNatives && push(mapping); }

void native_for_each(void (*visit)(const Region& piece, void* context), void* context) {
  for (uint32_t i = 0; i < count; ++i) visit(natives[i], context);
}

void native_or_alias_gone(uint32_t segment) {
  if (alias_of(segment)) return;
  for (uint32_t i = 0; i < count; ++i)
    if (natives[i].segment == segment) return;
  segment_unmapped(current_thread()->process, segment);
}

bool native_remove(uint64_t begin, uint64_t end) {
  bool any = false;
  for (uint32_t i = 0; i < count;) {
    const Region old = natives[i];
    if (old.begin >= end || old.end <= begin) {
      ++i;
      continue;
    }
    any = true;
    natives[i] = natives[count - 1];
    store(&count, count - 1);
    Region rest = old;
    if (old.begin < begin) cut(&rest, old.begin, begin), push(rest);
    rest = old;
    if (old.end > end) cut(&rest, end, old.end), push(rest);
    native_or_alias_gone(old.segment);
  }
  return any;
}

void native_update(uint64_t begin, uint64_t end, void (*change)(Region& piece, void* context),
                   void* context) {
  for (uint32_t i = 0, all = count; i < all; ++i) {
    const Region old = natives[i];
    if (old.begin >= end || old.end <= begin) continue;
    Region rest = old;
    if (old.begin < begin) cut(&rest, old.begin, begin), push(rest);
    rest = old;
    if (old.end > end) cut(&rest, end, old.end), push(rest);
    cut(&natives[i], max(begin, old.begin), min(end, old.end));
    change(natives[i], context);
  }
}

void native_after_fork() {
  joining = 0;
  for (uint32_t i = 0; i < count;) {
    if (natives[i].not_forked)
      natives[i] = natives[--count];
    else
      ++i;
  }
}

void native_join(Thread* thread) {
  const uint32_t promotions = load(&log_header().promotions);
  store(&joining, 1u);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  const bool wait = waits_with_native(thread);
  for (uint32_t i = 0; !wait && i < count;) {
    const Region mapping = natives[i];
    if (!promoted(mapping.segment)) {
      ++i;
      continue;
    }
    natives[i] = natives[count - 1];
    store(&count, count - 1);
    store(&joins, joins + 1);
    maps_trace_native(thread, mapping);
    say_joined(thread, mapping);
  }
  if (!wait) seen = promotions;
  store(&joining, 0u);
}

void native_promote(Thread* thread, uint64_t begin, uint64_t end) {
  bool any = false;
  for (uint32_t i = 0; i < count; ++i) {
    if (natives[i].begin >= end || natives[i].end <= begin) continue;
    segment_promote(natives[i].segment);
    any = true;
  }
  if (any) native_join(thread);
}

bool native_waits() { return load(&log_header().promotions) != load(&seen) && !native_empty(); }

void native_look(Thread* thread) {
  if (!native_waits()) return;
  MapsLock lock;
  native_join(thread);
}

uint32_t native_joins() { return load(&joins); }

bool native_use(Thread* thread, uint32_t before) {
  store(&thread->call.uses_native, 1u);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!load(&joining) && load(&joins) == before) return true;
  native_used(thread);
  Locked lock(regions_lock);  // until it is done
  return false;
}

}  // namespace shmrec::agent
