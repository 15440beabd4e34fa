// mlock, mlockall and their kin: as if the agent's memory were not there.
//
// What the program locks is locked in its own view, which is what the kernel counts against
// RLIMIT_MEMLOCK. A traced view has no pages of its own: it is marked as locked (MLOCK_ONFAULT),
// and the pages are brought in through the alias, which is not locked. The kernel's mlockall would
// lock the agent's memory too, hundreds of megabytes, and count it; so it is made of a lock for
// each of the program's mappings, and MCL_FUTURE of one with each mapping that comes.
#include <linux/mman.h>
#include <linux/resource.h>

#include "agent/memory/identity.h"
#include "agent/memory/maps.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kOnFault = 1;                                 // MLOCK_ONFAULT
constexpr uint64_t kCurrent = 1, kFuture = 2, kFaultedOnly = 4;  // MCL_*

uint32_t locked_future = 0;  // kFuture and kFaultedOnly, as the program has asked

int64_t mark_locked(uint64_t begin, uint64_t bytes) {
  return sys(__NR_mlock2, begin, bytes, kOnFault);
}

// Brings in the pages behind a traced range, as the kernel does when it locks.
int64_t bring_in(const Region& region, uint64_t begin, uint64_t end) {
  if (region.protection == PROT_NONE) return -ENOMEM;
  const int64_t result =
      sys(__NR_madvise, region.alias + (begin - region.begin), end - begin, MADV_POPULATE_READ);
  return result == -EFAULT ? -ENOMEM : result == -ENOMEM ? -EAGAIN : 0;
}

// What is marked already gets its pages, up to the first part that cannot.
int64_t bring_in_all(uint64_t begin, uint64_t end) {
  int64_t result = 0;
  for (uint64_t at = begin, stop; at < end && !failed(result); at = stop) {
    Region region;
    const bool found = region_next(at, &region) && region.begin < end;
    const bool traced = found && region.begin <= at;
    stop = traced ? min(end, region.end) : found ? region.begin : end;
    result = traced ? bring_in(region, at, stop) : sys(__NR_mlock, at, stop - at);
  }
  return result;
}

// ---- mlockall -----------------------------------------------------------------------------------

struct Sum {
  uint64_t bytes;
  bool lock, wait_for_faults;
};

bool is_programs(const MapLine& line) {
  return !in_agents_part(line.begin, 1) && line.begin < uint64_t{1} << 63;  // not the vsyscall page
}

bool visit_mapping(const MapLine& line, void* raw) {
  Sum& sum = *static_cast<Sum*>(raw);
  if (!is_programs(line)) return true;
  sum.bytes += line.end - line.begin;
  if (!sum.lock) return true;
  mark_locked(line.begin, line.end - line.begin);
  if (!sum.wait_for_faults) bring_in_all(line.begin, line.end);
  return true;
}

uint64_t lock_limit() {
  struct {
    uint64_t soft, hard;
  } limit = {};
  return failed(sys(__NR_prlimit64, 0, RLIMIT_MEMLOCK, 0, &limit)) ? ~0ull : limit.soft;
}

// Does the limit not hold for this process? Tried with memory that has no pages.
bool above_limit(uint64_t limit) {
  const uint64_t bytes = page_up(limit) + kPage;
  if (bytes < limit) return true;
  const int64_t at =
      sys(__NR_mmap, 0, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (failed(at)) return false;
  const bool may = !failed(mark_locked(static_cast<uint64_t>(at), bytes));
  sys(__NR_munmap, at, bytes);
  return may;
}

int64_t lock_current(bool wait_for_faults) {
  Sum sum = {};
  if (!for_each_map(visit_mapping, &sum)) return -ENOENT;
  const uint64_t limit = lock_limit();
  if (sum.bytes > limit && !above_limit(limit)) return -ENOMEM;
  sum.lock = true;
  sum.wait_for_faults = wait_for_faults;
  for_each_map(visit_mapping, &sum);
  return 0;
}

}  // namespace

// The kernel judges the whole range before it locks any of it, and counts the views.
Answer do_mlock(Thread* thread, void*) {
  const uint64_t begin = page_down(arg(thread, 0)), end = page_up(arg(thread, 0) + arg(thread, 1));
  AgentsPart part;
  if (arg(thread, 1) && end > begin && next_agents_part(begin, end, &part)) {
    // Nothing is mapped there: what lies before is done, the rest is not.
    if (begin >= part.begin) return done(thread, -ENOMEM);
    thread->call.args[1] = part.begin - arg(thread, 0);
    const int64_t result = sys(static_cast<int64_t>(thread->call.number), arg(thread, 0),
                               arg(thread, 1), arg(thread, 2));
    return done(thread, failed(result) ? result : -ENOMEM);
  }
  const bool brings_in = thread->call.number == __NR_mlock ||
                         (thread->call.number == __NR_mlock2 && arg(thread, 2) == 0);
  if (!brings_in || !arg(thread, 1) || end <= begin || !region_overlaps(begin, end - begin))
    return done(thread, pass(thread));
  const int64_t result = mark_locked(arg(thread, 0), arg(thread, 1));
  return done(thread, failed(result) ? result : bring_in_all(begin, end));
}

Answer do_mlockall(Thread* thread, void*) {
  const uint64_t flags = static_cast<uint32_t>(arg(thread, 0));
  const bool known =
      flags && !(flags & ~(kCurrent | kFuture | kFaultedOnly)) && flags != kFaultedOnly;
  if (!known) return done(thread, -EINVAL);
  if (const int64_t error = sys(__NR_mlock, 0, 0); failed(error)) return done(thread, error);
  MapsLock lock;
  if (flags & kCurrent) {
    const int64_t result = lock_current(flags & kFaultedOnly);
    if (result == -ENOENT)
      coverage(thread->process, "mlockall without /proc: nothing is locked");
    else if (failed(result))
      return done(thread, result);
  }
  store(&locked_future, static_cast<uint32_t>(flags & kFuture ? flags & ~kCurrent : 0));
  return done(thread, 0);
}

Answer do_munlockall(Thread* thread, void*) {
  store(&locked_future, 0u);
  return done(thread, pass(thread));
}

// The heap grows by the kernel's own hand.
Answer do_brk(Thread* thread, void*) {
  if (!load(&locked_future)) return done(thread, pass(thread));
  MapsLock lock;
  const int64_t before = sys(__NR_brk, 0), after = pass(thread);
  if (after <= before || !failed(lock_new(static_cast<uint64_t>(before), after - before)))
    return done(thread, after);
  return done(thread, sys(__NR_brk, before));
}

bool locks_new() { return load(&locked_future); }

int64_t lock_new(uint64_t begin, uint64_t bytes) {
  if (!locks_new()) return 0;
  if (failed(mark_locked(begin, bytes))) return -EAGAIN;
  if (!(locked_future & kFaultedOnly)) bring_in_all(page_down(begin), page_up(begin + bytes));
  return 0;
}

void locking_after_fork() { locked_future = 0; }

}  // namespace shmrec::agent
