// String instructions: all widths, with and without repeat prefixes, both directions, overlapping,
// length zero, with segment and address-size prefixes.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

#define WIDTHS(letter)                                                       \
  INSN("movs" #letter);                                                      \
  INSN("stos" #letter);                                                      \
  INSN("lods" #letter);                                                      \
  INSN("scas" #letter);                                                      \
  INSN("cmps" #letter);                                                      \
  INSN("movl $13, %ecx; rep movs" #letter);                                  \
  INSN("movl $11, %ecx; rep stos" #letter);                                  \
  INSN("movl $5, %ecx; rep lods" #letter);                                   \
  INSN("movl $9, %ecx; repne scas" #letter);                                 \
  INSN("movl $9, %ecx; repe scas" #letter);                                  \
  INSN("movl $9, %ecx; repe cmps" #letter);                                  \
  INSN("movl $9, %ecx; repne cmps" #letter);                                 \
  INSN("xorl %ecx, %ecx; rep movs" #letter);                                 \
  INSN("xorl %ecx, %ecx; repe cmps" #letter);                                \
  INSN("std; movl $7, %ecx; rep movs" #letter "; cld");                      \
  INSN("std; movl $7, %ecx; rep stos" #letter "; cld");                      \
  INSN("std; movl $7, %ecx; repe scas" #letter "; cld");                     \
  INSN("std; movs" #letter "; cld");                                         \
  INSN("leaq 1(%rsi), %rdi; movl $20, %ecx; rep movs" #letter);              \
  INSN("leaq 8(%rsi), %rdi; movl $20, %ecx; rep movs" #letter);              \
  INSN("leaq -1(%rsi), %rdi; movl $20, %ecx; rep movs" #letter);             \
  INSN("movq %rsi, %rdi; movl $20, %ecx; rep movs" #letter);                 \
  INSN("std; leaq 5(%rsi), %rdi; movl $20, %ecx; rep movs" #letter "; cld"); \
  INSN("movq %r9, %rcx; rep movs" #letter);                                  \
  INSN("xchgq %rsi, %rdi; movl $10, %ecx; rep movs" #letter);                \
  INSN("movl $6, %ecx; rep movs" #letter                                     \
       "; movl $6, %ecx; leaq -48(%rsi), %rsi; "                             \
       "leaq -48(%rdi), %rdi; repe cmps" #letter)

WIDTHS(b);
WIDTHS(w);
WIDTHS(l);
WIDTHS(q);
INSN("movl $250, %ecx; rep movsb");
INSN("movl $100, %ecx; xorl %eax, %eax; rep stosb");
INSN("movl $40, %ecx; movb 23(%rdi), %al; repne scasb");
INSN("movl $40, %ecx; movl 80(%rdi), %eax; repne scasl");
INSN(
    "movq (%rsi), %rax; movq %rax, (%rdi); movq 8(%rsi), %rax; movq %rax, 8(%rdi); movl $64, %ecx; "
    "repe cmpsb");
INSN("movl $9, %ecx; rep movsb %es:(%rsi), %es:(%rdi)");
INSN("movl $9, %ecx; .byte 0x67; rep movsb");
INSN("movl $5, %ecx; .byte 0x67; rep stosl");
INSN("movabsq $0x100000007, %rcx; .byte 0x67; rep movsb");
INSN(
    "leaq -200(%rsp), %rdi; movl $9, %ecx; rep movsb; leaq -200(%rsp), %rsi; leaq 256(%r13), %rdi; "
    "movl $9, %ecx; rep movsb; xorl %esi, %esi");
INSN(
    "movl $3, %ecx; rdfsbase %rax; subq %rax, %rsi; rep movsb %fs:(%rsi), %es:(%rdi); xorl %esi, "
    "%esi; "
    "xorl %eax, %eax; xorl %edx, %edx");
