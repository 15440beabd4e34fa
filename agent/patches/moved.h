// Instructions that are executed somewhere else than where the program has them, because a jump has
// overwritten them there: which can be, and as what.
//
// Most are copied; what names a place relative to itself gets another distance. A call puts the
// address on the stack that the program's own would have put there.
//
// Context: freestanding; writes to the buffers that it is given.
#pragma once

#include "agent/patches/stub.h"

namespace shmrec::agent {

// Code of a stub while it is written.
struct StubCode {
  uint8_t* begin;
  uint8_t* at;
  uint64_t address;  // of `begin` when it runs
  bool reaches = true;

  template <typename... Bytes>
  void bytes(Bytes... values) {
    ((*at++ = static_cast<uint8_t>(values)), ...);
  }
  void word(uint64_t value, size_t count = 4) {
    memcpy(at, &value, count);
    at += count;
  }
  // As a distance from behind itself.
  void distance_to(uint64_t target) {
    const int64_t distance = static_cast<int64_t>(target - (here() + 4));
    reaches = reaches && distance == static_cast<int32_t>(distance);
    word(static_cast<uint64_t>(distance));
  }
  void jump_to(uint64_t target);
  // What does the same as the instruction, which ends at `behind`.
  void moved(const Covered& instruction, uint64_t behind);

  uint16_t offset() const { return static_cast<uint16_t>(at - begin); }
  uint64_t here() const { return address + offset(); }
};

// How `decoded`, whose bytes are `code`, is moved. kNot: it cannot be.
Move move_of(const uint8_t* code, const Decoded& decoded);
// Does the program never go on behind it?
bool ends_path(Move move);
// Adds the instruction to what is covered. False: there is no room.
bool cover(CoveredCode* covered, const uint8_t* code, const Decoded& decoded, Move move);

}  // namespace shmrec::agent
