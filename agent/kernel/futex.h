// Futexes in traced memory. The kernel gets the word's address in the alias, which stands for the
// same memory: waiters and wakers meet whether they are recorded or not. The accesses that the
// kernel makes to the word are logged as those of the syscall: the comparison before a wait as a
// read; WAKE_OP and the priority-inheriting operations as atomic ones.
//
// Threads: the calling one. One that waits for a robust mutex sleeps in slices, so that it notices
// an owner that was killed (robust.h).
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

// futex, futex_waitv, futex_wake, futex_wait, futex_requeue.
Answer do_futex(Thread* thread, void* context);

}  // namespace shmrec::agent
