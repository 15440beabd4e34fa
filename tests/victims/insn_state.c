// Instructions that load and store processor state, descriptor tables, or whole lines, and those
// that some processors have and others refuse: they must be refused alike.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsAvx2;

// An area of legacy, header and AVX state that begins on a line in the window.
#define AREA "leaq -448(%rsi), %rsi; andq $-64, %rsi; fninit; fld1; xorl %edx, %edx; "
#define SAVES(how)                             \
  INSN(AREA "movl $7, %eax; " how " (%rsi)");  \
  INSN(AREA "movl $1, %eax; " how " (%rsi)");  \
  INSN(AREA "movl $2, %eax; " how " (%rsi)");  \
  INSN(AREA "movl $4, %eax; " how " (%rsi)");  \
  INSN(AREA "movl $6, %eax; " how " (%rsi)");  \
  INSN(AREA "movl $0, %eax; " how " (%rsi)");  \
  INSN(AREA "movl $7, %eax; " how " 8(%rsi)"); \
  INSN(AREA "movl $7, %eax; movq $0, 512(%rsi); movq $0, 520(%rsi); " how " (%rsi)")
SAVES("xsave");
SAVES("xsave64");
SAVES("xsavec");
SAVES("xsavec64");
SAVES("xsaveopt");
SAVES("xsaveopt64");
#define EMPTY_HEADER \
  "vpxor %xmm7, %xmm7, %xmm7; vmovdqu %ymm7, 512(%rsi); vmovdqu %ymm7, 544(%rsi); "
#define RESTORES(save, restore)                                                                   \
  INSN(AREA EMPTY_HEADER "movl $7, %eax; " save                                                   \
                         " (%rsi); vpcmpeqd %ymm0, %ymm0, %ymm0; "                                \
                         "vmovdqa %ymm0, %ymm3; fninit; " restore                                 \
                         " (%rsi); fstpt -64(%rsp); movq -64(%rsp), %rcx");                       \
  INSN(AREA EMPTY_HEADER "movl $6, %eax; " save " (%rsi); vpcmpeqd %ymm0, %ymm0, %ymm0; " restore \
                         " (%rsi)");                                                              \
  INSN(AREA EMPTY_HEADER "movl $2, %eax; " save " (%rsi); movl $6, %eax; " restore " (%rsi)");    \
  INSN(AREA EMPTY_HEADER "movl $7, %eax; " save " (%rsi); " restore                               \
                         " (%rsi); "                                                              \
                         "vpcmpeqd %ymm1, %ymm1, %ymm1; xsaveopt64 (%rsi)");                      \
  INSN(AREA "movl $7, %eax; " restore " (%rsi)");                                                 \
  INSN(AREA EMPTY_HEADER "movl $7, %eax; " restore " 16(%rsi)")
RESTORES("xsave", "xrstor");
RESTORES("xsave64", "xrstor64");
RESTORES("xsavec64", "xrstor64");
INSN("andq $-16, %rsi; fninit; fldpi; fxsave (%rsi); fxrstor (%rsi); fninit");
INSN("andq $-64, %rsi; fninit; fldpi; fxsave64 -256(%rsi); fxrstor64 -256(%rsi); fninit");
INSN("fxsave 8(%rsi)");
INSN("sgdt (%rsi); movq $0, (%rsi); movw $0, 8(%rsi)");
INSN("sidt 3(%rsi); movq $0, 3(%rsi); movw $0, 11(%rsi)");
INSN("smsw (%rsi); movw $0, (%rsi)");
INSN("verr (%rsi); lar (%rsi), %eax; lsl 2(%rsi), %ecx");
INSN("movq %rsi, %rax; clzero");
INSN("leaq 77(%rsi), %rax; clzero; movq (%rsi), %rcx");
INSN("movabsq $0x700000000, %rax; orq %rsi, %rax; .byte 0x67; clzero");
INSN("movq %rsi, %rax; xorl %ecx, %ecx; xorl %edx, %edx; monitorx %rax, %ecx, %edx");
INSN("umonitor %rsi");
INSN("andq $-64, %rsi; leaq 128(%rsi), %rax; movdir64b 16(%rsi), %rax");
INSN("movdir64b (%rsi), %rdi");
INSN("movdiri %rax, 8(%rsi); movdiri %ecx, 3(%rsi)");
INSN("movntiq %rax, 8(%rsi); movntil %ecx, 3(%rsi)");
INSN("clflush (%rsi); clflushopt 8(%rsi); clwb 64(%rsi)");
INSN("cldemote (%rsi); prefetcht0 (%rsi); prefetchw (%rdi); nopl (%rsi)");
INSN("ptwriteq (%rsi)");
INSN("cmpxchg8b (%rsi)");
INSN("lock cmpxchg8b 8(%rsi)");
INSN("cmpxchg16b (%rsi)");
INSN("andq $-16, %rsi; lock cmpxchg16b (%rsi); cmpxchg16b 32(%rsi)");
INSN("movq (%rsi), %rax; movq 8(%rsi), %rdx; andq $-16, %rsi; lock cmpxchg16b (%rsi)");
INSN(".byte 0xc4, 0xe2, 0x79, 0xe4, 0x06");        // cmpzxadd %eax, %eax, (%rsi)
INSN(".byte 0x0f, 0x38, 0xfc, 0x06");              // aadd %eax, (%rsi)
INSN(".byte 0xf2, 0x48, 0x0f, 0x38, 0xfc, 0x06");  // aor %rax, (%rsi)
INSN("lwpval $1, (%rsi), %eax");
INSN("vpcmov %xmm0, (%rsi), %xmm1, %xmm2");
INSN("vfmaddps (%rsi), %xmm0, %xmm1, %xmm2");
INSN("pfadd (%rsi), %mm0");
INSN("bndmov (%rsi), %bnd0");
INSN("movq (%rsi), %rax; .byte 0x0f, 0xff, 0x06");  // ud0
INSN("aesenc128kl (%rsi), %xmm0");
INSN("rdsspq %rax; wrssq %rax, (%rsi)");
INSN("invlpg (%rsi)");
INSN("lgdt (%rsi)");
INSN("outsb; insb");
