// The processor's exceptions as a signal frame shows them: vector, error code, flags, selectors.
#pragma once

#include <stdint.h>

namespace shmrec::agent {

// Context::cs of 64-bit code.
constexpr uint16_t kCode64 = 0x33;

// Context::trap.
constexpr uint64_t kDebugException = 1, kBreakpointTrap = 3, kInvalidOpcode = 6,
                   kGeneralProtection = 13, kPageFault = 14, kAlignmentCheck = 17;

// Context::error of a page fault.
constexpr uint64_t kFaultPresent = 1, kFaultWrite = 2, kFaultUser = 4, kFaultFetch = 16;

// Bits of eflags.
constexpr uint64_t kTrapFlag = 1 << 8, kDirectionFlag = 1 << 10, kResumeFlag = 1 << 16,
                   kAlignmentFlag = 1 << 18;
// With these set the agent's own code would trap: they are kept from it.
constexpr uint64_t kHeldFlags = kTrapFlag | kAlignmentFlag;
// Those that user code may change by POPF and IRET: the same, without RF and with NT and ID.
constexpr uint64_t kUserFlags = 0x244DD5;
// Those that rt_sigreturn takes from the frame: CF PF AF ZF SF TF DF OF RF AC.
constexpr uint64_t kReturnedFlags = 0x50DD5;

// Context::ss of a handler.
constexpr uint16_t kUserSs = 0x2B;

}  // namespace shmrec::agent
