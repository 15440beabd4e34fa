// Calls that say or do something about a range of memory and leave the mappings as they are:
// madvise, mbind and mseal. The program's view of traced memory has no pages; its alias has.
#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/kernel/bounce.h"
#include "agent/kernel/descriptors.h"
#include "agent/memory/brake.h"
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

int64_t call_on(const Thread* thread, const Part& part) {
  const uint64_t* a = thread->call.args;
  return syscall6(static_cast<int64_t>(thread->call.number), part.address, part.end - part.begin,
                  a[2], a[3], a[4], a[5]);
}

// MADV_REMOVE empties the segment behind the pages: zeros, written by the kernel, which takes no
// stripes.
int64_t remove_pages(Thread* thread, const Part& part) {
  Region region;
  if (!part.traced || !region_find(part.begin, &region)) return call_on(thread, part);
  Transfer* zeros = descriptors_zeros_begin(thread, region.segment,
                                            region.segment_offset + (part.begin - region.begin),
                                            part.end - part.begin);
  const int64_t result = call_on(thread, part);
  if (zeros) descriptors_write_ends(thread, zeros, !failed(result));
  bounce_free(thread);
  return result;
}

// Calls the syscall for each part of [begin, end) up to the first error. `over_holes`: ENOMEM,
// which says that something is not mapped, is left for the end, as the kernel does it in some of
// these calls.
int64_t on_each_part(Thread* thread, uint64_t begin, uint64_t end, bool over_holes) {
  const bool advises = thread->call.number == __NR_madvise;
  const uint64_t advice = arg(thread, 2);
  int64_t hole = 0;
  for (uint64_t at = begin; at < end;) {
    const Part part = first_part(at, end);
    int64_t result = advises ? refused(part, advice) : 0;
    if (!failed(result))
      result =
          advises && advice == MADV_REMOVE ? remove_pages(thread, part) : call_on(thread, part);
    if (failed(result) && !(over_holes && result == -ENOMEM)) return result;
    if (failed(result)) hole = result;
    at = part.end;
  }
  return hole;
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

namespace {

int64_t advise(Thread* thread, uint64_t begin, uint64_t end) {
  const uint64_t advice = arg(thread, 2);
  const bool forks = advice == MADV_DONTFORK || advice == MADV_DOFORK;
  const bool of_view = forks || advice == MADV_DONTDUMP || advice == MADV_DODUMP;
  if (advice == MADV_REMOVE) {
    MapsLock lock;
    native_promote(thread, begin, end);
  }
  const int64_t result = of_view ? call_on(thread, {begin, end, begin, false})
                                 : on_each_part(thread, begin, end, true);
  if (!failed(result) && forks) note_fork_advice(begin, end, advice == MADV_DONTFORK);
  return result;
}

// As if nothing were mapped in the agent's parts that reach into [begin, end).
int64_t advise_around(Thread* thread, uint64_t begin, uint64_t end) {
  int64_t result = sys(__NR_madvise, begin, 0, arg(thread, 2));  // is there such an advice?
  for (uint64_t at = begin; at < end && (!failed(result) || result == -ENOMEM);) {
    AgentsPart part;
    if (!next_agents_part(at, end, &part)) part.begin = part.end = end;
    if (at < part.begin) result = advise(thread, at, part.begin);
    at = part.end;
  }
  return failed(result) ? result : -ENOMEM;
}

}  // namespace

Answer do_madvise(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  if (begin % kPage || end <= begin) return done(thread, pass(thread));
  if (in_agents_part(begin, end - begin)) return done(thread, advise_around(thread, begin, end));
  const bool concerned = region_overlaps(begin, end - begin) || native_overlaps(begin, end - begin);
  return done(thread, concerned ? advise(thread, begin, end) : pass(thread));
}

Answer do_mbind(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), end = begin + page_up(arg(thread, 1));
  const bool range = begin % kPage == 0 && end > begin;
  if (range && in_agents_part(begin, end - begin)) return done(thread, -EFAULT);
  const bool whole = range && region_overlaps(begin, end - begin);
  return done(thread, whole ? on_each_part(thread, begin, end, false) : pass(thread));
}

// The kernel judges the whole range before it seals any of it.
Answer do_mseal(Thread* thread, void*) {
  const uint64_t begin = arg(thread, 0), bytes = page_up(arg(thread, 1));
  const bool range = begin % kPage == 0 && begin + bytes > begin && !arg(thread, 2);
  if (range && in_agents_part(begin, bytes)) return done(thread, -ENOMEM);
  MapsLock lock;
  brake_unite(begin, begin + bytes, Braked::kNo);  // it can change no more
  return done(thread, pass(thread));
}

}  // namespace shmrec::agent
