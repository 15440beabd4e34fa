// Stripes: the version words that give the accesses to each line an exact order over all processes,
// and what becomes of a stripe whose holder has died. Why that is an order is explained in
// stripes.cc; recording/log/shmlog_format.h describes the words.
//
// Invariants
//  1. A stripe is held only between stripe_lock and stripe_unlock, or those of StripePairs, at most
//     two by one thread, and the lane names them before they are locked.
//  2. Whoever takes over a dead holder's stripe first settles what its record says of the line, so
//     that the record tells a reader whether the store happened.
// Threads: any; a thread uses its own lane.
#pragma once

#include "agent/arch/x86_64/processor.h"
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
// The word of an unlocked stripe, waiting (and taking over from dead holders) while it is locked.
uint64_t stripe_wait(Thread* thread, uint32_t stripe);
uint64_t stripe_peek(uint32_t stripe);

// Locks pairs of neighbouring stripes, one after the other, each by one instruction for both: for
// who writes many lines, since what is the same for all pairs is looked up once. The lane names the
// last of them until the end.
class StripePairs {
 public:
  explicit StripePairs(Thread* thread)
      : thread_(thread),
        words_(log_area<uint64_t>(log_header().stripes)),
        possible_(has_wide_exchange() && log_header().stripes.count > 1 &&
                  reinterpret_cast<uint64_t>(words_) % sizeof(Two) == 0) {
    if (!thread->lane) lane_take(thread);
    locks_ = shmlog::stripe_word_locked(0, thread->lane);
    held_ = thread->lane_entry ? thread->lane_entry->held : thread->stripe;
  }
  ~StripePairs() { name(0, 0); }
  StripePairs(const StripePairs&) = delete;

  // Are `stripe` and the one behind it a pair?
  bool has(uint32_t stripe) const { return possible_ && stripe % 2 == 0; }
  // REQUIRES: has(stripe). `versions` gets both, once they are locked.
  void lock(uint32_t stripe, uint64_t versions[2]) {
    name(stripe + 1, stripe + 2);
    at_ = words_ + stripe;
    uint64_t low = load(&at_[0]), high = load(&at_[1]);
    while ((low | high) & 1 || !exchange(low, high)) {
      low = stripe_wait(thread_, stripe);
      high = stripe_wait(thread_, stripe + 1);
    }
    low_ = low, high_ = high;
    store(&versions[0], shmlog::stripe_version(low) + 1);
    store(&versions[1], shmlog::stripe_version(high) + 1);
  }
  // Releases them; `wrote`: with their next versions.
  void unlock(bool wrote) {
    release(&at_[1], high_, wrote);
    release(&at_[0], low_, wrote);
  }

 private:
  struct Two {
    uint64_t words[2];
  };
  void name(uint32_t first, uint32_t second) {
    store(&held_[0], first);
    store(&held_[1], second);
  }
  bool exchange(uint64_t low, uint64_t high) {
    bool done;
    asm volatile("lock cmpxchg16b %[at]"
                 : [at] "+m"(*reinterpret_cast<Two*>(at_)), "=@ccz"(done), "+a"(low), "+d"(high)
                 : "b"(low | locks_), "c"(high | locks_)
                 : "memory");
    return done;
  }
  // Nobody's word is released but our own: it may have been taken away.
  void release(uint64_t* at, uint64_t unlocked, bool wrote) {
    if (load(at) == (unlocked | locks_))
      store(at, shmlog::stripe_word(shmlog::stripe_version(unlocked) + wrote));
  }

  Thread* thread_;
  uint64_t* words_;
  uint64_t* at_ = nullptr;
  uint64_t low_ = 0, high_ = 0;  // as they were unlocked
  uint64_t locks_;               // what our lane adds to a word
  uint32_t* held_;
  bool possible_;
};

// Releases what the lane's thread held when it died, so that the lane can be used again.
// REQUIRES: the thread is dead and the lane is the caller's.
void stripes_recover(uint32_t lane);

}  // namespace shmrec::agent
