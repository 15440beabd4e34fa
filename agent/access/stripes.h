// Stripes: the version words that give the accesses to each line an exact order over all processes,
// and what becomes of a stripe whose holder has died. Why that is an order is explained in
// stripes.cc; recording/log/shmlog_format.h describes the words.
//
// Invariants
//  1. A stripe is held only between stripe_lock and stripe_unlock, at most two by one thread, and
//     the lane names them before they are locked.
//  2. Whoever takes over a dead holder's stripe first settles what its record says of the line, so
//     that the record tells a reader whether the store happened.
// Threads: any; a thread uses its own lane.
#pragma once

#include "agent/log/log.h"
#include "agent/memory/regions.h"

namespace shmrec::agent {

inline uint32_t stripe_index(uint32_t segment, uint64_t offset) {
  return shmlog::stripe_of(segment, offset, log_header().stripes.count);
}
// All words, for who looks at many of them.
inline const uint64_t* stripe_words() { return log_area<uint64_t>(log_header().stripes); }
// Locks a stripe for this thread's lane in slot 0 or 1; returns the recorded version (stripe's +
// 1).
uint64_t stripe_lock(Thread* thread, int slot, uint32_t stripe);
// Releases it; `wrote`: with the next version.
void stripe_unlock(Thread* thread, int slot, bool wrote);
// The same for two neighbouring stripes, by one instruction for both. Can that be done of `stripe`
// and the one behind it?
bool stripes_pair(uint32_t stripe);
// REQUIRES: stripes_pair. In slots 0 and 1; `versions` gets both.
void stripes_lock_two(Thread* thread, uint32_t stripe, uint64_t versions[2]);
void stripes_unlock_two(Thread* thread, bool wrote);
// The word of an unlocked stripe, waiting (and taking over from dead holders) while it is locked.
uint64_t stripe_wait(Thread* thread, uint32_t stripe);
uint64_t stripe_peek(uint32_t stripe);
// Releases what the lane's thread held when it died, so that the lane can be used again.
// REQUIRES: the thread is dead and the lane is the caller's.
void stripes_recover(uint32_t lane);

}  // namespace shmrec::agent
