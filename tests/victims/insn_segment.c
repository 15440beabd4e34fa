// Operands whose address is relative to fs or gs. The gs base is set by the instruction, which no
// syscall shows; the fs base is libc's, so addresses are made relative to it.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

// gs has the address, or a part of it
#define GS(instructions) INSN("wrgsbase %rsi; " instructions)
GS("movl %gs:0, %eax");
GS("movl %ecx, %gs:4");
GS("movq %gs:8(,%r9,8), %rax; rdgsbase %rdx; movl (%rdx), %ecx");
GS("addl %ecx, %gs:(%r9)");
GS("lock xaddl %eax, %gs:16");
GS("lock cmpxchgq %rcx, %gs:(,%r9,4)");
GS("xchgb %al, %gs:33");
GS("movabsq %gs:0x20, %rax");
GS("movups %gs:(%r9), %xmm0; movups %xmm1, %gs:48(%r9)");
GS("movdqu %gs:3, %xmm2; paddd %xmm2, %xmm3; movntiq %rcx, %gs:64");
GS("btsq %r8, %gs:0");
GS("cmpl %gs:12, %ecx");
GS("movl (%rsi), %ecx; movl %ecx, 64(%rsi); movl %gs:64, %eax");
GS("incl %gs:0; xorl %eax, %eax; rdgsbase %rdx");
GS("pushq %gs:8; popq %rax; pushq %rcx; popq %gs:24");
GS("leaq 779f(%rip), %rax; movq %rax, %gs:16; jmp *%gs:16; ud2; 779: movl %gs:16, %ecx");
GS("leaq 779f(%rip), %rax; movq %rax, %gs:16; call *%gs:16; 779: popq %rcx");
GS("movq $3, %rbx; movb $5, %al; xlatb %gs:(%rbx)");
GS("xorl %edi, %edi; .byte 0x65; maskmovdqu %xmm1, %xmm0; movq %rsi, %rdi");
INSN("wrgsbase %r9; movl %gs:(%rsi), %eax; movl %ecx, %gs:4(%rsi)");
INSN("wrgsbase %r8; .byte 0x65; lodsb; .byte 0x65; lodsq");
INSN("wrgsbase %r9; movl $13, %ecx; .byte 0x65; rep movsb");
INSN("wrgsbase %r9; movl $5, %ecx; .byte 0x65; rep movsq");
INSN("wrgsbase %r9; movl $9, %ecx; .byte 0x65; repe cmpsb");
INSN("wrgsbase %r9; movl $9, %ecx; .byte 0x65; rep stosb");
INSN("wrgsbase %r9; movl $9, %ecx; .byte 0x65; repne scasb");
INSN("wrgsbase %r9; .byte 0x65, 0x67; movl (%esi), %eax");
INSN("movl $7, %eax; wrgsbase %rax; movl %gs:-7(%rsi), %ecx; wrgsbase %rsi; movl %gs:0, %edx");
// fs has libc's base
#define FS(instructions) \
  INSN("rdfsbase %rax; negq %rax; addq %rsi, %rax; " instructions "; xorl %eax, %eax")
FS("movzbl %fs:3(%rax), %ecx");
FS("pushq %fs:8(%rax); popq %rcx; pushq %rdx; popq %fs:16(%rax)");
FS("xchgq %rax, %rsi; .byte 0x64; lodsq; xchgq %rax, %rcx; movq %r13, %rsi");
FS("movq %rax, %rsi; movl $13, %ecx; .byte 0x64; rep movsb; movq %r13, %rsi");
FS("movq %rax, %rsi; movl $3, %ecx; .byte 0x64; repe cmpsw; movq %r13, %rsi");
FS("movq %rax, %rbx; movb $0, %al; .byte 0x64; xlatb; movq %r13, %rbx");
FS("movq %rax, %rdi; .byte 0x64; maskmovdqu %xmm1, %xmm0; movq %r13, %rdi");
FS("btrl %r9d, %fs:4(%rax); movups %xmm3, %fs:(%rax)");
