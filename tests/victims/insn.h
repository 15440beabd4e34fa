// Twin runs of single instructions: each is executed on private memory, which is what the processor
// does, and on shared memory at the same page offset; registers, all flags, vector and mask
// registers, memory, and if it faulted the signal, its code, its address and the registers in the
// signal's context must be equal.
//
// A victim lists its instructions with INSN at file level and links insn.c, which has main().
// Registers on entry (addresses, relative to `base`; the rest is random):
//   rsi, r13 = base   rdi = base+256   rbp = base+64   rbx = base+192   r12 = base+128   r14 =
//   base+320 r8 = -2000..2000  r9 = 0..7   k1, k2 random   zmm5 = 16 dwords -24..23   zmm6 = 8
//   qwords -24..23
// Memory from base-512 to base+512 is random; accesses stay in it. Both windows lie below 4 GiB.
#pragma once

#include <stdint.h>

struct InsnEntry {
  void (*code)(void);
  const char* text;
};

#define INSN(instructions)                                    \
  __asm__(".pushsection .text\n771: " instructions            \
          "\n ret\n.popsection\n"                             \
          ".pushsection .rodata\n772: .asciz \"" instructions \
          "\"\n.popsection\n"                                 \
          ".pushsection insn_table,\"aw\"\n.quad 771b, 772b\n.popsection\n")

// What the processor must have for the victim's instructions; without it the victim prints the
// reason and exits with 0.
enum InsnNeeds { kNeedsBase, kNeedsAvx2, kNeedsAvx512 };
extern const enum InsnNeeds insn_needs;
