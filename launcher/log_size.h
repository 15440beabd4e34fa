// How large the log of a run may be where it is to lie, so that the program has the memory and the
// disk that it has alone.
//
// Invariants
//  1. A log in memory takes at most an eighth of what is free (base/memory_room.h); the smallest
//     log that is of use may take a quarter. On a disk the kernel writes the pages out, and memory
//     sets no limit.
//  2. At most half of what the spool's file system has free, in memory or not: the bundle, and what
//     the program keeps there, have to fit too.
//  3. Never more than was wished, and nothing at all rather than less than the smallest log.
// Units: bytes.
#pragma once

#include <string>

#include "base/memory_room.h"

namespace shmrec::launcher {

struct LogSize {
  uint64_t bytes = 0;                // 0: there is no room for a log of any use
  uint64_t kept_bytes = UINT64_MAX;  // what copies of binaries may take beside it
  std::string why;                   // why it is less than was wished; "": it is not
};

LogSize choose_log_size(uint64_t wished_bytes, const DiskRoom& spool, const MemoryRoom& memory);
// The same for a directory. Memory, which takes a dozen files to know, is looked at only where it
// counts.
LogSize choose_log_size(uint64_t wished_bytes, const std::string& spool);

// "the log has 13MiB of the 256MiB that the policy allows: ...", "the log has 256MiB". Of no size:
// why there is no log.
std::string describe(const LogSize& size, uint64_t wished_bytes);

}  // namespace shmrec::launcher
