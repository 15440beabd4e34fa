// Where the bytes of traced segments are for the agent itself: hidden second mappings.
//
// A process may map one segment ten thousand times, or protect every second page of it; the kernel
// counts mappings, and stops at vm.max_map_count. So aliases are shared: all regions of the same
// bytes have one alias, and aliases of one segment lie as far apart as their bytes in the segment,
// so that neighbours become one mapping for the kernel.
//
//     program        [page 3 rw] [page 3 r] [page 4 r] ...      [page 9 rw]
//     alias          base + 3 ---------------+ 4               base + 9
//
// Invariants
//  1. An alias is readable, and writable if the program could make its mapping so; what the program
//     may do at the moment is in its regions. Those that could be made writable and those that
//     could not have aliases apart: a writable mapping has effects of its own (F_SEAL_WRITE).
//  2. An alias is mapped as long as a region uses a byte of it, and until aliases_collect after
//     that.
//  3. A SysV segment's mappings have an alias each: the kernel counts attachments (do_shmctl).
//
// Threads: all under regions_lock.
#pragma once

#include "agent/memory/regions.h"

namespace shmrec::agent {

// Finds or makes the alias of region.begin and sets region->alias. `view` is a mapping of the same
// bytes, of any protection. False: there is no room.
bool alias_use(Region* region, uint64_t view);
// What a region used is no longer used by it.
void alias_unuse(const Region& piece);
// Unmaps what is not used by any region. REQUIRES: no access uses it (regions_settle).
void aliases_collect();
// Is any byte of the segment traced here?
bool alias_of(uint32_t segment);
// Could the mapping of shared memory at `view` be given this protection? 0 or -errno.
int64_t could_be(uint64_t view, uint64_t bytes, uint32_t protection);

}  // namespace shmrec::agent
