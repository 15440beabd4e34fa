// Memory for stubs, within reach of a jump from the program's code.
//
// The program finds none of it: it is left out of what /proc says (memory/maps_text.h), its calls
// find nothing mapped there and cannot map anything there (memory/maps.h), and it lies where the
// program's memory does not grow to, as far as can be told: below the code first, as heaps grow
// upwards.
//
// Invariants: an arena is 64 KiB, readable and executable (and writable in replay), and never
// unmapped, but for replay. What is taken is given back when its module goes. Threads: taking and
// giving back under patches_lock; lookups without a lock.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

struct UnwindInfo;

constexpr uint64_t kArenaBytes = 64 * 1024;

// The distances that a jump may have: which values each of its bytes, the lowest first.
class Distances {
 public:
  void forbid_all(uint32_t at) { memset(allowed_[at], 0, sizeof allowed_[at]); }
  void allow_all(uint32_t at) { memset(allowed_[at], 0xFF, sizeof allowed_[at]); }
  void allow(uint32_t at, uint8_t value) { allowed_[at][value / 64] |= uint64_t{1} << value % 64; }
  bool allows_byte(uint32_t at, uint32_t value) const {
    return allowed_[at][value / 64] >> value % 64 & 1;
  }
  bool allows(uint32_t distance) const {
    return allows_low(distance) && allows_high(distance >> 16);
  }
  bool allows_low(uint32_t low) const {
    return allows_byte(0, low & 0xFF) && allows_byte(1, low >> 8 & 0xFF);
  }
  bool allows_high(uint32_t high) const {
    return allows_byte(2, high & 0xFF) && allows_byte(3, high >> 8 & 0xFF);
  }

 private:
  uint64_t allowed_[4][4];
};

// Room for a stub that a jump ending at `from` reaches, noted as that of patch `number` (not 0).
// 0: none.
uint64_t arena_take(uint64_t from, uint32_t bytes, uint16_t number, const Distances& distances);
void arena_give_back(uint64_t stub, uint16_t number);
// The number of the patch whose stub holds the address; 0: none.
uint16_t arena_owner(uint64_t address);
// The lowest arena that ends behind `address`; 0: there is none.
uint64_t arena_next(uint64_t address);
// In replay stubs write to themselves, and the program's mappings come where they were then: there
// arenas go.
void arenas_in_replay();
// Those that reach into [begin, end) go, in which nothing is any more.
void arenas_drop(uint64_t begin, uint64_t end);
// For debuggers (signals/unwind.h).
void arena_describe(UnwindInfo* info);
// Does an arena of the process begin at `address`? `pid`, `base`: of another process, and of its
// agent; 0: this one.
bool arena_begins(uint64_t address, int32_t pid, uint64_t base);

}  // namespace shmrec::agent
