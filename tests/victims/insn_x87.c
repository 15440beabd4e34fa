// x87 loads and stores of every format, environment and FXSAVE.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsBase;

INSN("fninit; flds (%rsi); fstps 8(%rsi)");
INSN("fninit; fldl (%rsi); fstpl 17(%rsi)");
INSN("fninit; fldt (%rsi); fstpt 32(%rsi)");
INSN("fninit; filds (%rsi); fistps 8(%rsi)");
INSN("fninit; fildl 1(%rsi); fistpl 8(%rsi)");
INSN("fninit; fildll (%rsi); fistpll 16(%rsi)");
INSN("fninit; fildl (%rsi); fisttps 8(%rsi)");
INSN("fninit; fildll (%rsi); fisttpl 8(%rsi)");
INSN("fninit; fildll (%rsi); fisttpll 9(%rsi)");
INSN("fninit; fildl (%rsi); fbstp 16(%rsi)");
INSN("fninit; fildl (%rsi); fbstp 16(%rsi); fbld 16(%rsi); fistpll (%rdi)");
INSN("fninit; fildl (%rsi); fadds 4(%rsi); fstpl (%rdi)");
INSN("fninit; fildl (%rsi); fsubl 8(%rsi); fstpl (%rdi)");
INSN("fninit; fildl (%rsi); fmuls 8(%rsi); fstpl (%rdi)");
INSN("fninit; fildl (%rsi); fidivl 8(%rsi); fstpl (%rdi)");
INSN("fninit; fildl (%rsi); fiadds 8(%rsi); fsts (%rdi); fstpt 16(%rdi)");
INSN("fninit; fildl (%rsi); ficoml 8(%rsi); fnstsw %ax; fstpl (%rdi)");
INSN("fninit; flds (%rsi); fcomps 8(%rsi); fnstsw (%rdi)");
INSN("fninit; flds (%rsi); fldl (%rdi); fcomip %st(1), %st; fstpl 8(%rsi)");
INSN(
    "fninit; fnstcw (%rsi); orw $0xc00, (%rsi); fldcw (%rsi); fildl 4(%rsi); flds 8(%rsi); fistpl "
    "12(%rsi); fninit");
INSN("fninit; fld1; fldpi; fldl2e; fnsave (%rsi)");
INSN("fninit; fld1; fldpi; fnstenv (%rsi); fninit");
INSN("fninit; fld1; fldl2e; fnsave (%rsi); frstor (%rsi); fstpt 128(%rsi); fninit");
INSN("andq $-16, %rsi; fninit; fldpi; movups %xmm0, %xmm1; fxsave (%rsi); fninit");
INSN(
    "subq $256, %rsi; andq $-16, %rsi; fninit; fldpi; fxsave64 (%rsi); fninit; xorps %xmm0, %xmm0; "
    "fxrstor64 (%rsi); fstpt 600(%rsi)");
INSN("stmxcsr (%rsi); orl $0x6000, (%rsi); ldmxcsr (%rsi)");
INSN("movl $0xffffffff, (%rsi); ldmxcsr (%rsi)");
INSN("emms; movq (%rsi), %mm0; paddd 8(%rsi), %mm0; movq %mm0, 17(%rsi); emms");
INSN("emms; movd (%rsi), %mm1; movd %mm1, 8(%rsi); movntq %mm1, 16(%rsi); emms");
INSN("emms; movq (%rsi), %mm0; movq 8(%rsi), %mm1; xchgq %rdi, %rbx; maskmovq %mm1, %mm0; emms");

// What an instruction with a memory operand leaves in the environment: its own address, the
// operand's, its opcode; looked at in private memory.
#define POINTERS(instructions)                                             \
  INSN("fninit; " instructions                                             \
       "; fnstenv -64(%rsp); movl -52(%rsp), %eax; movl -48(%rsp), %edx; " \
       "movl -44(%rsp), %ecx; fninit")
POINTERS("fldl (%rsi)");
POINTERS("flds 4(%rsi,%r9,4)");
POINTERS("fldt 3(%r13)");
POINTERS("fildl (%esi)");
POINTERS("fldpi; fstpl (%r12)");
POINTERS("fld1; fistpll 8(%rsi)");
POINTERS("fld1; fadds (%rdi)");
POINTERS("fld1; fidivrs 17(%rdi)");
POINTERS("fldl (%rsi); fnstcw -80(%rsp); fldcw -80(%rsp)");
POINTERS("fldl (%rsi); fnstsw -80(%rsp)");
POINTERS("fldl (%rsi); fldpi");
INSN("fninit; fldl (%rsi); fldpi; fxsave64 -576(%rsp); movq -568(%rsp), %rax; fninit");
INSN("fninit; fldl (%rsi); andq $-64, %rsi; fxsave64 -512(%rsi); fninit");
