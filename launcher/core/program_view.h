// The program's registers of a thread that is found in the agent: the core shows the program as if
// shmrec were not there.
//
// The agent says of itself what is where (agent/signals/unwind.h); this is the same walk that
// cli/share/shmrec-gdb.py does in gdb.
// Trust: what is read is the workload's; it can make the result wrong, nothing else.
#pragma once

#include <sys/user.h>

#include <cstdint>

#include "launcher/core/process_memory.h"

namespace shmrec::launcher {

// General registers in the order of struct sigcontext, as the agent keeps and sends them.
inline constexpr unsigned long long user_regs_struct::*kContextOrder[] = {
    &user_regs_struct::r8,  &user_regs_struct::r9,  &user_regs_struct::r10,
    &user_regs_struct::r11, &user_regs_struct::r12, &user_regs_struct::r13,
    &user_regs_struct::r14, &user_regs_struct::r15, &user_regs_struct::rdi,
    &user_regs_struct::rsi, &user_regs_struct::rbp, &user_regs_struct::rbx,
    &user_regs_struct::rdx, &user_regs_struct::rax, &user_regs_struct::rcx,
    &user_regs_struct::rsp, &user_regs_struct::rip, &user_regs_struct::eflags};

struct ProgramView {
  enum class Found {
    kUnchanged,  // it is in the program
    kExact,      // `registers` are now the program's
    kPartly,     // but those that a function keeps: rbx, r12 to r15 are of an earlier moment
  };
  Found found = Found::kUnchanged;
  // Of a thread that was in a handler of the agent: where the kernel saved its vector registers;
  // 0: they are in the processor.
  uint64_t fpstate = 0;
};

// Changes `registers`, which are a stopped thread's, to the program's.
ProgramView find_program(const ProcessMemory& memory, user_regs_struct& registers);

}  // namespace shmrec::launcher
