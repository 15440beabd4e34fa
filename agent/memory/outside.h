// Where traced memory is that the program has placed outside of the window (window.h), as stubs
// find it out in a few instructions: how many of its pages are in each stretch of the address
// space.
//
// Example: a ring buffer of 64 KiB is mapped twice at 0x7f1234560000. A stretch is a page then, and
// 32 counters, from (0x7f1234560000 >> 12) % 65536 = 0x4560 on, are 1. An access at 0x7f1234567008
// meets counter 0x4567: it may be traced. One at 0x7f1234581000 meets 0: it is not.
//
// The counters begin again behind 65,536 stretches, so that memory that is not traced may meet one
// that is not 0: the region decides then (regions.h). For it to be seldom, stretches double as soon
// as the traced pages would be more than one in sixteen of the counters.
//
// It is a hint: an access that meets 0 though it is traced, because a mapping is being changed,
// faults.
//
// Threads: changes under regions_lock, lookups without a lock.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

constexpr uint32_t kOutsideCounters = 1 << 16;
struct Outside {
  uint64_t shift;                    // by how many bits an address is shifted: the stretch's number
  uint32_t pages[kOutsideCounters];  // by the lower 16 bits of that
};
extern Outside outside;

// [begin, end) is traced now, as far as it is outside of the window. False: stretches have doubled,
// and all that is traced is to be added again.
bool outside_add(uint64_t begin, uint64_t end);
// It is not any more.
void outside_remove(uint64_t begin, uint64_t end);

}  // namespace shmrec::agent
