// Calls that say or do something about a range of memory and leave the mappings as they are:
// madvise and mbind. The program's view of traced memory has no pages; its alias has.
#include <linux/mman.h>

#include "agent/kernel/bounce.h"
#include "agent/memory/maps.h"
#include "agent/memory/native.h"

namespace shmrec::agent {
namespace {

// A part of a range: its address for the kernel is the alias's if it is traced.
struct Part {
  uint64_t begin, end, address;
  bool traced;
};

Part first_part(uint64_t begin, uint64_t end) {
  Region region;
  if (!region_next(begin, &region) || region.begin >= end) return {begin, end, begin, false};
  if (region.begin > begin) return {begin, region.begin, begin, false};
  return {begin, min(end, region.end), region.alias + (begin - region.begin), true};
}

// What the alias allows and the program's mapping does not, the kernel refuses in the view: nothing
// can be accessed there, and the view is what is locked.
int64_t refused(const Part& part, uint64_t advice) {
  Region region;
  if (!part.traced || !region_find(part.begin, &region)) return 0;
  const bool reaches = advice == MADV_POPULATE_READ ? region.protection != PROT_NONE
                                                    : region.protection & PROT_WRITE;
  if ((advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) && !reaches)
    return sys(__NR_madvise, part.begin, part.end - part.begin, advice);
  const bool takes_pages = advice == MADV_DONTNEED || advice == MADV_FREE ||
                           advice == MADV_REMOVE || advice == MADV_COLD || advice == MADV_PAGEOUT;
  return takes_pages ? sys(__NR_madvise, part.begin, part.end - part.begin, MADV_DONTNEED) : 0;
}

// Calls the syscall for each part of [begin, end) up to the first error. `over_holes`: ENOMEM,
// which says that something is not mapped, is left for the end, as the kernel does it in some of
// these calls.
int64_t on_each_part(Thread* thread, uint64_t begin, uint64_t end, bool over_holes,
                     void (*succeeded)(Thread*, const Part&) = nullptr) {
  const uint64_t* a = thread->call.args;
  int64_t hole = 0;
  for (uint64_t at = begin; at < end;) {
    const Part part = first_part(at, end);
    const bool advises = thread->call.number == __NR_madvise;
    int64_t result = advises ? refused(part, a[2]) : 0;
    if (!failed(result))
      result = syscall6(static_cast<int64_t>(thread->call.number), part.address,
                        part.end - part.begin, a[2], a[3], a[4], a[5]);
    if (failed(result) && !(over_holes && result == -ENOMEM)) return result;
    if (failed(result))
      hole = result;
    else if (succeeded)
      succeeded(thread, part);
    at = part.end;
  }
  return hole;
}

// MADV_REMOVE has emptied the segment behind the pages: zeros, written by the kernel. To log them
// they are written once more, and the pages given back again.
void log_removal(Thread* thread, const Part& part) {
  if (!part.traced) return;
  memset(thread->bounce, 0, kPage);
  Fault fault;
  for (uint64_t at = part.begin; at < part.end; at += kPage)
    traced_write(thread, call_origin(thread), at, thread->bounce, kPage, &fault);
  sys(__NR_madvise, part.address, part.end - part.begin, MADV_REMOVE);
}

void note_fork_advice(uint64_t begin, uint64_t end, uint32_t not_forked) {
  MapsLock lock;
  region_update(
      begin, end, [](Region& piece, void* to) { piece.not_forked = *static_cast<uint32_t*>(to); },
      &not_forked);
  native_update(
      begin, end, [](Region& piece, void* to) { piece.not_forked = *static_cast<uint32_t*>(to); },
      &not_forked);
}

}  // namespace

Answer do_madvise(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  const uint64_t advice = arg(thread, 2);
  if (begin % kPage == 0 && end > begin && native_overlaps(begin, end - begin) &&
      (advice == MADV_DONTFORK || advice == MADV_DOFORK))
    note_fork_advice(begin, end, advice == MADV_DONTFORK);
  if (begin % kPage || end < begin || !region_overlaps(begin, end - begin))
    return done(thread, pass(thread));
  const bool forks = advice == MADV_DONTFORK || advice == MADV_DOFORK;
  const bool of_view = forks || advice == MADV_DONTDUMP || advice == MADV_DODUMP;
  const int64_t result = of_view ? pass(thread)
                                 : on_each_part(thread, begin, end, true,
                                                advice == MADV_REMOVE ? log_removal : nullptr);
  if (!failed(result) && forks) note_fork_advice(begin, end, advice == MADV_DONTFORK);
  return done(thread, result);
}

Answer do_mbind(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  const bool whole = begin % kPage == 0 && end > begin && region_overlaps(begin, end - begin);
  return done(thread, whole ? on_each_part(thread, begin, end, false) : pass(thread));
}

}  // namespace shmrec::agent
