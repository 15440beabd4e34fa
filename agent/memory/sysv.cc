// Shared memory of System V: attached by number, examined by shmctl.
#include <linux/mman.h>

#include "agent/log/log.h"
#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
#include "agent/memory/pointers.h"
#include "agent/memory/window.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint64_t kIpcStat = 2;

struct SysvStatus {  // struct shmid_ds
  int32_t key;
  uint32_t owners[4];
  uint32_t mode;
  uint8_t rest_of_permission[24];
  uint64_t bytes;
  int64_t times[3];
  int32_t creator, last;
  uint64_t attached;
  uint64_t unused[2];
};
static_assert(sizeof(SysvStatus) == 112);

// IPC_RMID: nobody finds the segment by its key any more.
Answer remove_sysv(Thread* thread) {
  SegmentIdentity identity;
  identify_sysv(&identity, arg(thread, 0), 0, 0);
  const uint32_t segment =
      segment_maybe(identity.device, identity.inode) ? segment_find(identity) : 0;
  const int64_t result = pass(thread);
  if (segment && !failed(result))
    segment_lives(thread->process, segment, SegmentEvent::kUnlinked, segment_entry(segment).name);
  return done(thread, result);
}

}  // namespace

// An alias counts as an attachment. Every recorded process has one for each of its own, so half of
// what the kernel counts are the program's.
Answer do_shmctl(Thread* thread, void* context) {
  constexpr uint64_t kShmStat = 13, kShmStatAny = 15;
  const uint64_t command = arg(thread, 1) & ~0x100ull;
  if (command == 0 /* IPC_RMID */) return remove_sysv(thread);
  if (command != kIpcStat && command != kShmStat && command != kShmStatAny)
    return kernel_access(thread, context);
  SysvStatus status;
  const int64_t result = sys(__NR_shmctl, arg(thread, 0), arg(thread, 1), &status);
  if (failed(result)) return done(thread, result);
  const uint64_t id = command == kIpcStat ? arg(thread, 0) : static_cast<uint64_t>(result);
  if (segment_traced_sysv(id, namespace_inode("/proc/self/ns/ipc")))
    status.attached = (status.attached + 1) / 2;
  const Origin origin = call_origin(thread);
  Fault fault;
  const bool ok = traced_write(thread, origin, arg(thread, 2), &status, sizeof status, &fault);
  return done(thread, ok ? result : -EFAULT);
}

bool sysv_would_end(const Region& region, uint64_t begin, uint64_t end) {
  constexpr uint32_t kRemoved = 01000;  // SHM_DEST
  const SegmentEntry& entry = segment_entry(region.segment);
  SysvStatus status;
  if (!region.sysv || entry.generation != namespace_inode("/proc/self/ns/ipc")) return false;
  if (failed(sys(__NR_shmctl, entry.inode, kIpcStat, &status))) return false;
  if (!(status.mode & kRemoved) || status.attached != 2) return false;
  // What is protected apart is one mapping for the kernel while it is hidden.
  Region other;
  for (uint64_t at = 0; region_next(at, &other); at = other.end)
    if (other.segment == region.segment && (other.begin < begin || other.end > end)) return false;
  return true;
}

namespace {

constexpr uint64_t kShmReadOnly = 010000, kShmRemap = 040000, kShmExecute = 0100000;

bool examine_sysv(uint64_t id, SegmentIdentity* identity, uint64_t* bytes) {
  SysvStatus status;
  if (failed(sys(__NR_shmctl, id, 2 /* IPC_STAT */, &status))) return false;
  *bytes = page_up(status.bytes);
  identify_sysv(identity, id, status.key, status.creator);
  return true;
}

// As map_over: what SHM_REMAP attaches replaces what is there.
int64_t attach_over(Thread* thread, const SegmentIdentity& identity, uint64_t bytes,
                    uint32_t protection) {
  const uint64_t address = arg(thread, 1), flags = arg(thread, 2);
  if (!(flags & kShmRemap) || !address || address % kPage) return 0;
  const int64_t staged = sys(__NR_shmat, arg(thread, 0), 0, flags & ~kShmRemap);
  if (failed(staged)) return 0;
  return maps_place(thread, address, static_cast<uint64_t>(staged), bytes, 0, protection, identity,
                    true);
}

// In the window, if the program leaves the choice to the kernel. An address is no hint here: what
// is taken already, or not aligned as huge pages must be, is refused, and the kernel chooses then.
int64_t attach(Thread* thread, uint64_t bytes) {
  uint64_t& address = thread->call.args[1];
  if (!address && bytes && !(arg(thread, 2) & kShmRemap) && (address = window_hint(bytes))) {
    const int64_t at = pass(thread);
    if (!failed(at)) return at;
    address = 0;
  }
  return pass(thread);
}

}  // namespace

Answer do_shmat(Thread* thread, void*) {
  const bool executes = arg(thread, 2) & kShmExecute;
  const uint32_t protection = (arg(thread, 2) & kShmReadOnly ? PROT_READ : PROT_READ | PROT_WRITE) |
                              (executes ? PROT_EXEC : 0);
  SegmentIdentity identity;
  uint64_t bytes = 0;
  MapsLock lock;
  const bool known = examine_sysv(arg(thread, 0), &identity, &bytes);
  if (arg(thread, 1) && in_agents_part(page_down(arg(thread, 1)), max(bytes, kPage)))
    return done(thread, -EINVAL);
  if (const int64_t placed =
          known && !executes ? attach_over(thread, identity, bytes, protection) : 0) {
    maps_settle(thread);
    return done(thread, placed);
  }
  const int64_t at = attach(thread, bytes);
  if (failed(at)) return done(thread, at);
  if (!known) {
    coverage(thread->process, "a SysV segment that may be attached but not examined is not traced");
    return done(thread, at);
  }
  const uint64_t address = static_cast<uint64_t>(at);
  maps_forget(thread->process, address, address + bytes);
  maps_settle(thread);
  if (const int64_t error = lock_new(address, bytes); failed(error)) {
    sys(__NR_shmdt, address);
    return done(thread, error);
  }
  const int64_t result = maps_admit(thread, address, bytes, 0, protection, identity, true);
  if (failed(result)) sys(__NR_shmdt, address);
  return done(thread, result);
}

// As the kernel finds them: parts of the segment at their place, whatever of it was unmapped,
// replaced or protected apart since it was attached.
Answer do_shmdt(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0);
  if (region_overlaps(begin, 1)) pointers_before_unmap(thread);
  MapsLock lock;
  const int64_t result = pass(thread);
  if (failed(result)) return done(thread, result);
  uint32_t segment = 0;
  Region region;
  for (uint64_t at = begin; region_next(at, &region); at = region.end) {
    if (region.begin < begin || !region.sysv || region.segment_offset != region.begin - begin)
      continue;
    if (segment && region.segment != segment) continue;
    segment = region.segment;
    maps_forget(thread->process, region.begin, region.end);
  }
  maps_settle(thread);
  return done(thread, result);
}

}  // namespace shmrec::agent
