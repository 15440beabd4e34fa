// What the functions that perform sites have in common: memory on which the program's instruction
// runs, and running it. (instructions.cc has the functions of each Form.)
//
// Each `begin` is called with the program's registers in thread->regs, each `end` when the
// generated instruction has run, with the registers that it left in thread->core; both return what
// entry.S does next.
#pragma once

#include "agent/access/emulate.h"

namespace shmrec::agent {

// What a masked instruction may touch.
constexpr uint32_t kMaxMaskedBytes = 64;

// The private memory on which the instruction runs: as aligned as the address it names.
inline uint8_t* bounce_for(uint8_t* buffer, uint64_t address) { return buffer + address % 64; }
constexpr uint64_t kMaxBounced = kBounceBytes - 64;

// Runs the generated instruction at `code` with the program's registers, and `target` as its
// address. Returns kCore.
int run_core(Thread* thread, const Site& site, uint64_t target, uint64_t code);
// The registers as the instruction left them, but those that served the agent.
void take_core(Thread* thread, const Site& site);

// ---- Instructions that write a part of what they could: they run twice, on bounce and bounce2,
// which are filled differently. Bytes in which both agree afterwards were written, whatever was
// there before. thread->access_bytes says how long the whole is.

inline void fill_differently(Thread* thread, uint32_t bytes) {
  memset(bounce_for(thread->bounce, thread->ea), 0, bytes);
  memset(bounce_for(thread->bounce2, thread->ea), 0xFF, bytes);
}

// Are any of the eight bytes the same in both?
inline bool equal_bytes(const uint8_t* a, const uint8_t* b) {
  uint64_t words[2];
  memcpy(&words[0], a, 8), memcpy(&words[1], b, 8);
  const uint64_t differ = words[0] ^ words[1];
  return (differ - 0x0101010101010101) & ~differ & 0x8080808080808080;
}

// Calls `access` with each run of bytes that were written: first byte and length. Stops when it
// returns false.
template <typename Access>
bool for_each_written(Thread* thread, uint32_t bytes, Access access) {
  const uint8_t* a = bounce_for(thread->bounce, thread->ea);
  const uint8_t* b = bounce_for(thread->bounce2, thread->ea);
  for (uint32_t at = 0; at < bytes;) {
    if (at + 8 <= bytes && !equal_bytes(a + at, b + at)) {
      at += 8;
      continue;
    }
    uint32_t end = at;
    while (end < bytes && a[end] == b[end]) ++end;
    if (end == at) {
      ++at;
      continue;
    }
    if (!access(at, end - at)) return false;
    at = end;
  }
  return true;
}

// `begin` when both buffers are filled, and `end`: the second run, then the stores.
int begin_written(Thread* thread, const Site& site);
int end_written(Thread* thread, const Site& site);

// ---- Processor state (state.cc)
int begin_save_state(Thread* thread, const Site& site);
int begin_load_state(Thread* thread, const Site& site);
int begin_load_tile(Thread* thread, const Site& site);
int begin_store_tile(Thread* thread, const Site& site);
int end_store_tile(Thread* thread, const Site& site);
// After an x87 instruction that ran elsewhere: its instruction and data pointers become those that
// it has in the program.
void x87_pointers_as_alone(Thread* thread, const Site& site);

}  // namespace shmrec::agent
