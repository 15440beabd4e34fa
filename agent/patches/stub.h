// The code that a patched site jumps to: the instructions that the jump has overwritten, each of
// which asks before it accesses memory whether that may be traced.
//
//     site:  jmp stub                      stub:  part 0: is the address in the window? -> hit 0
//            ...rest of what the                          the instruction itself
//            jump overwrote                       part 1: the same for the next one, and so on
//     back:                                       jmp back
//                                          hit 0: jmp shmrec_access_jumped
//
// Example: `mov %rax,8(%rdi); add %rcx,(%rsi)` is 4 + 3 bytes. The jump takes 5, so both move.
//
//     65 48 89 0c 25 ..        mov   %rcx, %gs:saved_rcx
//     48 8d 8c 27 08 00 00 00  lea   8(%rdi), %rcx
//     c4 e3 fb f0 c9 28        rorx  $40, %rcx, %rcx
//     0f b7 c9                 movzx %cx, %ecx
//     8d 89 ..                 lea   -WINDOW(%rcx), %ecx
//     e3 ..                    jrcxz hit 0
//     65 48 8b 0c 25 ..        mov   %gs:saved_rcx, %rcx
//     48 89 47 08              mov   %rax, 8(%rdi)
//     ...
//
// Where an instruction has met memory outside of the window (Site::outside), its stub then looks at
// how much is traced near the address (memory/outside.h), with a second register:
//
//     ...                      the same up to the lea
//     e3 44                    jrcxz 1f
//     65 48 8b 0c 25 ..        mov   %gs:saved_rcx, %rcx
//     48 8d 8c 27 08 00 00 00  lea   8(%rdi), %rcx
//     65 48 89 04 25 ..        mov   %rax, %gs:saved_scratch
//     48 a1 ..                 movabs SHIFT, %rax
//     c4 e2 fb f7 c9           shrx  %rax, %rcx, %rcx
//     0f b7 c9                 movzx %cx, %ecx
//     48 b8 ..                 movabs $PAGES, %rax
//     8b 0c 88                 mov   (%rax,%rcx,4), %ecx
//     65 48 8b 04 25 ..        mov   %gs:saved_scratch, %rax
//     e3 05                    jrcxz 2f
//     e9 ..                 1: jmp   hit 0
//     65 48 8b 0c 25 ..     2: mov   %gs:saved_rcx, %rcx
//
// A load or store that can go the fast way (access/fast.h) has another hit: on the agent's stack it
// calls quick.S with the address in rcx, and runs the instruction on Thread::value, a store's
// before and a load's after that.
//
//     hit:  mov  %gs:saved_rcx, %rcx           a store's: mov %rax, %gs:value
//           lea  8(%rdi), %rcx
//           mov  %rsp, %gs:regs.rsp
//           mov  %gs:stack_top, %rsp
//           push $NUMBER                       of the site
//           call *%gs:quick                    by form and size
//           mov  %gs:regs.rsp, %rsp
//           mov  %gs:saved_rcx, %rcx
//                                              a load's: mov %gs:value, %rax
//           jmp  part 1
//
// What reads and writes is executed between two calls of quick.S (Thread::quick_both and fast_end):
// on Thread::value, or, if it is atomic, on the alias by a register that it does not use itself. In
// between the thread may hold a stripe, so that signals wait for the end.
//
// The stub of a routine (access/routines.h) asks for the pointers that the routine was called with,
// and uses what a function may: r11 and the flags.
//
//     49 89 fb                 mov   %rdi, %r11
//     49 c1 eb 28              shr   $40, %r11
//     41 81 fb ..              cmp   $WINDOW, %r11d
//     74 10                    je    1f
//     ...                      the same for %rsi, if that is a pointer, too
//     75 09                    jne   the instruction itself
//  1: 48 81 fa ..              cmp   $LEAST, %rdx
//     73 ..                    jae   hit 0
//
// One that has met memory outside of the window compares rdx first, then the pointers with the
// window, and looks at the counters for each of them, as above.
//
// Any other stub does not use the program's stack and changes no flags.
//
// Threads: a stub is written before it is jumped to, and never changed.
#pragma once

#include "agent/sites/decode.h"

namespace shmrec::agent {

constexpr uint32_t kMaxStubBytes = 2048;
constexpr uint32_t kMaxCovered = 5;  // instructions that a jump of 5 bytes overwrites

// How an instruction is executed elsewhere (moved.h).
enum class Move : uint8_t { kNot, kCopy, kJump, kJumpIf, kJumpIndirect, kCall, kReturn };

// An instruction that moves to the stub.
struct Covered {
  uint8_t code[kMaxInstruction];
  uint8_t length;
  Move move;                 // of the stubs of calls and stops
  uint8_t rip_displacement;  // where its displacement relative to rip is; 0: there is none
  uint8_t condition;         // of a conditional jump,
  uint64_t target;           // and where it goes; 0: it is none
  const Site* site;          // null: it does not ask
};
struct StopTest;
struct CoveredCode {
  uint64_t ip;
  bool call;             // the first is a syscall instruction, whose stub call_stub.h writes
  const StopTest* stop;  // not null: what the stub of a stop compares (stop_stub.h)
  uint32_t count, bytes;
  Routine routine;  // that begins with the first of them; kNone: none is performed
  uint64_t back;    // where the program goes on behind them; 0: behind them
  Covered instructions[kMaxCovered];
};

// Where the pieces of a part begin, from the stub's start.
struct PartLayout {
  uint16_t begin;               // the program's registers
  uint16_t saved;               // rcx is in the Thread from here...
  uint16_t copy;                // ...to here, where the instruction is
  uint16_t spilled, unspilled;  // rax is in Thread::saved_scratch in between
  uint16_t hit;                 // the same: rcx is in the Thread from here...
  uint16_t enter;               // ...to here
  uint16_t end;                 // of the hit
  // The fast way: the agent's stack is used from `stacked` to `unstacked`; from `done` on the
  // access has been made, and the instruction executed. 0: there is none.
  uint16_t stacked, unstacked, done;
  uint16_t returned;      // a load's value is there; 0: it is none
  uint16_t held, unheld;  // between the two calls of what reads and writes
  uint16_t finish;        // a load's end begins here
};
// Of a stop's stub: where it traps, and where the program goes on that is not there.
struct StopLayout {
  uint16_t met;       // behind the trap
  uint16_t missed;    // the copy of the first instruction
  uint16_t repeat;    // another copy of it...
  uint16_t repeated;  // ...which ends in a trap, and here
};
struct StubLayout {
  uint16_t back;
  uint16_t bytes;
  PartLayout parts[kMaxCovered];
  StopLayout stop;
};

// Has the processor what stubs are made of?
bool stubs_possible();
// Can a stub look at the site's address?
bool stub_possible(const Site& site);
// Writes the stub that will run at `at` to `code`, which has room for kMaxStubBytes. False: it
// cannot reach what it refers to.
bool stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout);

}  // namespace shmrec::agent
