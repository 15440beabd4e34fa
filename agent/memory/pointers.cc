#include "agent/memory/pointers.h"

#include "agent/log/log.h"
#include "agent/memory/modules.h"
#include "agent/memory/regions.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kMaxRanges = 64;
constexpr uint64_t kMaxPerModule = 2 << 20;  // bytes of a module that are looked at
constexpr uint32_t kPairsPerEntry = kMaxJournalText / sizeof(PointerPair);
constexpr uint32_t kMaxPairs = 4 * kPairsPerEntry;

SpinLock looking;  // who holds it has what follows
PointerPair pairs[kMaxPairs];
uint32_t found;         // pointers there are, also those beyond kMaxPairs
uint64_t last_hash;     // of what was said last
uint32_t last_said_by;  // process that said it
// TSC: when to look at a syscall, and before memory is unmapped.
uint64_t next_look, next_before_unmap;

// All traced memory lies between these.
struct Bounds {
  uint64_t begin, end;
};

Bounds traced_bounds() {
  Bounds bounds = {UINT64_MAX, 0};
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end) {
    bounds.begin = min(bounds.begin, region.begin);
    bounds.end = region.end;
  }
  return bounds;
}

void look_at_page(uint64_t address, uint64_t bytes, const Bounds& bounds) {
  uint64_t words[64];
  for (uint64_t at = 0; at < bytes; at += sizeof words) {
    const uint64_t size = min<uint64_t>(sizeof words, bytes - at);
    if (!safe_copy(words, reinterpret_cast<void*>(address + at), size)) return;
    for (uint64_t i = 0; i < size / 8; ++i) {
      Region region;
      if (words[i] < bounds.begin || words[i] >= bounds.end || !region_find(words[i], &region))
        continue;
      if (found < kMaxPairs) pairs[found] = {address + at + i * 8, words[i]};
      ++found;
    }
  }
}

void look_at(const DataRange& range, const Bounds& bounds) {
  const uint64_t end = min(range.end, range.begin + kMaxPerModule);
  uint64_t next;
  for (uint64_t at = (range.begin + 7) & ~7ull; at < end; at = next) {
    next = min(page_down(at) + kPage, end);
    if (!region_overlaps(at, next - at)) look_at_page(at, next - at, bounds);
  }
}

// Tells what was found, if it is something else than last time.
void tell(const Process* process) {
  const uint32_t kept = min(found, kMaxPairs);
  const uint64_t hash = hash_bytes(pairs, kept * sizeof pairs[0]) | 1;
  if (last_said_by == process->index && hash == last_hash) return;
  if (!found && last_said_by != process->index) return;
  last_said_by = process->index;
  last_hash = hash;
  const uint32_t look = process->entry->pointer_look + 1;
  uint32_t at = 0;
  do {
    JournalValues values;
    values.a = look;
    values.b = found;
    values.text = reinterpret_cast<const char*>(pairs + at);
    values.text_bytes = min(kept - at, kPairsPerEntry) * sizeof pairs[0];
    journal(process, JournalType::kPointers, values);
    at += kPairsPerEntry;
  } while (at < kept);
  store(&process->entry->pointer_look, look);
}

void look(const Process* process) {
  DataRange ranges[kMaxRanges];
  if (!regions_lock.try_lock()) return;
  const uint32_t count = modules_data(ranges, kMaxRanges);
  regions_lock.unlock();
  const Bounds bounds = traced_bounds();
  found = 0;
  for (uint32_t i = 0; i < count; ++i) look_at(ranges[i], bounds);
  tell(process);
}

// Is there anything to be asked about?
bool uses_traced(const Process* process) {
  return process->index && !process->lives_in_parent && !regions_empty() &&
         load(&process->entry->accesses);
}

}  // namespace

namespace {

// `next`: not before, and set to what the cost of this look allows.
void look_if_due(Thread* thread, uint64_t* next, uint64_t least_distance) {
  const uint64_t begin = rdtsc();
  if (begin < load(next) || !uses_traced(thread->process) || !looking.try_lock()) return;
  look(thread->process);
  const uint64_t end = rdtsc();
  store(next, end + max(least_distance, 50 * (end - begin)));
  looking.unlock();
}

}  // namespace

void pointers_if_due(Thread* thread) { look_if_due(thread, &next_look, log_header().tsc_hz / 10); }

void pointers_before_unmap(Thread* thread) { look_if_due(thread, &next_before_unmap, 0); }

void pointers_at_end(const Process* process) {
  if (!uses_traced(process) || !looking.try_lock()) return;
  look(process);
  looking.unlock();
}

void pointers_after_fork() {
  looking.reset();
  store(&next_look, rdtsc() + log_header().tsc_hz / 50);
}

}  // namespace shmrec::agent
