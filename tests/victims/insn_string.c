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

// With 32-bit addresses: the counter and the pointers have 32 bits, whatever is above them.
#define LONG32(letter)                                                                          \
  INSN("movabsq $0x900000005, %rcx; .byte 0x67; rep movs" #letter);                             \
  INSN("movabsq $0x900000005, %rcx; .byte 0x67; rep stos" #letter);                             \
  INSN("movabsq $0x900000005, %rcx; .byte 0x67; rep lods" #letter);                             \
  INSN("movabsq $0x900000005, %rcx; .byte 0x67; repne scas" #letter);                           \
  INSN("movabsq $0x900000005, %rcx; .byte 0x67; repe cmps" #letter);                            \
  INSN("movabsq $0x700000000, %rax; orq %rax, %rsi; orq %rax, %rdi; .byte 0x67; movs" #letter); \
  INSN("movabsq $0x700000000, %rax; orq %rax, %rdi; .byte 0x67; stos" #letter);                 \
  INSN("movabsq $0x700000000, %rdx; orq %rdx, %rsi; .byte 0x67; lods" #letter);                 \
  INSN("movabsq $0x700000000, %rdx; orq %rdx, %rdi; .byte 0x67; scas" #letter);                 \
  INSN(                                                                                         \
      "movabsq $0x700000000, %rax; orq %rax, %rsi; orq %rax, %rdi; "                            \
      "movabsq $0x900000007, %rcx; .byte 0x67; rep movs" #letter);                              \
  INSN(                                                                                         \
      "movabsq $0x700000000, %rax; orq %rax, %rsi; orq %rax, %rdi; std; "                       \
      "movabsq $0x900000007, %rcx; .byte 0x67; rep movs" #letter "; cld");                      \
  INSN(                                                                                         \
      "movabsq $0x700000000, %rax; orq %rax, %rsi; orq %rax, %rdi; "                            \
      "movabsq $0x900000007, %rcx; .byte 0x67; repe cmps" #letter)
LONG32(b);
LONG32(w);
LONG32(l);
LONG32(q);
// A count of which only the upper half is not zero does nothing.
INSN("movabsq $0x900000000, %rcx; .byte 0x67; rep stosb; xorl %ecx, %ecx; movl %edi, %edi");
INSN("movabsq $0x900000003, %rcx; 1: movl (%rsi), %eax; addr32 loop 1b");
INSN("movabsq $0x900000000, %rcx; movl (%rsi), %eax; jecxz 1f; movl 4(%rsi), %eax; 1:");
INSN("movabsq $0x700000003, %rdx; orq %rdx, %rbx; movb $5, %al; .byte 0x67; xlatb");
INSN("movabsq $0x700000000, %rdx; orq %rdx, %rdi; .byte 0x67; maskmovdqu %xmm1, %xmm0");
INSN("movabsq $0x700000000, %rdx; orq %rdx, %rsi; movl 8(%esi), %eax; movl %ecx, 16(%esi)");
// Prefixes that mean nothing here, in any order.
INSN("movl $5, %ecx; .byte 0x2e, 0xf3, 0xa4");
INSN("movl $5, %ecx; .byte 0xf3, 0x2e, 0x66, 0xa5");
INSN("movl $5, %ecx; .byte 0xf2, 0xf3, 0xa4");
INSN("movl $5, %ecx; .byte 0xf2, 0xa4");
INSN("movl $5, %ecx; .byte 0xf2, 0xaa");
INSN("movl $5, %ecx; .byte 0xf2, 0xac");
INSN("movl $5, %ecx; .byte 0xf3, 0x48, 0xa5");
INSN("movl $5, %ecx; .byte 0x48, 0xf3, 0xa5");
INSN("movl $5, %ecx; .byte 0xf3, 0x66, 0x48, 0xa5");
INSN(".byte 0xf3; movl (%rsi), %eax");
INSN(".byte 0xf2; movl %eax, (%rsi)");
INSN(".byte 0xf3, 0x66; addw %ax, (%rsi)");
INSN(".byte 0x66, 0x48; movl (%rsi), %eax");
INSN(".byte 0x48, 0x66; movl (%rsi), %eax");
INSN(".byte 0x3e, 0x26, 0x36; movl (%rsi), %eax");
INSN(".byte 0xf2; lock incl (%rsi)");
INSN(".byte 0xf3; xchgl %eax, (%rsi)");
INSN(".byte 0xf0; movl (%rsi), %eax");
INSN(".byte 0xf0; cmpl %eax, (%rsi)");
