// The C libraries of the program, and where in them the routines are that are performed as a whole
// (access/routines.h).
//
// glibc has several of each routine, for different processors, under names that it does not export.
// Which one the program runs is what its loader has resolved the exported name to (STT_GNU_IFUNC):
// the library itself calls it through a slot, whose relocation names the same resolver as the
// exported symbol. So it is found by reading alone. In musl the symbol is the routine.
//
// A routine is patched when one of its own instructions has met traced memory twice: programs that
// do not share what they copy pay nothing.
//
// Trust: what is read is the program's; an entry is taken only if it lies in the library's code.
// Threads: under regions_lock.
#pragma once

#include "agent/sites/site.h"

namespace shmrec::agent {

// The instruction at `ip` has touched traced memory again: patches the routine that it is part of,
// if it is of one. `outside`: outside of the window. REQUIRES: no lock is held.
void libraries_patch(Thread* thread, uint64_t ip, bool outside);
// [begin, end) is gone. REQUIRES: regions_lock held.
void libraries_forget(uint64_t begin, uint64_t end);

}  // namespace shmrec::agent
