// Arithmetic and logic with a memory operand on either side, with and without LOCK; all flags.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

#define WIDTHS(op)                   \
  INSN(#op "b %al, (%rsi)");         \
  INSN(#op "b %dh, 1(%rsi)");        \
  INSN(#op "w %ax, (%rsi)");         \
  INSN(#op "l %ecx, 5(%rsi)");       \
  INSN(#op "q %r10, (%rdi)");        \
  INSN(#op "b (%rsi), %ah");         \
  INSN(#op "w 3(%rsi), %cx");        \
  INSN(#op "l (%rsi), %r11d");       \
  INSN(#op "q 1(%rdi), %rax");       \
  INSN(#op "b $0x81, (%rsi)");       \
  INSN(#op "w $0x1234, (%rsi)");     \
  INSN(#op "l $0x7fffffff, (%rdi)"); \
  INSN(#op "q $-3, 2(%rdi)")

#define LOCKED(op)                           \
  INSN("lock " #op "b %al, (%rsi)");         \
  INSN("lock " #op "b %ch, 3(%rsi)");        \
  INSN("lock " #op "w %ax, (%rsi)");         \
  INSN("lock " #op "l %ecx, (%rdi)");        \
  INSN("lock " #op "q %r10, (%rsi)");        \
  INSN("lock " #op "b $0x7f, (%rsi)");       \
  INSN("lock " #op "w $-2, (%rsi)");         \
  INSN("lock " #op "l $0x12345678, (%rsi)"); \
  INSN("lock " #op "q $-1, (%rdi)")

#define UNARY(op)               \
  INSN(#op "b (%rsi)");         \
  INSN(#op "w 1(%rsi)");        \
  INSN(#op "l (%rdi)");         \
  INSN(#op "q 3(%rsi)");        \
  INSN("lock " #op "b (%rsi)"); \
  INSN("lock " #op "w (%rsi)"); \
  INSN("lock " #op "l (%rdi)"); \
  INSN("lock " #op "q (%rsi)")

WIDTHS(add);
WIDTHS(sub);
WIDTHS(adc);
WIDTHS(sbb);
WIDTHS(and);
WIDTHS(or);
WIDTHS(xor);
WIDTHS(cmp);
INSN("testb %al, (%rsi)");
INSN("testw %cx, (%rsi)");
INSN("testl %eax, 3(%rsi)");
INSN("testq %rax, (%rsi)");
INSN("testb $0x80, (%rsi)");
INSN("testl $0x1010, (%rsi)");
INSN("testq $-16, (%rdi)");
LOCKED(add);
LOCKED(sub);
LOCKED(adc);
LOCKED(sbb);
LOCKED(and);
LOCKED(or);
LOCKED(xor);
UNARY(inc);
UNARY(dec);
UNARY(neg);
UNARY(not );
