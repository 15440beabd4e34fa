// The vector registers of an interrupted instruction, as the kernel saved them in the signal frame
// and will load them again: the XSAVE area behind ucontext's fpstate, standard (non-compacted)
// format.
//
// Context: runs in the tracee's signal handler; memory only, no vector register is touched.
// Invariants
//  1. A component whose bit in XSTATE_BV is clear is in its initial state, all zeros, whatever
//     bytes lie in its place; it gets its bytes and its bit when something else is written to it.
//  2. A part of a register that the processor lacks reads as zeros, and writes to it go nowhere.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

struct FxArea {  // the parts of the FXSAVE image, and of the header behind it, that matter here
  uint8_t legacy[24];
  uint32_t mxcsr, mxcsr_mask;
  uint8_t registers[432];
  uint32_t magic1, extended_size;  // sw_reserved
  uint64_t features;
  uint32_t xstate_size, padding[7];
  uint64_t xstate_bv;  // XSAVE header
  uint64_t xcomp_bv, xcomp_reserved;
};
static_assert(offsetof(FxArea, magic1) == 464 && offsetof(FxArea, xstate_bv) == 512);
constexpr uint32_t kXstateMagic = 0x46505853;
constexpr uint64_t kLegacyFpBytes = 512;  // of a frame without the magic
constexpr uint32_t kInitialMxcsr = 0x1F80, kDefaultMxcsrMask = 0xFFBF;

// State components, as bits of XSTATE_BV.
constexpr uint64_t kLegacyState = 3, kSseState = 1 << 1, kAvxState = 1 << 2, kOpmaskState = 1 << 5,
                   kUpperHalvesState = 1 << 6, kUpperRegistersState = 1 << 7, kKeysState = 1 << 9;

constexpr uint32_t kVectorBytes = 64;

// Makes the state in a frame the one that a handler starts with: the processor's initial one, but
// for the memory keys, whose rights are the kernel's default.
void fp_reset(uint64_t fpstate);

// Gives what is in its initial state, and what lies between the components, bytes that do not
// depend on what was there before: the processor leaves them as they were.
void fp_fill(uint64_t fpstate);

// Of the state in a frame, but for memory keys, and for where the last x87 instruction was. The
// frame loads the same afterwards.
uint64_t fp_hash(uint64_t fpstate);

class VectorState {
 public:
  explicit VectorState(uint64_t fpstate) : area_(reinterpret_cast<uint8_t*>(fpstate)) {}
  // Has the frame room for all these components? REQUIRES true before those are accessed.
  bool holds(uint64_t components) const;
  // The whole of vector register 0..31.
  void read(int number, uint8_t to[kVectorBytes]) const;
  void write(int number, const uint8_t from[kVectorBytes]);
  uint64_t opmask(int number) const;
  void set_opmask(int number, uint64_t value);

 private:
  struct Part;
  static int parts_of(int number, Part parts[3]);
  const FxArea& header() const { return *reinterpret_cast<const FxArea*>(area_); }
  void read_part(const Part& part, uint8_t* to) const;
  void write_part(const Part& part, const uint8_t* from);

  uint8_t* area_;
};

// Asks the processor where the components lie. Once, before the first frame: a program may turn the
// CPUID instruction off for itself later. If it has done so already, no frame `holds` more than
// SSE.
void vector_state_start();

// How many bytes an XSAVE area has up to the end of the last component of `wanted`, if it has room
// for those of `laid_out`, which include them. 0: one of them is not known.
uint32_t xsave_extent(uint64_t laid_out, uint64_t wanted, bool compacted);

}  // namespace shmrec::agent
