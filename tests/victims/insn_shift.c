// Shifts, rotates, double shifts, multiplication and division with memory operands.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

#define SHIFT(op)             \
  INSN(#op "b (%rsi)");       \
  INSN(#op "w $3, (%rsi)");   \
  INSN(#op "l $17, 1(%rsi)"); \
  INSN(#op "q $40, (%rdi)");  \
  INSN(#op "b %cl, (%rsi)");  \
  INSN(#op "w %cl, (%rsi)");  \
  INSN(#op "l %cl, 3(%rsi)"); \
  INSN(#op "q %cl, (%rsi)");  \
  INSN("movb $0, %cl; " #op "l %cl, (%rsi)")

SHIFT(shl);
SHIFT(shr);
SHIFT(sar);
SHIFT(rol);
SHIFT(ror);
SHIFT(rcl);
SHIFT(rcr);
INSN("shldw $5, %ax, (%rsi)");
INSN("shldl $19, %eax, (%rsi)");
INSN("shldq %cl, %rdx, 1(%rsi)");
INSN("shrdw $5, %ax, (%rsi)");
INSN("shrdl %cl, %eax, (%rsi)");
INSN("shrdq $33, %r10, (%rdi)");
INSN("mulb (%rsi)");
INSN("mulw (%rsi)");
INSN("mull 1(%rsi)");
INSN("mulq (%rsi)");
INSN("imulb (%rsi)");
INSN("imulw (%rsi)");
INSN("imull (%rsi)");
INSN("imulq 3(%rsi)");
INSN("imulw (%rsi), %ax");
INSN("imull (%rsi), %r10d");
INSN("imulq (%rsi), %rcx");
INSN("imulw $-7, (%rsi), %ax");
INSN("imull $1000, (%rsi), %ecx");
INSN("imulq $-123456, 5(%rsi), %r11");
INSN("movb $1, (%rsi); movzbl %al, %eax; divb (%rsi)");
INSN("xorl %edx, %edx; divw (%rsi)");
INSN("xorl %edx, %edx; divl (%rsi)");
INSN("xorl %edx, %edx; divq 1(%rsi)");
INSN("cwtd; idivw (%rsi)");
INSN("cltd; idivl (%rsi)");
INSN("cqto; idivq (%rsi)");
INSN("divl (%rsi)");
INSN("idivq (%rdi)");
INSN("movl $0, (%rsi); cltd; idivl (%rsi)");
INSN("movq $0, (%rsi); divq (%rsi)");
INSN("movq $-1, (%rsi); movabsq $0x8000000000000000, %rax; cqto; idivq (%rsi)");
