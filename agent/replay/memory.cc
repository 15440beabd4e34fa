#include "agent/replay/memory.h"

#include <linux/mman.h>

#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
#include "agent/memory/modules.h"
#include "agent/patches/arena.h"
#include "agent/patches/patch.h"
#include "agent/replay/accesses.h"
#include "agent/replay/code_guard.h"
#include "agent/replay/outcome.h"
#include "agent/replay/reader.h"
#include "agent/stream/sketch.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

using namespace stream;

namespace {

uint64_t heap_begin = 0, heap_end = 0;

// The kernel lets a stack grow until this limit, whatever the recorded one was.
constexpr uint64_t kStackBytes = 8 << 20;

int descriptor_of(uint32_t file) {
  const ReplayStage& stage = reader_stage();
  if (!file) return -1;
  if (file > stage.files) refuse("a mapped file is not in the recording");
  return stage.first_file + static_cast<int>(file) - 1;
}

// What is mapped in [begin, end) is something else from here on. Stubs that lie there go: the
// recorded process had its own elsewhere.
void replace(Thread* thread, uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  if (!patches_vacate(begin, end)) refuse("a patched site cannot be put back");
  MapsLock lock;
  maps_forget(thread->process, begin, end);
  maps_settle(thread);
}

bool vacates(uint64_t begin, uint64_t end) {
  const uint64_t arena = arena_next(begin);
  return begin < end && arena && arena < end;
}

void put_back(uint64_t begin, uint64_t end) {
  MapsLock lock;
  patches_undo(begin, end);
}

// Code of a file may be patched, if it was never writable.
void note_code(const Thread* thread, uint64_t begin, uint64_t bytes, uint64_t protection,
               uint64_t offset) {
  MapsLock lock;
  module_add(thread->process, begin, bytes, offset, 0, "(replayed)");
  if (protection & PROT_WRITE) modules_written(begin, begin + bytes);
}

void unmap(Thread* thread, uint64_t begin, uint64_t bytes) {
  replace(thread, begin, begin + bytes);
  sys(__NR_munmap, begin, bytes);
}

// At its place, in place of what is there; that must not be the agent.
void map_at(Thread* thread, uint64_t begin, uint64_t bytes, uint64_t protection, uint64_t flags,
            int fd, uint64_t offset) {
  if (!bytes || begin + bytes < begin) refuse("a recorded mapping is none");
  replace(thread, begin, begin + bytes);
  if (in_agents_part(begin, bytes)) refuse("a recorded mapping lies where the agent is");
  const int64_t at =
      sys(__NR_mmap, begin, bytes, protection, MAP_PRIVATE | MAP_FIXED | flags, fd, offset);
  if (at != static_cast<int64_t>(begin))
    diverge("a mapping cannot be made", begin, static_cast<uint64_t>(at));
  if (fd >= 0 && (protection & PROT_EXEC)) note_code(thread, begin, bytes, protection, offset);
}

// ---- The calls
// -----------------------------------------------------------------------------------

void again_mmap(Thread* thread, const uint64_t* a, uint64_t result, uint32_t file) {
  const uint64_t kept_flags = a[3] & (MAP_NORESERVE | MAP_GROWSDOWN | MAP_STACK);
  map_at(thread, result, page_up(a[1]), a[2], kept_flags | (file ? 0 : MAP_ANONYMOUS),
         descriptor_of(file), file ? a[5] : 0);
}

void again_brk(Thread* thread, const uint64_t*, uint64_t result, uint32_t) {
  const uint64_t now = page_up(result), before = page_up(heap_end);
  if (now > before)
    map_at(thread, before, now - before, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1, 0);
  else if (now < before && result >= heap_begin)
    sys(__NR_munmap, now, before - now);
  heap_end = result;
}

struct Again {
  uint32_t number;
  void (*make)(Thread* thread, const uint64_t* args, uint64_t result,
               uint32_t file);  // null: by the agent's handler
};
constexpr Again kAgain[] = {
    {__NR_mmap, again_mmap}, {__NR_mremap, nullptr},   {__NR_brk, again_brk},
    {__NR_munmap, nullptr},  {__NR_mprotect, nullptr}, {__NR_pkey_mprotect, nullptr},
    {__NR_madvise, nullptr}, {__NR_shmat, nullptr},    {__NR_shmdt, nullptr},
};

// ---- mremap
// ----------------------------------------------------------------------------------------

struct Remap {
  uint64_t from, old_bytes, to, bytes, flags;
  // What goes on elsewhere, or is mapped once more.
  uint64_t kept() const { return old_bytes ? min(old_bytes, bytes) : min(bytes, kPage); }
  bool moves() const { return to != from; }
  bool stays() const { return !old_bytes || (flags & MREMAP_DONTUNMAP); }
};

// Code goes elsewhere without the jumps in it.
void remap_private(Thread* thread, const Remap& remap) {
  constexpr uint64_t kTo = MREMAP_MAYMOVE | MREMAP_FIXED;
  const uint64_t keeps = remap.flags & MREMAP_DONTUNMAP;
  const uint64_t before = remap.from + remap.old_bytes, after = remap.from + remap.bytes;
  if (remap.moves()) {
    put_back(remap.from, before);
    replace(thread, remap.from, before);
    replace(thread, remap.to, remap.to + remap.bytes);
  } else {
    replace(thread, min(before, after), max(before, after));
  }
  const int64_t at = sys(__NR_mremap, remap.from, remap.old_bytes, remap.bytes,
                         remap.moves() ? kTo | keeps : 0, remap.to);
  if (at != static_cast<int64_t>(remap.to)) diverge("mremap", remap.to, static_cast<uint64_t>(at));
}

// A piece of it that is mapped alike begins at `at`. Returns its end.
uint64_t move_piece(Thread* thread, const Remap& remap, uint64_t at) {
  Region region;
  const uint64_t end = remap.from + remap.kept(), to = remap.to + (at - remap.from);
  const bool any = region_next(at, &region) && region.begin < end,
             traced = any && region.begin <= at;
  const uint64_t stop = !any ? end : min(end, traced ? region.end : region.begin);
  const uint64_t bytes =
      stop < end ? stop - at : remap.to + remap.bytes - to;  // the last one grows
  if (traced)
    map_traced(thread, to, bytes, region.protection, 0);
  else
    remap_private(thread, {at, stop - at, to, bytes, remap.flags});
  return stop;
}

// What is traced is mapped anew where it goes on. What is in it is put there when it is read.
void remap_traced(Thread* thread, const Remap& remap) {
  Region region;
  const uint64_t end = remap.from + remap.old_bytes;
  if (remap.moves()) {
    for (uint64_t at = remap.from; at < remap.from + remap.kept();)
      at = move_piece(thread, remap, at);
    if (!remap.stays()) unmap(thread, remap.from, remap.old_bytes);
  } else if (remap.bytes < remap.old_bytes) {
    unmap(thread, remap.from + remap.bytes, remap.old_bytes - remap.bytes);
  } else if (remap.bytes > remap.old_bytes && region_find(end - 1, &region)) {
    map_traced(thread, end, remap.bytes - remap.old_bytes, region.protection, 0);
  }
}

void again_mremap(Thread* thread, const uint64_t* a, uint64_t result) {
  const Remap remap = {a[0], page_up(a[1]), result, page_up(a[2]), a[3]};
  if (region_overlaps(remap.from, max(remap.old_bytes, kPage)))
    remap_traced(thread, remap);
  else
    remap_private(thread, remap);
}

// ---- System V
// ------------------------------------------------------------------------------------

// Attached segments: shmdt names their beginning alone, and detaches what is still there of them.
constexpr uint32_t kMostAttached = 256;
struct Attached {
  uint64_t begin, end;
  uint32_t segment;  // of its regions; 0: the place is free
} attached[kMostAttached] = {};
MappingRecord next_attached = {};

void attach(Thread* thread, uint64_t address) {
  const MappingRecord& mapping = next_attached;
  if (mapping.begin != address) refuse("the recording is damaged: a segment without its mapping");
  map_traced(thread, mapping.begin, mapping.end - mapping.begin, mapping.protection,
             thread->call.event);
  Region region;
  region_find(address, &region);
  for (Attached& place : attached)  // SHM_REMAP has replaced what was there
    if (place.begin >= mapping.begin && place.end <= mapping.end) place.segment = 0;
  for (Attached& place : attached) {
    if (place.segment) continue;
    place = {mapping.begin, mapping.end, region.segment};
    return;
  }
  refuse("more attached segments than can be followed");
}

void detach(Thread* thread, uint64_t address) {
  MapsLock lock;
  for (Attached& each : attached) {
    if (each.begin != address || !each.segment) continue;
    Region region;
    for (uint64_t at = each.begin; region_next(at, &region) && region.begin < each.end;
         at = region.end) {
      if (region.segment != each.segment) continue;
      maps_forget(thread->process, region.begin, region.end);
      sys(__NR_munmap, region.begin, region.end - region.begin);
    }
    each = {};
  }
  maps_settle(thread);
}

void make_again(Thread* thread, const Again& row, const CallRecord& call) {
  const uint64_t* a = thread->call.given;
  if (call.number == __NR_shmat) return attach(thread, call.result);
  if (call.number == __NR_shmdt) return detach(thread, a[0]);
  if (call.flags & kCallTraces)
    return map_traced(thread, call.result, page_up(a[1]), static_cast<uint32_t>(a[2]), 0);
  if (call.number == __NR_mremap) return again_mremap(thread, a, call.result);
  if (row.make) return row.make(thread, a, call.result, call.file);
  if (call.number == __NR_madvise && a[2] == MADV_FREE) thread->call.args[2] = MADV_DONTNEED;
  dispatch_unrecorded(thread, nullptr);
}

}  // namespace

void map_recorded(Thread* thread, const MappingRecord& mapping) {
  uint64_t begin = mapping.begin;
  if (mapping.end <= begin) refuse("a recorded mapping is none");
  if ((mapping.flags & kMappingStack) && mapping.end - begin < kStackBytes &&
      mapping.end > kStackBytes)
    begin = mapping.end - kStackBytes;
  map_at(thread, begin, mapping.end - begin, mapping.protection,
         mapping.file ? 0 : MAP_ANONYMOUS | MAP_NORESERVE, descriptor_of(mapping.file),
         mapping.offset);
}

void attach_recorded(const MappingRecord& mapping) { next_attached = mapping; }

void heap_recorded(uint64_t begin, uint64_t end) { heap_begin = begin, heap_end = end; }

bool makes_memory(uint64_t number) {
  for (const Again& row : kAgain)
    if (row.number == number) return true;
  return false;
}

bool leaves_stubs(const CallRecord& call, const uint64_t* a) {
  switch (call.number) {
    case __NR_munmap:
    case __NR_mprotect:
    case __NR_madvise:
      return true;  // no stub is in what the program has
    case __NR_brk:
      return !vacates(page_up(heap_end), page_up(call.result));
    case __NR_mmap:
      return call.arguments > 1 && !vacates(call.result, call.result + page_up(a[1]));
    default:
      return false;
  }
}

namespace {

// mprotect has done the part before the hole that it found, or before what may not be written. That
// one is changed here too: where the program may not write traced memory, the recording says.
bool may_have_done_part(const CallRecord& call) {
  const int64_t result = static_cast<int64_t>(call.result);
  return (call.number == __NR_mprotect || call.number == __NR_pkey_mprotect) &&
         (result == -ENOMEM || result == -EACCES);
}

}  // namespace

bool memory_call(Thread* thread, const CallRecord& call) {
  for (const Again& row : kAgain) {
    if (row.number != call.number) continue;
    if (may_have_done_part(call) || !failed(static_cast<int64_t>(call.result)))
      make_again(thread, row, call);
    sketch_forget_maps();
    return true;
  }
  return false;
}

namespace {

struct FindProtection {
  uint64_t address;
  int protection;
};

bool find_protection(const MapLine& line, void* raw) {
  FindProtection& find = *static_cast<FindProtection*>(raw);
  if (find.address < line.begin || find.address >= line.end) return true;
  find.protection = static_cast<int>(protection_of(line));
  return false;
}

}  // namespace

int protection_at(uint64_t address) {
  int guarded;
  if (guarded_protection(address, &guarded)) return guarded;
  if (arena_begins(address & ~(kArenaBytes - 1), 0, 0)) return PROT_READ | PROT_WRITE | PROT_EXEC;
  FindProtection find = {address, PROT_READ | PROT_EXEC};
  for_each_map(find_protection, &find);
  return find.protection;
}

namespace {

// In one page. What the kernel filled while it made it may be without the right to write; so is
// what a call that failed found there, and left.
void put_in_page(uint64_t address, const uint8_t* from, uint64_t bytes) {
  if (const uint64_t alias = alias_of(address, bytes)) address = alias;
  void* const to = reinterpret_cast<void*>(address);
  if (safe_copy(to, from, bytes)) return;
  const int protection = protection_at(address);
  sys(__NR_mprotect, page_down(address), kPage, PROT_READ | PROT_WRITE);
  const bool put = safe_copy(to, from, bytes);
  sys(__NR_mprotect, page_down(address), kPage, protection);
  if (!put) diverge("memory that was written cannot be", address, bytes);
}

}  // namespace

// They may reach over traced and private memory.
void put_bytes(uint64_t address, const void* from, uint64_t bytes) {
  const uint8_t* source = static_cast<const uint8_t*>(from);
  const bool traced = region_overlaps(address, bytes);
  if (!traced && safe_copy(reinterpret_cast<void*>(address), source, bytes)) return;
  for (uint64_t at = 0, piece; at < bytes; at += piece) {
    piece = min(bytes - at, kPage - (address + at) % kPage);
    put_in_page(address + at, source + at, piece);
  }
}

}  // namespace shmrec::agent
