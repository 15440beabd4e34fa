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

// All levels of enter, its frame pointers in the window too.
#define ENTER(bytes, level)                                                               \
  INSN("xchgq %rsp, %rbx; enter $" #bytes ", $" #level "; xchgq %rsp, %rbx");             \
  INSN("xchgq %rsp, %rbx; .byte 0x66; enter $" #bytes ", $" #level "; xchgq %rsp, %rbx"); \
  INSN("leaq 320(%rsi), %rbp; xchgq %rsp, %r12; enter $" #bytes ", $" #level "; xchgq %rsp, %r12")
ENTER(0, 0);
ENTER(40, 0);
ENTER(0, 1);
ENTER(16, 1);
ENTER(8, 2);
ENTER(24, 3);
ENTER(0, 9);
ENTER(16, 31);
ENTER(16, 34);
INSN("xchgq %rsp, %rbx; .byte 0x66; leave; xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushfw; popw %ax; andw $0x8d5, %ax; movw $0, -2(%rsp); xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; movw $0x8c5, (%rsp); popfw; xchgq %rsp, %rbx");
INSN("xchgq %rsp, %rbx; pushq %fs; popq %rax; pushw %fs; popw %ax; xchgq %rsp, %rbx");
INSN(
    "rdfsbase %rdx; xchgq %rsp, %rbx; pushq $0; popq %fs; xchgq %rsp, %rbx; wrfsbase %rdx; "
    "xorl %edx, %edx");
INSN(
    "rdfsbase %rdx; xchgq %rsp, %rbx; movw $0, (%rsp); popw %fs; xchgq %rsp, %rbx; "
    "wrfsbase %rdx; xorl %edx, %edx");
INSN("movw %fs, (%rsi); movw %ss, 2(%rsi); movw %cs, 5(%rsi)");
INSN("rdfsbase %rdx; movw $0, (%rsi); movw (%rsi), %fs; wrfsbase %rdx; xorl %edx, %edx");
INSN("rdfsbase %rdx; movw $0, 4(%rsi); lfs (%rsi), %eax; wrfsbase %rdx; xorl %edx, %edx");
INSN("movw $0x2b, 4(%rsi); movw $0x2b, 8(%rsi); lss (%rsi), %eax; .byte 0x48; lss (%rsi), %ecx");
// AMD's processors make 16-bit branches of these, to where nothing is; others ignore the prefix.
#define NEAR(instructions) INSN("leaq 7f(%rip), %rax; xchgq %rsp, %rbx; " instructions)
NEAR("movq %rax, (%rsp); .byte 0x66; ret; 7: xchgq %rsp, %rbx");
NEAR("movq %rax, (%rdi); .byte 0x66, 0xff, 0x27; 7: xchgq %rsp, %rbx");
NEAR("movq %rax, (%rdi); .byte 0x66, 0xff, 0x17; 7: xchgq %rsp, %rbx");
NEAR(".byte 0x66, 0xff, 0xd0; 7: xchgq %rsp, %rbx");
// Far transfers that stay in the same segment.
#define FAR(instructions) INSN("leaq 7f(%rip), %rax; " instructions)
FAR("movl %eax, (%rsi); movw $0x33, 4(%rsi); ljmp *(%rsi); ud2; 7:");
FAR("movl %eax, (%rsi); movw $0x33, 4(%rsi); xchgq %rsp, %rbx; lcall *(%rsi); ud2; "
    "7: movl (%rsp), %eax; xchgq %rsp, %rbx");
FAR("xchgq %rsp, %rbx; pushq $0x33; pushq %rax; lretq; ud2; 7: xchgq %rsp, %rbx");
FAR("xchgq %rsp, %rbx; pushq $0x33; pushq %rax; lretq $24; ud2; 7: xchgq %rsp, %rbx");
FAR("xchgq %rsp, %rbx; movl %eax, (%rsp); movl $0x33, 4(%rsp); lret; ud2; 7: xchgq %rsp, %rbx");
FAR("xchgq %rsp, %rbx; leaq 32(%rsp), %rdx; pushq $0x2b; pushq %rdx; pushq $0x8c7; pushq $0x33; "
    "pushq %rax; iretq; ud2; 7: xchgq %rsp, %rbx");
