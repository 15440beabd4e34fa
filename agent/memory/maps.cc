#include "agent/memory/maps.h"

#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/memory/identity.h"
#include "agent/sites/table.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kMaxModules = 1024;

// Executable file mappings, to know when one goes.
struct Module {
  uint64_t begin, end;
} modules[kMaxModules];
uint32_t module_count = 0;
uint64_t alias_next = kAliasOffset;  // from the base

// ---- Modules ------------------------------------------------------------------------------------

void module_add(const Process* process, uint64_t begin, uint64_t bytes, uint64_t offset,
                uint64_t inode, const char* path) {
  if (!path[0] || module_count == kMaxModules) return;
  modules[module_count++] = {begin, begin + bytes};
  JournalValues values;
  values.a = begin;
  values.b = bytes;
  values.c = offset;
  values.d = inode;
  values.text = path;
  journal(process, JournalType::kModule, values);
}

bool modules_forget(uint64_t begin, uint64_t end) {
  bool any = false;
  for (uint32_t i = 0; i < module_count;) {
    if (modules[i].begin < end && modules[i].end > begin) {
      modules[i] = modules[--module_count];
      any = true;
    } else {
      ++i;
    }
  }
  return any;
}

// ---- Regions ------------------------------------------------------------------------------------

void drop_alias(const Region& piece, void* any) {
  sys(__NR_munmap, piece.alias, piece.end - piece.begin);
  *static_cast<bool*>(any) = true;
}

// [begin, end) means something else from now on. REQUIRES: regions_lock held.
void forget(const Process* process, uint64_t begin, uint64_t end) {
  sites_forget(begin, end);
  bool any = modules_forget(begin, end);
  region_remove(begin, end, drop_alias, &any);
  if (!any) return;
  JournalValues values;
  values.a = begin;
  values.b = end - begin;
  journal(process, JournalType::kUnmap, values);
}

// Says once what is not seen of memory that may be executed. REQUIRES: regions_lock held.
void note_executable(const Process* process, const Region& region, uint64_t begin, uint64_t end) {
  if (!(region.protection & PROT_EXEC) || region.executed) return;
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

// A second mapping of the shared memory at `address`; 0 if there is no room.
uint64_t make_alias(uint64_t address, uint64_t bytes) {
  const uint64_t at = fetch_add(&alias_next, bytes + kPage);
  const bool fits = at + bytes < kZoneBytes;
  const int64_t alias =
      sys(__NR_mremap, address, 0, bytes, fits ? MREMAP_MAYMOVE | MREMAP_FIXED : MREMAP_MAYMOVE,
          fits ? agent_base() + at : 0);
  return failed(alias) ? 0 : static_cast<uint64_t>(alias);
}

// Hides the shared mapping at region.begin behind an alias. The mapping has its own protection (or
// that of the region's, if it was hidden before). REQUIRES: regions_lock held.
bool trace(const Process* process, Region region) {
  const uint64_t bytes = region.end - region.begin;
  region.alias = make_alias(region.begin, bytes);
  if (!region.alias) return false;
  sys(__NR_mprotect, region.alias, bytes, alias_protection(region.protection));
  if (region.not_forked) sys(__NR_madvise, region.alias, bytes, MADV_DONTFORK);
  if (!region_insert(region) ||
      failed(sys(__NR_mprotect, region.begin, bytes, view_of(region.protection)))) {
    region_remove(region.begin, region.end, nullptr, nullptr);
    sys(__NR_munmap, region.alias, bytes);
    return false;
  }
  JournalValues values;
  values.segment = region.segment;
  values.a = region.begin;
  values.b = bytes;
  values.c = region.segment_offset;
  values.d = region.protection;
  journal(process, JournalType::kSegmentMap, values);
  note_executable(process, region, region.begin, region.end);
  return true;
}

void say_untraced(const Process* process, const char* why, const SegmentIdentity& identity) {
  TextBuffer<320> text;
  text.add(why).add(": ").add(identity.name[0] ? identity.name : "(no name)");
  JournalValues values;
  values.text = text.data;
  journal(process, JournalType::kCoverage, values);
}

// What to do with a mapping that was just made with its own protection: the result of the syscall.
int64_t admit(Thread* thread, uint64_t address, uint64_t bytes, uint64_t offset,
              uint32_t protection, const SegmentIdentity& identity, bool sysv) {
  Process* process = thread->process;
  const uint32_t segment = segment_enter(process, identity, offset + bytes);
  const SegmentMode mode =
      segment ? static_cast<SegmentMode>(segment_entry(segment).mode) : SegmentMode::kIgnore;
  if (mode == SegmentMode::kDeny) {
    say_untraced(process, "denied by the policy", identity);
    return -EACCES;
  }
  if (mode != SegmentMode::kTrace) {
    say_untraced(process, "not traced: ignored by the policy", identity);
    return static_cast<int64_t>(address);
  }
  Region region = {};
  region.begin = address;
  region.end = address + bytes;
  region.segment_offset = offset;
  region.segment = segment;
  region.protection = protection;
  region.relaxed = segment_entry(segment).order == static_cast<uint32_t>(Order::kRelaxed);
  region.sysv = sysv;
  if (!trace(process, region)) say_untraced(process, "not traced: no room for an alias", identity);
  return static_cast<int64_t>(address);
}

// The agent's part of the address space is taken, also where nothing is mapped. A program that was
// put there, because it named a free address, could not map anything at a fixed one near it.
bool in_agents_part(uint64_t address, uint64_t bytes) {
  return address < agent_base() + kZoneBytes && address + bytes > agent_base();
}

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
  Locked lock(regions_lock);
  const int64_t at = pass(thread);
  if (failed(at)) return done(thread, at);
  const uint64_t address = static_cast<uint64_t>(at);
  forget(thread->process, address, address + bytes);
  if ((protection & PROT_EXEC) && !anonymous)
    journal_module(thread->process, address, bytes, fd, arg(thread, 5));
  if (!is_shared(flags)) return done(thread, at);
  SegmentIdentity identity;
  const bool known =
      anonymous ? identify_mapping(address, &identity) : identify_descriptor(fd, &identity);
  if (!known) {
    coverage(thread->process,
             "a shared mapping of a device, or of what may not be examined, is not traced");
    return done(thread, at);
  }
  if (flags & MAP_HUGETLB) {
    say_untraced(thread->process, "not traced: huge pages", identity);
    return done(thread, at);
  }
  const int64_t result =
      admit(thread, address, bytes, anonymous ? 0 : arg(thread, 5), protection, identity, false);
  if (failed(result)) sys(__NR_munmap, address, bytes);
  return done(thread, result);
}

Answer do_munmap(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  Locked lock(regions_lock);
  const int64_t result = pass(thread);
  if (!failed(result)) forget(thread->process, begin, end);
  return done(thread, result);
}

namespace {

// Both mappings of a part of the region get what the program asks for, or neither.
int64_t protect_region(Thread* thread, Region region, uint64_t begin, uint64_t end,
                       uint32_t protection) {
  const uint64_t alias = region.alias + (begin - region.begin), bytes = end - begin;
  int64_t result = sys(__NR_mprotect, alias, bytes, alias_protection(protection));
  if (failed(result)) return result;
  if (view_of(protection) != view_of(region.protection))
    result = sys(__NR_mprotect, begin, bytes, view_of(protection));
  if (failed(result)) {
    sys(__NR_mprotect, alias, bytes, alias_protection(region.protection));
    return result;
  }
  region_update(
      begin, end, [](Region& piece, void* to) { piece.protection = *static_cast<uint32_t*>(to); },
      &protection);
  region.protection = protection;
  note_executable(thread->process, region, begin, end);
  JournalValues values;
  values.segment = region.segment;
  values.a = begin, values.b = bytes, values.d = protection;
  journal(thread->process, JournalType::kProtect, values);
  return 0;
}

}  // namespace

Answer do_mprotect(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  const uint32_t protection = static_cast<uint32_t>(arg(thread, 2));
  if (begin % kPage || end < begin || !region_overlaps(begin, end - begin))
    return done(thread, pass(thread));
  Locked lock(regions_lock);
  int64_t result = 0;
  for (uint64_t at = begin; at < end && !failed(result);) {
    Region region;
    if (!region_next(at, &region) || region.begin >= end) {
      result = sys(__NR_mprotect, at, end - at, protection);
      break;
    }
    if (region.begin > at) result = sys(__NR_mprotect, at, region.begin - at, protection);
    at = max(at, region.begin);
    if (failed(result)) break;
    const uint64_t stop = min(end, region.end);
    result = protect_region(thread, region, at, stop, protection);
    at = stop;
  }
  return done(thread, result);
}

Answer do_mremap(Thread* thread, void*) {
  const uint64_t from = arg(thread, 0), old_bytes = page_up(arg(thread, 1)),
                 bytes = page_up(arg(thread, 2));
  const uint64_t flags = arg(thread, 3);
  Locked lock(regions_lock);
  Region region;
  const bool traced = region_find(from, &region);
  const int64_t at = pass(thread);
  if (failed(at)) return done(thread, at);
  const uint64_t to = static_cast<uint64_t>(at);
  const Process* process = thread->process;
  if (!traced) {
    if (to != from) forget(process, to, to + bytes);
    if (to != from && old_bytes && !(flags & MREMAP_DONTUNMAP))
      forget(process, from, from + old_bytes);
    return done(thread, at);
  }
  region.segment_offset += from - region.begin;
  region.begin = to;
  region.end = to + bytes;
  if (old_bytes && !(flags & MREMAP_DONTUNMAP)) forget(process, from, from + old_bytes);
  forget(process, to, to + bytes);
  SegmentEntry& entry = segment_entry(region.segment);
  entry.extent_bytes = max(entry.extent_bytes, region.segment_offset + bytes);
  if (!trace(process, region)) {
    sys(__NR_mprotect, to, bytes, region.protection);
    coverage(process, "a remapped segment is no longer traced: no room for an alias");
  }
  return done(thread, at);
}

// The kernel maps the pages anew, with the protection that it sees, and forgets MADV_DONTFORK.
Answer do_remap_file_pages(Thread* thread, void*) {
  const uint64_t begin = page_down(arg(thread, 0)), bytes = page_down(arg(thread, 1));
  Locked lock(regions_lock);
  Region region;
  const bool traced = region_find(begin, &region);
  const int64_t result = pass(thread);
  if (failed(result) || !traced || !bytes) return done(thread, result);
  forget(thread->process, begin, begin + bytes);
  region.begin = begin;
  region.end = begin + bytes;
  region.segment_offset = arg(thread, 3) * kPage;
  region.not_forked = 0;
  SegmentEntry& entry = segment_entry(region.segment);
  entry.extent_bytes = max(entry.extent_bytes, region.segment_offset + bytes);
  if (!trace(thread->process, region)) {
    sys(__NR_mprotect, begin, bytes, region.protection);
    coverage(thread->process, "a remapped segment is no longer traced: no room for an alias");
  }
  return done(thread, result);
}

// ---- SysV ---------------------------------------------------------------------------------------

namespace {

struct SysvStatus {  // struct shmid_ds
  int32_t key;
  uint8_t permission[44];
  uint64_t bytes;
  int64_t times[3];
  int32_t creator, last;
  uint64_t attached;
  uint64_t unused[2];
};
static_assert(sizeof(SysvStatus) == 112);

bool traced_sysv(uint64_t id) {
  const Header& header = log_header();
  const SegmentEntry* entries = log_area<SegmentEntry>(header.segments);
  const uint64_t ipc_namespace = namespace_inode("/proc/self/ns/ipc");
  for (uint32_t i = min(load(&header.next_segment), header.segments.count); i-- > 1;)
    if (entries[i].kind == static_cast<uint32_t>(SegmentKind::kSysV) && entries[i].inode == id &&
        entries[i].generation == ipc_namespace)
      return entries[i].mode == static_cast<uint32_t>(SegmentMode::kTrace);
  return false;
}

}  // namespace

// An alias counts as an attachment. Every recorded process has one for each of its own, so half of
// what the kernel counts are the program's.
Answer do_shmctl(Thread* thread, void* context) {
  constexpr uint64_t kIpcStat = 2, kShmStat = 13, kShmStatAny = 15;
  const uint64_t command = arg(thread, 1) & ~0x100ull;
  if (command != kIpcStat && command != kShmStat && command != kShmStatAny)
    return kernel_access(thread, context);
  SysvStatus status;
  const int64_t result = sys(__NR_shmctl, arg(thread, 0), arg(thread, 1), &status);
  if (failed(result)) return done(thread, result);
  if (traced_sysv(command == kIpcStat ? arg(thread, 0) : static_cast<uint64_t>(result)))
    status.attached = (status.attached + 1) / 2;
  const Origin origin = call_origin(thread);
  Fault fault;
  const bool ok = traced_write(thread, origin, arg(thread, 2), &status, sizeof status, &fault);
  return done(thread, ok ? result : -EFAULT);
}

Answer do_shmat(Thread* thread, void*) {
  SysvStatus status;
  constexpr uint64_t kReadOnly = 010000, kExecute = 0100000;
  Locked lock(regions_lock);
  const int64_t at = pass(thread);
  if (failed(at)) return done(thread, at);
  const uint64_t address = static_cast<uint64_t>(at);
  SegmentIdentity identity;
  if (failed(sys(__NR_shmctl, arg(thread, 0), 2 /* IPC_STAT */, &status))) {
    coverage(thread->process, "a SysV segment that may be attached but not examined is not traced");
    return done(thread, at);
  }
  const uint64_t bytes = page_up(status.bytes);
  forget(thread->process, address, address + bytes);
  identify_sysv(&identity, arg(thread, 0), status.key);
  const uint32_t protection = (arg(thread, 2) & kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE) |
                              (arg(thread, 2) & kExecute ? PROT_EXEC : 0);
  const int64_t result = admit(thread, address, bytes, 0, protection, identity, true);
  if (failed(result)) sys(__NR_shmdt, address);
  return done(thread, result);
}

Answer do_shmdt(Thread* thread, void*) {
  Locked lock(regions_lock);
  const uint64_t begin = arg(thread, 0);
  Region region;
  const bool traced = region_find(begin, &region) && region.begin == begin && region.sysv;
  const int64_t result = pass(thread);
  if (failed(result) || !traced) return done(thread, result);
  // The segment may lie in several regions (mprotect); all of it is detached.
  uint64_t end = region.end;
  for (Region next; region_find(end, &next) && next.segment == region.segment &&
                    next.segment_offset == region.segment_offset + (end - begin);)
    end = next.end;
  forget(thread->process, begin, end);
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
  if (line.shared && adoption.adopt && adoption.count < 256)
    adoption.found[adoption.count++] = {line.begin, line.end, line.offset,
                                        (line.readable ? PROT_READ : 0u) |
                                            (line.writable ? PROT_WRITE : 0u) |
                                            (line.executable ? PROT_EXEC : 0u)};
  return true;
}

}  // namespace

void maps_start(Thread* thread, bool adopt) {
  static Adoption adoption;
  adoption.thread = thread;
  adoption.adopt = adopt;
  if (!for_each_map(note_map, &adoption))
    coverage(thread->process, "no /proc: modules are not known");
  Locked lock(regions_lock);
  for (uint32_t i = 0; i < adoption.count; ++i) {
    const Found& found = adoption.found[i];
    SegmentIdentity identity;
    if (!identify_mapping(found.begin, &identity)) continue;
    // Devices have no content of their own; the kind of a path tells them apart well enough here.
    if (identity.kind == SegmentKind::kFile && memcmp(identity.name, "/dev/", 5) == 0) continue;
    admit(thread, found.begin, found.end - found.begin, found.offset, found.protection, identity,
          identity.kind == SegmentKind::kSysV);
  }
}

void maps_after_fork(const Process* process) {
  for (uint64_t at = 0;;) {
    Region region;
    if (!region_next(at, &region)) return;
    if (region.not_forked) {
      region_remove(region.begin, region.end, nullptr, nullptr);
    } else {
      region.executed = 0;
      region_update(
          region.begin, region.end,
          [](Region& piece, void*) {
            piece.usage = nullptr;
            piece.executed = 0;
          },
          nullptr);
      note_executable(process, region, region.begin, region.end);
    }
    at = region.end;
  }
}

}  // namespace shmrec::agent
