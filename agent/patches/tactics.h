// Ways to put a jump of five bytes where an instruction is, in the order in which they are tried.
//
//  1. direct       The instruction has five bytes or more: nothing else is overwritten.
//  2. relocation   It is shorter. Those behind it move to the stub too, and the jump's distance is
//                  chosen such that each of its bytes at which one of them began traps: a jump to
//                  one of these from elsewhere does not execute garbage but comes to the agent,
//                  which sends it on to the stub. Example: 48 8b 07 | 48 85 c0 (mov (%rdi),%rax;
//                  test %rax,%rax) becomes e9 xx xx 06 xx: the byte at which `test` began is 06,
//                  which no instruction begins with. So does the byte behind a lock prefix, which
//                  some code jumps over where there is one thread.
//  3. punning      The bytes behind the instruction stay as they are and are the upper ones of the
//                  distance: for instructions that are jumped to from elsewhere all the time. There
//                  must be room at just that place.
//
// A syscall instruction has two bytes, so that it takes relocation (glibc's `syscall; cmp
// $-4096,%rax` by all means) or punning.
//
// What no tactic can patch goes on faulting, or trapping. The place of a stop (stop_stub.h) gets a
// breakpoint then, which costs a signal a visit.
//
// Threads: under patches_lock.
#pragma once

#include "agent/patches/stub.h"
#include "agent/patches/text.h"

namespace shmrec::agent {

constexpr uint32_t kJumpBytes = 5;
constexpr uint8_t kTacticCount = 3, kPunning = 3, kBreakpointTactic = 4;
constexpr uint8_t kLockPrefix = 0xF0;

// Does an instruction do the same at another address?
bool movable(const ZydisDecodedInstruction& instruction);

// A way to patch, found for one site.
struct Plan {
  CoveredCode covered;  // what moves to the stub
  uint64_t stub;        // where that goes
  StubLayout layout;
  uint8_t original[kJumpBytes];  // what the jump overwrites,
  Arrivals arrivals;             // and where the program may come to that
  uint8_t tactic;                // its place in the order, from 1
};

// Finds the first way from `first` on. False: there is none; nothing is taken. Sites of what moves
// are pinned in the table of sites.
bool plan_patch(Thread* thread, uint64_t ip, uint16_t number, uint8_t first, Plan* plan,
                Routine routine = Routine::kNone);
// The same for the syscall instruction at `ip`.
bool plan_call(Thread* thread, uint64_t ip, uint16_t number, uint8_t first, Plan* plan);
// The same for the place of a stop, of which a way is always found if there is room. `test` is used
// as long as the plan.
bool plan_stop(Thread* thread, const StopTest& test, uint16_t number, Plan* plan);
// Writes its stub as it is to run at `at`, like stub_emit.
bool plan_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout);
// The plan is not carried out, or not any more.
void plan_unpin(const CoveredCode& covered);

}  // namespace shmrec::agent
