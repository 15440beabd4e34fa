// The syscall instructions of the program that trap, and when they are patched.
//
// A patch costs as much as some twenty traps (20 us against 1.1 us), and in a process with several
// threads interrupts them; most instructions of a program's start make a call or two. So a site
// traps sixteen times first, and of a process as many as take the time in which its code is looked
// through for gs (patch_call).
//
// Threads: any, without a lock. What is counted wrong in a race is only when a site is patched.
// Invariant: a site has one place in the table, or by a race two.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// The instruction at `ip` has trapped to make this call. REQUIRES: no lock is held.
void patch_call_if_due(Thread* thread, uint64_t ip, uint64_t number);
// It has been put back; what is behind it was jumped to again and again.
void call_site_undone(uint64_t ip);
void call_site_strayed(uint64_t ip);
// The code in [begin, end) is gone.
void call_sites_forget(uint64_t begin, uint64_t end);

}  // namespace shmrec::agent
