// What a debugger that is not recorded needs to see the program behind the agent: where the
// program's registers are when a thread is found in a stub or in code of the agent.
// cli/share/shmrec-gdb.py reads it, from a process or a core, and the launcher, for cores.
//
// It begins at Thread::unwind, which a debugger finds as it finds the Thread: by the gs base, or at
// the start of the block that the stack pointer lies in. All is in words of 8 bytes, so that it can
// be read without knowing the agent's types; what they mean is the order here, and the magic
// changes with it.
//
// Invariants: rip, rsp and rbp are enough to unwind the program; where rbp is not in the register
// it is in Thread::regs, from the call of C++ on. So is rip there, but for a few instructions in
// which it is that of the access before. Threads: written once, at the start.
#pragma once

#include "agent/agent_abi.h"

namespace shmrec::agent {

// Where the program's registers are while a thread is in [begin, end): rip, and the others.
enum class UnwindIp : uint64_t {
  kRegs = 0,  // Thread::regs.rip
  kExit = 1,  // Thread::exit_ip
  kCall = 2,  // behind Thread::call.pc
  kStub = 3,  // where the stub goes on that called: the second word from the top of the agent's
              // stack, or Thread::fast_key
};
enum class UnwindRest : uint64_t {
  kRegs = 0,   // in Thread::regs
  kStack = 1,  // rsp in Thread::regs, what a call keeps in the processor
  kLive = 2,   // in the processor
};
struct UnwindRow {
  uint64_t begin, end;
  UnwindIp ip;
  UnwindRest rest;
};
constexpr uint32_t kUnwindRows = 11;

struct UnwindInfo {
  char magic[8];
  uint64_t thread_block_bytes;
  // In a Thread; `outer`: the address of the ucontext that a signal of the agent interrupted.
  uint64_t regs, exit_ip, call_pc, stack_top, fast_key, outer, signal_stack;
  uint64_t context_regs;  // in a ucontext
  // Stubs: arenas of `arena_bytes` at `arenas[i]`, with the number of a patch for each granule.
  uint64_t arenas, arena_count, arena_size, arena_owners, arena_bytes, granule;
  // A patch, with the parts of its stub. 16 bits each: part_*, back; 8 bits each: lengths, count.
  uint64_t patches, patch_size, patch_ip, patch_stub, patch_lengths, patch_count, patch_back,
      patch_parts;
  uint64_t part_size, part_begin, part_hit, part_done, part_end, part_stacked, part_unstacked;
  uint64_t row_count;  // the first that holds an address counts
  UnwindRow rows[kUnwindRows];
};

extern UnwindInfo unwind_info;
void unwind_start();

}  // namespace shmrec::agent
