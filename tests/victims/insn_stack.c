// push, pop, call, jmp, ret, enter and leave with operands or the stack itself in shared memory.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

INSN("pushq (%rsi); popq %rax");
INSN("pushw 2(%rsi); popw %ax");
INSN("pushq %rdx; popq 8(%rsi)");
INSN("pushw %dx; popw 1(%rsi)");
INSN("pushq (%rsi); popq (%rdi)");
INSN("leaq 1f(%rip), %rax; movq %rax, (%rsi); call *(%rsi); jmp 2f; 1: addq $1, %rcx; ret; 2:");
INSN("leaq 1f(%rip), %rax; movq %rax, 3(%rsi); jmp *3(%rsi); movl $1, %ecx; 1:");
INSN(
    "xchgq %rsp, %rbx; pushq %rax; pushq $-5; pushw %cx; popw %dx; popq %rcx; popq %rax; xchgq "
    "%rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushq 32(%rsp); popq 40(%rsp); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; popq (%rsp); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushq (%rsp); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushq 100(%rsi); popq 108(%rsi); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; call 1f; jmp 2f; 1: addl $7, %eax; ret; 2: xchgq %rsp, %rbx");
INSN(
    "xchgq %rsp, %rbx; leaq 1f(%rip), %rax; call *%rax; jmp 2f; 1: addl $7, %ecx; ret $16; 2: "
    "xchgq %rsp, %rbx");
INSN(
    "xchgq %rsp, %rbx; leaq 1f(%rip), %rax; movq %rax, 8(%rdi); call *8(%rdi); jmp 2f; 1: incl "
    "%ecx; ret; 2: "
    "xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushfq; popq %rax; andq $0x8d5, %rax; xchgq %rsp, %rbx; movq $0, -8(%rbx)");
INSN("xchgq %rsp, %rbx; movq $0x8c5, (%rsp); popfq; xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushw $0x4411; popw %ax; xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; movq %r12, %rbp; leave; xchgq %rsp, %rbx; movq $0, %rbp");
INSN("xchgq %rsp, %rbx; movl $0, %ebp; enter $24, $0; xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; movl %eax, (%rsp); addl 4(%rsp), %ecx; xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; movq -16(%rsp,%r9,8), %rax; lock incl (%rsp); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; movups (%rsp), %xmm0; movups %xmm1, 16(%rsp); xchgq %rsp, %rbx");
