// All ways to name an address: every base, index and scale, displacement sizes, 32-bit addresses,
// absolute addresses, fs.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

#define BASES(base)                         \
  INSN("movl (%" #base "), %eax");          \
  INSN("movb %al, 1(%" #base ")");          \
  INSN("addl %ecx, -5(%" #base ")");        \
  INSN("movq 300(%" #base "), %rdx");       \
  INSN("lock incl 0x88(%" #base ",%r9,4)"); \
  INSN("movw %ax, -130(%" #base ",%r9,8)")

BASES(rsi);
BASES(rdi);
BASES(rbx);
BASES(rbp);
BASES(r12);
BASES(r13);
INSN("movl (%r14), %eax");
INSN("movq %rsi, %rax; movl (%rax), %ecx");
INSN("movq %rsi, %rcx; movl (%rcx), %eax");
INSN("movq %rsi, %rdx; movl (%rdx), %eax");
INSN("movq %rsi, %r8; movl (%r8), %eax");
INSN("movq %rsi, %r9; movl 3(%r9), %eax");
INSN("movq %rsi, %r10; movl %eax, (%r10)");
INSN("movq %rsi, %r11; movl %eax, 7(%r11)");
INSN("movq %rsi, %r15; movl %eax, -7(%r15)");
INSN("movl (%rsi,%r9), %eax");
INSN("movl (%rsi,%r9,2), %eax");
INSN("movl (%rsi,%r9,4), %eax");
INSN("movl (%rsi,%r9,8), %eax");
INSN("movl (%r13,%r9,8), %eax");
INSN("movl (%rbp,%r9), %eax");
INSN("movl (%r12,%r9,2), %eax");
INSN("movq %r9, %r12; movl (%rsi,%r12,8), %eax");
INSN("movq %r9, %r13; movl (%rsi,%r13,4), %eax");
INSN("movq %r9, %rbp; movl (%rsi,%rbp,2), %eax");
INSN("movq $-3, %rcx; movl (%rsi,%rcx,8), %eax");
INSN("movq %rsi, %rax; movl (%r9,%rax), %ecx");
INSN("movq %rsi, %rax; movl (,%rax,1), %ecx");
INSN("movq %rsi, %rax; shrq $1, %rax; movb (,%rax,2), %cl");
INSN("movq %rsi, %rax; shrq $3, %rax; movb 1(,%rax,8), %cl");
INSN("movl (%esi), %eax");
INSN("movl %ecx, 4(%esi,%r9d,4)");
INSN("movq %rsi, %rax; btsq $40, %rax; movb (%eax), %cl; xorl %eax, %eax");
INSN("leal -8(%rsi), %eax; movl 8(%eax), %ecx");
INSN(
    "leaq (%rsi,%r9), %rax; negq %rax; movq %rax, %rdx; movq %r9, %rcx; addq %rsi, %rcx; movb "
    "(%rcx), %al");
INSN("xchgq %rsp, %rbx; movl (%rsp), %eax; movl %ecx, 8(%rsp); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; movl -4(%rsp,%r9,4), %eax; xchgq %rsp, %rbx");
INSN("rdfsbase %rax; negq %rax; movl %fs:(%rax,%rsi), %ecx; xorl %eax, %eax");
INSN("rdfsbase %rax; negq %rax; addq %rsi, %rax; movl %ecx, %fs:4(%rax); xorl %eax, %eax");
INSN(
    "rdfsbase %rax; negq %rax; addq %rsi, %rax; lock addl %ecx, %fs:8(%rax); xorl %eax, %eax; cmpl "
    "%ecx, %ecx");
INSN(
    "rdfsbase %rax; negq %rax; leaq (%rax,%rsi), %rdx; movups %fs:(%rdx), %xmm0; xorl %eax, %eax; "
    "xorl %edx, %edx");
INSN("nopl (%rsi); nopw 4096(%rsi,%rsi); movl (%rsi), %eax");
// The border of the two pages is at 0x10001000.
INSN("movabsl 0x10001000, %eax");
INSN("movabsq 0x10000ffc, %rax");
INSN("movabsb %al, 0x10000fff");
INSN("movabsq %rax, 0x10001008");
INSN("movl 0x10001004, %ecx");
INSN("addl %ecx, 0x10001000(,%r9,4)");
