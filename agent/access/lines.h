// What lies in several lines, with a version for each: the long accesses of access.h.
//
// A line's version and value belong together as if it were read or written alone; nothing more is
// promised of a range, which no instruction accesses as one either. So a range is read by one copy
// between two looks at its stripes, and the lines that were written meanwhile are read again.
//
// Threads: the calling one, within a RegionUse. Units: bytes; addresses and faults are the alias's.
#pragma once

#include "agent/memory/regions.h"

namespace shmrec::agent {

// The bytes at an address of the alias of `region`, and where they are in the segment.
struct Bytes {
  uint64_t alias, offset, count;
};

// REQUIRES for both: the bytes lie in one page, or are no more than a line's. `versions` has room
// for each line. False: faulted.
bool lines_read(Thread* thread, const Region& region, const Bytes& bytes, uint8_t* to,
                uint64_t* versions, Fault* fault);
bool lines_write(Thread* thread, const Region& region, const Bytes& bytes, const uint8_t* from,
                 uint64_t* versions, Fault* fault);

// safe_copy, quicker where much is copied.
bool range_copy(void* to, const void* from, uint64_t bytes, Fault* fault);

}  // namespace shmrec::agent
