#include "agent/memory/maps.h"

#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/memory/aliases.h"
#include "agent/memory/brake.h"
#include "agent/memory/identity.h"
#include "agent/memory/modules.h"
#include "agent/memory/native.h"
#include "agent/memory/pointers.h"
#include "agent/memory/window.h"
#include "agent/patches/arena.h"
#include "agent/patches/patch.h"
#include "agent/sites/table.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// ---- Regions ------------------------------------------------------------------------------------

void note_unmapped(const Process* process, uint64_t begin, uint64_t end) {
  JournalValues values;
  values.a = begin;
  values.b = end - begin;
  journal(process, JournalType::kUnmap, values);
}

// Says once what is not seen of memory that may be executed. REQUIRES: regions_lock held.
void note_executable(const Process* process, const Region& region, uint64_t begin, uint64_t end) {
  if (!(region.protection & PROT_EXEC) || region.executed || region.writes_only) return;
  region_update(
      begin, end, [](Region& piece, void*) { piece.executed = 1; }, nullptr);
  const uint64_t offset = region.segment_offset + (begin - region.begin);
  TextBuffer<160> text;
  text.add("reads of segment ").add_decimal(region.segment).add(", bytes ").add_hex(offset);
  text.add(" to ").add_hex(offset + (end - begin));
  text.add(", while they may be executed, from event ");
  text.add_decimal(load(&process->entry->events)).add(" on; writes are recorded");
  JournalValues values;
  values.segment = region.segment;
  values.text = text.data;
  journal(process, JournalType::kCoverage, values);
}

void note_mapped(const Process* process, const Region& region) {
  journal(process, JournalType::kSegmentMap, values_of(region));
}

bool outdated = false;  // accesses may be using what regions said before

// Takes what is in [begin, end) out of the table. REQUIRES: regions_lock held.
bool remove_regions(uint64_t begin, uint64_t end) {
  bool any = false;
  region_remove(
      begin, end,
      [](const Region& piece, void* raw) {
        alias_unuse(piece);
        *static_cast<bool*>(raw) = true;
      },
      &any);
  outdated |= any;
  return any;
}

}  // namespace

void maps_forget(const Process* process, uint64_t begin, uint64_t end) {
  const bool modules = modules_forget(begin, end);
  const bool natives = native_remove(begin, end);
  if (remove_regions(begin, end) || modules || natives) note_unmapped(process, begin, end);
}

void maps_settle(const Thread* thread) {
  if (outdated) regions_settle(thread);
  outdated = false;
  aliases_collect();
}

namespace {

// Puts a region, whose view is hidden already, in the place of whatever was there. REQUIRES:
// regions_lock held.
bool put_region(const Process* process, Region region, uint64_t view) {
  if (!alias_use(&region, view)) return false;
  bool put;
  {
    RegionsChange change;
    modules_forget(region.begin, region.end);
    native_remove(region.begin, region.end);
    remove_regions(region.begin, region.end);
    put = region_insert(region);
  }
  if (!put)
    alias_unuse(region);
  else
    note_mapped(process, region);
  if (put) note_executable(process, region, region.begin, region.end);
  return put;
}

// Hides the shared mapping at region.begin, which no other thread knows yet. REQUIRES: regions_lock
// held.
bool trace(const Process* process, const Region& region) {
  const uint64_t bytes = region.end - region.begin;
  if (failed(sys(__NR_mprotect, region.begin, bytes, view_of(region)))) return false;
  if (put_region(process, region, region.begin)) return true;
  sys(__NR_mprotect, region.begin, bytes, region.protection);
  return false;
}

void say_untraced(const Process* process, const char* why, const SegmentIdentity& identity) {
  TextBuffer<320> text;
  text.add(why).add(": ").add(identity.name[0] ? identity.name : "(no name)");
  JournalValues values;
  values.text = text.data;
  journal(process, JournalType::kCoverage, values);
}

// Enters the segment. What the policy says of it; says so if it is not to be traced.
SegmentMode judge(const Thread* thread, const SegmentIdentity& identity, uint64_t extent,
                  uint32_t* segment) {
  const Process* process = thread->process;
  *segment = segment_enter(thread, identity, extent);
  const SegmentMode mode =
      *segment ? static_cast<SegmentMode>(segment_entry(*segment).mode) : SegmentMode::kIgnore;
  if (mode == SegmentMode::kDeny)
    say_untraced(process, "denied by the policy", identity);
  else if (mode != SegmentMode::kTrace)
    say_untraced(process, "not traced: ignored by the policy", identity);
  return mode;
}

Region region_of(const Process* process, uint64_t address, uint64_t bytes, uint64_t offset,
                 uint32_t protection, uint32_t segment, bool sysv, uint64_t view) {
  Region region = {};
  region.begin = address;
  region.end = address + bytes;
  region.segment_offset = offset;
  region.segment = segment;
  region.protection = protection;
  region.relaxed = segment_entry(segment).order == static_cast<uint32_t>(Order::kRelaxed);
  region.writes_only = segment_writes_only(segment);
  region.sysv = sysv;
  brake_new(process, &region);
  region.may_write =
      (protection & PROT_WRITE) || !failed(could_be(view, bytes, PROT_READ | PROT_WRITE));
  return region;
}

// Does nothing that the program asks for show the segment as more than a file that is read?
bool may_stay_native(uint32_t segment, uint32_t protection, const SegmentIdentity& identity) {
  return segment_native(segment) && !(protection & PROT_WRITE) &&
         identity.kind == SegmentKind::kFile;
}

void promote(Thread* thread, uint32_t segment) {
  if (!segment_native(segment)) return;
  segment_promote(segment);
  native_join(thread);
}

bool stays_native(Thread* thread, const Region& mapping, const SegmentIdentity& identity) {
  if (may_stay_native(mapping.segment, mapping.protection, identity) && native_add(mapping)) {
    note_mapped(thread->process, mapping);
    return true;
  }
  promote(thread, mapping.segment);
  return false;
}

}  // namespace

int64_t maps_admit(Thread* thread, uint64_t address, uint64_t bytes, uint64_t offset,
                   uint32_t protection, const SegmentIdentity& identity, bool sysv) {
  uint32_t segment;
  const SegmentMode mode = judge(thread, identity, offset + bytes, &segment);
  if (mode == SegmentMode::kDeny) return -EACCES;
  if (mode != SegmentMode::kTrace) return static_cast<int64_t>(address);
  const Region region =
      region_of(thread->process, address, bytes, offset, protection, segment, sysv, address);
  if (!stays_native(thread, region, identity) && !trace(thread->process, region))
    say_untraced(thread->process, "not traced: no room for an alias", identity);
  return static_cast<int64_t>(address);
}

int64_t maps_place(Thread* thread, uint64_t address, uint64_t staged, uint64_t bytes,
                   uint64_t offset, uint32_t protection, const SegmentIdentity& identity,
                   bool sysv) {
  Process* process = thread->process;
  uint32_t segment;
  const SegmentMode mode = judge(thread, identity, offset + bytes, &segment);
  bool placed = false;
  if (mode == SegmentMode::kTrace && !may_stay_native(segment, protection, identity)) {
    promote(thread, segment);
    Region region = region_of(process, staged, bytes, offset, protection, segment, sysv, staged);
    sys(__NR_mprotect, staged, bytes, view_of(region));
    Region pin = region;  // keeps the alias while the mapping is moved
    const bool pinned = alias_use(&pin, staged);
    placed = pinned && !failed(sys(__NR_mremap, staged, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                                   address));
    region.begin = address;
    region.end = address + bytes;
    const bool put = placed && put_region(process, region, address);
    if (pinned) alias_unuse(pin);
    if (placed && !put) {  // the table is full
      maps_forget(process, address, address + bytes);
      sys(__NR_mprotect, address, bytes, protection);
      say_untraced(process, "not traced: no room for an alias", identity);
    }
  }
  if (!placed) sys(__NR_munmap, staged, bytes);
  if (mode == SegmentMode::kDeny) return -EACCES;
  return placed ? static_cast<int64_t>(address) : 0;
}

namespace {

bool is_shared(uint64_t flags) {
  const uint64_t type = flags & MAP_TYPE;
  return type == MAP_SHARED || type == MAP_SHARED_VALIDATE;
}

void journal_module(const Process* process, uint64_t address, uint64_t bytes, int fd,
                    uint64_t offset) {
  SegmentIdentity identity;
  if (!identify_descriptor(fd, &identity)) return;
  module_add(process, address, bytes, offset, identity.inode, identity.name);
}

}  // namespace

namespace {

bool identify(uint64_t address, uint64_t flags, int fd, SegmentIdentity* identity) {
  return (flags & MAP_ANONYMOUS) || maps_anonymous(fd) ? identify_mapping(address, identity)
                                                       : identify_descriptor(fd, identity);
}

// What is mapped at a fixed address replaces what is there: see maps_place(). 0: to be mapped as
// usual.
int64_t map_over(Thread* thread) {
  const uint64_t* a = thread->call.args;
  const uint64_t address = a[0], bytes = page_up(a[1]), flags = a[3];
  const int fd = static_cast<int>(a[4]);
  const bool replaces = (flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE);
  if (!replaces || !is_shared(flags) || locks_new() || (flags & (MAP_HUGETLB | MAP_LOCKED)) ||
      address % kPage || (a[2] & PROT_EXEC) || !bytes)
    return 0;
  const int64_t staged =
      sys(__NR_mmap, 0, a[1], a[2], flags & ~uint64_t{MAP_FIXED | MAP_POPULATE}, a[4], a[5]);
  if (failed(staged)) return 0;
  const uint64_t at = static_cast<uint64_t>(staged);
  SegmentIdentity identity;
  if (identify(at, flags, fd, &identity))
    return maps_place(thread, address, at, bytes, flags & MAP_ANONYMOUS ? 0 : a[5],
                      static_cast<uint32_t>(a[2]), identity, false);
  sys(__NR_munmap, staged, bytes);
  return 0;
}

}  // namespace

Answer do_mmap(Thread* thread, void*) {
  const uint64_t bytes = page_up(arg(thread, 1)), flags = arg(thread, 3);
  const uint32_t protection = static_cast<uint32_t>(arg(thread, 2));
  const int fd = static_cast<int>(arg(thread, 4));
  const bool anonymous = flags & MAP_ANONYMOUS;
  if (in_agents_part(arg(thread, 0), bytes)) {
    if (flags & MAP_FIXED_NOREPLACE) return done(thread, -EEXIST);
    if (flags & MAP_FIXED) return done(thread, -ENOMEM);
    thread->call.args[0] = 0;
  }
  MapsLock lock;
  if (const int64_t placed = map_over(thread)) {
    maps_settle(thread);
    return done(thread, placed);
  }
  if (!arg(thread, 0) && is_shared(flags) && !(flags & (MAP_FIXED | MAP_32BIT | MAP_HUGETLB)))
    thread->call.args[0] = window_hint(bytes);
  const int64_t at = pass(thread);
  if (failed(at)) return done(thread, at);
  const uint64_t address = static_cast<uint64_t>(at);
  maps_forget(thread->process, address, address + bytes);
  maps_settle(thread);
  if (const int64_t error = lock_new(address, bytes); failed(error)) {
    sys(__NR_munmap, address, bytes);
    return done(thread, error);
  }
  if ((protection & PROT_EXEC) && !anonymous)
    journal_module(thread->process, address, bytes, fd, arg(thread, 5));
  if ((protection & PROT_EXEC) && (protection & PROT_WRITE))
    modules_written(address, address + bytes);
  if (!is_shared(flags)) return done(thread, at);
  SegmentIdentity identity;
  if (!identify(address, flags, fd, &identity)) {
    coverage(thread->process,
             "a shared mapping of a device, or of what may not be examined, is not traced");
    return done(thread, at);
  }
  if (flags & MAP_HUGETLB) {
    say_untraced(thread->process, "not traced: huge pages", identity);
    return done(thread, at);
  }
  const int64_t result = maps_admit(thread, address, bytes, anonymous ? 0 : arg(thread, 5),
                                    protection, identity, false);
  if (failed(result)) sys(__NR_munmap, address, bytes);
  return done(thread, result);
}

void maps_trace_native(Thread* thread, const Region& mapping) {
  stream_end(thread->process, "a mapped file that somebody begins to write");
  Region region = mapping;
  brake_new(thread->process, &region);
  regions_known_change();
  if (!trace(thread->process, region))
    coverage(thread->process, "a file that somebody began to write is not traced: no room");
}

bool next_agents_part(uint64_t begin, uint64_t end, AgentsPart* part) {
  *part = {agent_base(), agent_base() + kZoneBytes};
  const uint64_t arena = arena_next(begin);
  const bool zone_reaches = part->begin < end && part->end > begin;
  if (!arena || arena >= end || (zone_reaches && part->begin < arena)) return zone_reaches;
  *part = {arena, arena + kArenaBytes};
  return true;
}

bool in_agents_part(uint64_t address, uint64_t bytes) {
  AgentsPart part;
  return next_agents_part(address, address + bytes, &part);
}

namespace {

int64_t unmap(Thread* thread, uint64_t begin, uint64_t end) {
  const int64_t result = sys(__NR_munmap, begin, end - begin);
  if (!failed(result)) maps_forget(thread->process, begin, end);
  return result;
}

// As if nothing were mapped in the agent's parts. The upper end comes first: if it is none, nothing
// is unmapped.
int64_t unmap_around(Thread* thread, uint64_t begin, uint64_t end) {
  AgentsPart part;
  if (!next_agents_part(begin, end, &part)) return begin < end ? unmap(thread, begin, end) : 0;
  const int64_t result = part.end < end ? unmap_around(thread, part.end, end) : 0;
  return !failed(result) && begin < part.begin ? unmap(thread, begin, part.begin) : result;
}

}  // namespace

Answer do_munmap(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  if (begin % kPage || end <= begin) return done(thread, pass(thread));
  if (region_overlaps(begin, end - begin)) pointers_before_unmap(thread);
  MapsLock lock;
  const int64_t result = in_agents_part(begin, end - begin) ? unmap_around(thread, begin, end)
                                                            : unmap(thread, begin, end);
  maps_settle(thread);
  return done(thread, result);
}

// ---- Protection ---------------------------------------------------------------------------------

namespace {

// The kernel is asked about the view, so that it refuses what it would refuse: a sealed mapping, an
// unknown key, to execute what must not be.
int64_t protect_region(Thread* thread, Region region, uint64_t begin, uint64_t end,
                       uint32_t protection) {
  if ((protection & PROT_WRITE) && !region.may_write) return -EACCES;
  region.protection = protection;
  const int64_t result = sys(static_cast<int64_t>(thread->call.number), begin, end - begin,
                             view_of(region), arg(thread, 3));
  if (failed(result)) return result;
  region_update(
      begin, end, [](Region& piece, void* to) { piece.protection = *static_cast<uint32_t*>(to); },
      &protection);
  outdated = true;
  note_executable(thread->process, region, begin, end);
  JournalValues values;
  values.segment = region.segment;
  values.a = begin, values.b = end - begin, values.d = protection;
  journal(thread->process, JournalType::kProtect, values);
  return 0;
}

// What is not traced. The kernel goes as far as the first hole.
int64_t protect_native(Thread* thread, uint64_t begin, uint64_t end, uint32_t protection) {
  const int64_t result = sys(static_cast<int64_t>(thread->call.number), begin, end - begin,
                             arg(thread, 2), arg(thread, 3));
  if (failed(result) && result != -ENOMEM) return result;
  native_update(
      begin, end, [](Region& piece, void* to) { piece.protection = *static_cast<uint32_t*>(to); },
      &protection);
  return result;
}

}  // namespace

namespace {

// Does the call give memory a protection key? Stubs do not ask what a thread may do by its keys, so
// there are none in such a process.
bool sets_key(const Thread* thread) {
  return thread->call.number == __NR_pkey_mprotect && static_cast<int32_t>(arg(thread, 3)) > 0;
}

}  // namespace

Answer do_mprotect(Thread* thread, void*) {
  constexpr uint64_t kKnown = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM;
  const uint64_t begin = arg(thread, 0);
  uint64_t end = begin + page_up(arg(thread, 1));
  const uint64_t protection = arg(thread, 2);
  if (begin % kPage || end <= begin || (protection & ~kKnown)) return done(thread, pass(thread));
  MapsLock lock;
  AgentsPart part;
  const bool cut = next_agents_part(begin, end, &part);  // nothing is mapped there
  if (cut) end = max(begin, part.begin);
  // Who makes a mapping writable is about to write.
  if (protection & PROT_WRITE) native_promote(thread, begin, end);
  if (protection & PROT_WRITE) modules_written(begin, end);
  int64_t result = 0;
  // As the kernel does it: from the lower end on, up to the first error.
  for (uint64_t at = begin, stop; at < end && !failed(result); at = stop) {
    Region region;
    const bool traced = region_next(at, &region) && region.begin <= at;
    stop = min(end, traced ? region.end : region_next(at, &region) ? region.begin : end);
    if (traced && sets_key(thread)) patches_end_locked();
    result = traced ? protect_region(thread, region, at, stop, static_cast<uint32_t>(protection))
                    : protect_native(thread, at, stop, static_cast<uint32_t>(protection));
  }
  maps_settle(thread);
  return done(thread, cut && !failed(result) ? -ENOMEM : result);
}

// ---- Moving -------------------------------------------------------------------------------------

namespace {

// Of a mapping that was moved and cannot be traced where it is now.
void leave_untraced(const Process* process, const Region& region) {
  sys(__NR_mprotect, region.begin, region.end - region.begin, region.protection);
  coverage(process, "a remapped segment is no longer traced: no room for an alias");
}

// The mapping at region.begin, hidden by the kernel's move of a hidden one, is what `region` says.
void put_moved(const Process* process, const Region& region) {
  SegmentEntry& entry = segment_entry(region.segment);
  entry.extent_bytes = max(entry.extent_bytes, region.segment_offset + (region.end - region.begin));
  if (put_region(process, region, region.begin)) return;
  maps_forget(process, region.begin, region.end);
  leave_untraced(process, region);
}

// Would the kernel hold [begin, end) for one mapping, if what is traced in it were not hidden?
bool is_alike(uint64_t begin, uint64_t end) {
  Region first, next;
  if (!region_find(begin, &first)) return !region_overlaps(begin, end - begin);
  for (uint64_t at = first.end; at < end; at = next.end)
    if (!region_find(at, &next) || next.protection != first.protection) return false;
  return true;
}

// Does this kernel move several mappings in one call? Since Linux 6.17.
bool moves_several() {
  static uint32_t answer = 0;
  constexpr uint64_t kYes = 1, kNo = 2;
  if (answer) return answer == kYes;
  const int64_t at = sys(__NR_mmap, 0, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(at)) return false;
  sys(__NR_mprotect, at, kPage, PROT_READ);
  const bool moved = !failed(
      sys(__NR_mremap, at, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, at + 2 * kPage));
  sys(__NR_munmap, at, 4 * kPage);
  answer = moved ? kYes : kNo;
  return moved;
}

struct Remap {
  uint64_t from, old_bytes, bytes, flags;
  uint64_t kept() const { return old_bytes ? min(old_bytes, bytes) : min(bytes, kPage); }
  bool fixed() const { return flags & (MREMAP_FIXED | MREMAP_DONTUNMAP); }
};

// The kernel sees one hidden mapping where it would see several.
bool crosses_mappings(const Remap& call) {
  if (call.old_bytes > call.bytes && !call.fixed()) return false;  // it only unmaps
  if (is_alike(call.from, call.from + call.kept())) return false;
  const bool move_only = (call.flags & MREMAP_FIXED) && call.old_bytes == call.bytes;
  return !move_only || !moves_several();
}

// The program's mapping goes on at `to`, where the kernel has already put it.
void follow_move(const Process* process, const Remap& call, uint64_t to) {
  Region region;
  const uint64_t end = call.from + call.kept();
  for (uint64_t at = call.from; region_next(at, &region) && region.begin < end; at = region.end) {
    Region moved = region;
    const uint64_t begin = max(region.begin, call.from);
    moved.segment_offset += begin - region.begin;
    moved.begin = to + (begin - call.from);
    moved.end = to + (min(region.end, end) - call.from);
    if (region.end >= end) moved.end = to + call.bytes;  // it has grown
    put_moved(process, moved);
  }
}

}  // namespace

Answer do_mremap(Thread* thread, void*) {
  const Remap call = {arg(thread, 0), page_up(arg(thread, 1)), page_up(arg(thread, 2)),
                      arg(thread, 3)};
  const Process* process = thread->process;
  const bool aligned = call.from % kPage == 0 && call.bytes;
  if (aligned && in_agents_part(call.from, max(call.old_bytes, kPage)))
    return done(thread, -EFAULT);
  if (call.fixed() && in_agents_part(arg(thread, 4), call.bytes)) {
    if (aligned && (call.flags & MREMAP_FIXED)) return done(thread, -ENOMEM);
    thread->call.args[4] = 0;  // a wish
  }
  MapsLock lock;
  if (aligned) native_promote(thread, call.from, call.from + max(call.old_bytes, kPage));
  if (aligned) brake_unite(call.from, call.from + max(call.old_bytes, kPage), Braked::kWrites);
  const bool traced = aligned && region_overlaps(call.from, max(call.old_bytes, kPage));
  if (traced && crosses_mappings(call)) return done(thread, -EFAULT);
  const int64_t at = pass(thread);
  if (failed(at)) return done(thread, at);
  const uint64_t to = static_cast<uint64_t>(at);
  const bool stays = call.old_bytes == 0 || (call.flags & MREMAP_DONTUNMAP);
  if (to != call.from) {
    maps_forget(process, to, to + call.bytes);
    if (traced) follow_move(process, call, to);
    if (!stays) maps_forget(process, call.from, call.from + call.old_bytes);
  } else if (call.bytes > call.old_bytes && traced) {
    follow_move(process, call, to);
  } else if (call.bytes < call.old_bytes) {
    maps_forget(process, call.from + call.bytes, call.from + call.old_bytes);
  }
  maps_settle(thread);
  return done(thread, at);
}

// The kernel maps the pages anew, with the protection that it sees, and forgets MADV_DONTFORK. It
// unmaps them first: a removed segment that nobody else has attached is gone then, and there is
// nothing to map. The alias would keep it.
Answer do_remap_file_pages(Thread* thread, void*) {
  const uint64_t begin = page_down(arg(thread, 0)), bytes = page_down(arg(thread, 1));
  if (in_agents_part(begin, max(bytes, kPage))) return done(thread, -EINVAL);
  MapsLock lock;
  native_promote(thread, begin, begin + bytes);
  brake_unite(begin, begin + bytes, Braked::kWrites);
  Region region;
  const bool traced = bytes && region_find(begin, &region);
  if (traced && begin + bytes > begin && !is_alike(begin, begin + bytes))
    return done(thread, -EINVAL);
  const bool ends = traced && sysv_would_end(region, begin, begin + bytes);
  const int64_t result = pass(thread);
  if (failed(result) || !traced) return done(thread, result);
  if (ends) {
    unmap(thread, begin, begin + bytes);
    maps_settle(thread);
    return done(thread, -EINVAL);
  }
  region.begin = begin;
  region.end = begin + bytes;
  region.segment_offset = arg(thread, 3) * kPage;
  region.not_forked = 0;
  put_moved(thread->process, region);
  maps_settle(thread);
  return done(thread, result);
}

// ---- Start --------------------------------------------------------------------------------------

namespace {

struct Found {
  uint64_t begin, end, offset;
  uint32_t protection;
};
struct Adoption {
  Thread* thread;
  Found found[256];
  uint32_t count;
  bool adopt;
};

bool note_map(const MapLine& line, void* raw) {
  Adoption& adoption = *static_cast<Adoption*>(raw);
  if (line.begin - agent_base() < kZoneBytes) return true;
  if (line.executable && line.inode && !line.shared)
    module_add(adoption.thread->process, line.begin, line.end - line.begin, line.offset, line.inode,
               line.path);
  if (line.executable && line.writable) modules_written(line.begin, line.end);
  if (line.shared && adoption.adopt && adoption.count < 256)
    adoption.found[adoption.count++] = {line.begin, line.end, line.offset, protection_of(line)};
  return true;
}

}  // namespace

void maps_start(Thread* thread, bool adopt) {
  static Adoption adoption;
  adoption.thread = thread;
  adoption.adopt = adopt;
  if (!for_each_map(note_map, &adoption))
    coverage(thread->process, "no /proc: modules are not known");
  MapsLock lock;
  for (uint32_t i = 0; i < adoption.count; ++i) {
    const Found& found = adoption.found[i];
    SegmentIdentity identity;
    if (!identify_mapping(found.begin, &identity)) continue;
    // Devices have no content of their own; the kind of a path tells them apart well enough here.
    if (identity.kind == SegmentKind::kFile && memcmp(identity.name, "/dev/", 5) == 0) continue;
    maps_admit(thread, found.begin, found.end - found.begin, found.offset, found.protection,
               identity, identity.kind == SegmentKind::kSysV);
  }
}

namespace {

// What a forked child has of its parent's it maps itself.
void note_inherited(const Process* process) {
  native_for_each(
      [](const Region& piece, void* raw) {
        segment_inherited(static_cast<const Process*>(raw), piece.segment);
      },
      const_cast<Process*>(process));
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end)
    segment_inherited(process, region.segment);
}

}  // namespace

void maps_after_fork(const Process* process) {
  native_after_fork();
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end) {
    if (region.not_forked) {
      remove_regions(region.begin, region.end);
    } else if (region.executed) {
      region.executed = 0;
      region_update(
          region.begin, region.end, [](Region& piece, void*) { piece.executed = 0; }, nullptr);
      note_executable(process, region, region.begin, region.end);
    }
  }
  outdated = false;
  aliases_collect();
  note_inherited(process);
  brake_after_fork(process);
  locking_after_fork();
}

}  // namespace shmrec::agent
