// The gs base, which the program and the agent have in turns.
//
// The program sets it by a syscall, or by an instruction (wrgsbase, mov to gs) that nobody sees;
// the agent needs one register to find its Thread where it has no stack and all others are the
// program's. So the handler that ends a stretch of the program takes the program's base out of the
// register into Thread::program_gs and puts the Thread in, and the last instructions before the
// program goes on put it back.
//
// Example: an access to traced memory faults, the handler saves the program's base and enters the
// site's code with the agent's; that code runs without a handler, so its end is the exit page
// (entry.S), which loads program_gs. A signal that hits this page finds the agent's base or already
// the program's, and cannot tell by the address of the instruction where the register was written
// last. It need not: an address in the thread blocks is the agent's, anything else is the
// program's.
//
// Invariants
//  1. While an instruction of the program executes, the register holds the program's base; or the
//     agent's, while the program's is 0 and sites are patched (patches/patch.h). The program could
//     read that by rdgsbase, and address memory by it: where its code has such instructions, no
//     site is patched, and none any more when it has set a base.
//  2. While code executes that uses gs (entry.S, generated code), it points to the thread's Thread,
//     and program_gs is the program's base.
//  3. Elsewhere in the agent (start, the first and last instructions of a handler, the exit page)
//     it is one of the two. Whoever interrupts that leaves the register as it was.
// Threads: of the calling thread alone. A new thread starts with its creator's program_gs.
// Trust: a program that sets its base into the thread blocks gets an old one back; no code of the
// agent is misled by it.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// 1: the register keeps the agent's base while the program runs, as long as the program has set
// none: for the code that patched sites jump to. A thread that has the program's there faults once.
inline uint32_t gs_kept = 0;
// 1: the program has been seen to use gs.
inline uint32_t gs_used = 0;

inline void gs_choose(Thread* thread) {
  const bool kept = load(&gs_kept) && !thread->program_gs;
  thread->register_gs = kept ? reinterpret_cast<uint64_t>(thread) : thread->program_gs;
}

// What the program has set.
inline void gs_set(Thread* thread, uint64_t base) {
  thread->program_gs = base;
  if (base) store(&gs_used, 1u);
  gs_choose(thread);
}

// At the entry of a handler. Returns what the register held.
inline uint64_t gs_enter(Thread* thread) {
  const uint64_t base = read_gs_base();
  if (base == reinterpret_cast<uint64_t>(thread)) return base;
  if (!in_thread_blocks(base)) gs_set(thread, base);
  write_gs_base(reinterpret_cast<uint64_t>(thread));
  return base;
}

// The program goes on from here, without any further use of gs by the agent.
inline void gs_leave(const Thread* thread) { write_gs_base(thread->register_gs); }

}  // namespace shmrec::agent
