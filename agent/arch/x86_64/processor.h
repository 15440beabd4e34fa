// What processors of different makers do differently where their manuals leave it open, and a
// program can see it. The agent does to the program's registers what this processor does.
//
// Whatever can be is measured on the processor that runs, not concluded from its name: the
// instruction is executed with an operand that faults, and the registers are looked at. That needs
// vector registers, so it happens in a signal handler, whose end restores them.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// Asks the processor who made it. Once, before sites are decoded: a program may turn the CPUID
// instruction off for itself later.
void processor_start();
bool made_by_amd();
bool has_xsave();          // for programs, not only the kernel
bool has_wide_exchange();  // cmpxchg16b
bool has_bmi2();

// A gather that has faulted at an element, with others done before.
struct GatherFault {
  bool fills_mask;   // VEX: elements still to do have all bits set in the mask, else they are as
                     // they were
  bool clears_mask;  // VEX: the mask register above the vector length is zero, else as it was
  bool clears_data;  // the same of the data register
};
// Measured when first asked for. REQUIRES: in a signal handler; the processor has the instruction.
const GatherFault& gather_fault(Thread* thread, bool evex);

// Does a store that converts set flags in MXCSR though it faults? As measured; true until then.
bool convert_flags_in_spite_of_fault();
// REQUIRES: as above.
void convert_measure(Thread* thread);

inline uint32_t read_mxcsr() {
  uint32_t value;
  asm volatile("stmxcsr %0" : "=m"(value));
  return value;
}
inline void write_mxcsr(uint32_t value) { asm volatile("ldmxcsr %0" ::"m"(value)); }

}  // namespace shmrec::agent
