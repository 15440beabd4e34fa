// Robust mutexes in traced memory. When a thread dies, the kernel walks its robust list and marks
// each mutex it held (FUTEX_OWNER_DIED); it cannot do so in traced memory, which is PROT_NONE to
// it. So:
//
//  - a thread that ends in order walks its list itself, first (robust_walk_at_exit);
//  - a thread that takes a robust mutex in traced memory notes it in its lane of the log before it
//    tries (robust_note_ahead), and strikes the note when it has not got it or gives it back
//    (robust_note_atomic): others find the note when the thread was killed;
//  - whoever comes upon a mutex whose noted owner is dead does what the kernel would have done
//    (robust_check_dead), also a waiter, which therefore never sleeps for long (futex.cc).
//
// That an atomic access takes or gives back a robust mutex is seen from the list's pending entry,
// which the program sets before it. A note says nothing by itself: the mutex is its owner's only
// while the word says so.
#pragma once

#include "agent/memory/regions.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// The thread is about to end: hands over the mutexes on its robust list that are in traced memory,
// and takes them off the list, so that the kernel finds the others.
void robust_walk_at_exit(Thread* thread);

// A 4-byte atomic access at `address` is about to be made. REQUIRES: the thread has its lane.
void robust_note_ahead(Thread* thread, const Region& region, uint64_t address);
// It replaced old_value by new_value.
void robust_note_atomic(Thread* thread, const Region& region, uint64_t address, uint32_t old_value,
                        uint32_t new_value);

// If the word at `address` is a robust mutex whose owner is dead, marks it so and wakes a waiter:
// true. REQUIRES: no stripe is held. Cheap unless Header::robust_held.
bool robust_check_dead(Thread* thread, const Region& region, uint64_t address);

// Is a mutex in [begin, end) on the thread's list, or pending? The thread may be changing it.
bool robust_holds(const Thread* thread, uint64_t begin, uint64_t end);

// Could the owner of the mutex at `address`, whose word is `value`, die without a wake-up?
bool robust_owner_may_die(Thread* thread, const Region& region, uint64_t address, uint32_t value);

}  // namespace shmrec::agent
