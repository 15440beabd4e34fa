// AVX and AVX2: 128- and 256-bit moves, masked moves whose masked-off elements may lie beyond the
// mapping, broadcasts, gathers, fused arithmetic, XSAVE.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsAvx2;

INSN("vmovups (%rsi), %xmm0");
INSN("vmovups (%rsi), %ymm0");
INSN("vmovups %ymm1, 3(%rsi)");
INSN("vmovups %xmm1, (%rsi)");
INSN("andq $-32, %rsi; vmovaps (%rsi), %ymm2");
INSN("andq $-32, %rsi; vmovdqa %ymm3, 32(%rsi)");
INSN("vmovdqa 1(%rsi), %ymm3");
INSN("vmovdqu (%rsi), %ymm4");
INSN("vmovdqu %ymm4, (%rdi)");
INSN("vlddqu (%rsi), %ymm0");
INSN("andq $-32, %rsi; vmovntps %ymm0, (%rsi); sfence");
INSN("andq $-32, %rsi; vmovntdqa (%rsi), %ymm0");
INSN("vmovss (%rsi), %xmm0");
INSN("vmovsd %xmm1, (%rsi)");
INSN("vmovd (%rsi), %xmm0");
INSN("vmovq %xmm0, (%rsi)");
INSN("vmovhps (%rsi), %xmm1, %xmm0");
INSN("vmovlpd %xmm1, (%rsi)");
INSN("vbroadcastss (%rsi), %ymm0");
INSN("vbroadcastsd (%rsi), %ymm0");
INSN("vbroadcastf128 (%rsi), %ymm0");
INSN("vbroadcasti128 (%rsi), %ymm0");
INSN("vpbroadcastb (%rsi), %ymm0");
INSN("vpbroadcastw (%rsi), %xmm0");
INSN("vpbroadcastd (%rsi), %ymm0");
INSN("vpbroadcastq (%rsi), %ymm0");
INSN("vinsertf128 $1, (%rsi), %ymm1, %ymm0");
INSN("vinserti128 $0, (%rsi), %ymm1, %ymm0");
INSN("vextractf128 $1, %ymm0, (%rsi)");
INSN("vextracti128 $1, %ymm0, 1(%rsi)");
INSN("vmaskmovps (%rsi), %ymm0, %ymm1");
INSN("vmaskmovps (%rsi), %xmm0, %xmm1");
INSN("vmaskmovpd (%rsi), %ymm2, %ymm1");
INSN("vmaskmovps %ymm1, %ymm0, (%rsi)");
INSN("vmaskmovpd %ymm1, %ymm0, (%rsi)");
INSN("vmaskmovpd %xmm1, %xmm0, 5(%rsi)");
INSN("vpmaskmovd (%rsi), %ymm0, %ymm1");
INSN("vpmaskmovq (%rsi), %ymm3, %ymm1");
INSN("vpmaskmovd %ymm1, %ymm0, (%rsi)");
INSN("vpmaskmovq %ymm1, %ymm0, 2(%rsi)");
INSN("vpxor %ymm0, %ymm0, %ymm0; vmaskmovps %ymm1, %ymm0, (%rsi)");
INSN("vpxor %ymm0, %ymm0, %ymm0; vpmaskmovd (%rsi), %ymm0, %ymm1");

// Gathers: every form, masks of random top bits. xmm5 and ymm6 hold indices of both signs.
#define GATHER(name, mask, index, data)                 \
  INSN(name " " mask ", (%rsi," index ",4), " data);    \
  INSN(name " " mask ", -37(%rdi," index ",2), " data); \
  INSN("vpcmpeqd %ymm0, %ymm0, %ymm0; " name " " mask ", (%rsi," index ",8), " data)
GATHER("vpgatherdd", "%xmm0", "%xmm5", "%xmm1");
GATHER("vpgatherdd", "%ymm0", "%ymm5", "%ymm1");
GATHER("vpgatherdq", "%xmm0", "%xmm5", "%xmm1");
GATHER("vpgatherdq", "%ymm0", "%xmm5", "%ymm1");
GATHER("vpgatherqd", "%xmm0", "%xmm6", "%xmm1");
GATHER("vpgatherqd", "%xmm0", "%ymm6", "%xmm1");
GATHER("vpgatherqq", "%xmm0", "%xmm6", "%xmm1");
GATHER("vpgatherqq", "%ymm0", "%ymm6", "%ymm1");
GATHER("vgatherdps", "%xmm0", "%xmm5", "%xmm1");
GATHER("vgatherdps", "%ymm0", "%ymm5", "%ymm1");
GATHER("vgatherdpd", "%xmm0", "%xmm5", "%xmm1");
GATHER("vgatherdpd", "%ymm0", "%xmm5", "%ymm1");
GATHER("vgatherqps", "%xmm0", "%xmm6", "%xmm1");
GATHER("vgatherqps", "%xmm0", "%ymm6", "%xmm1");
GATHER("vgatherqpd", "%xmm0", "%xmm6", "%xmm1");
GATHER("vgatherqpd", "%ymm0", "%ymm6", "%ymm1");
INSN("vpxor %ymm0, %ymm0, %ymm0; vpgatherqq %ymm0, (%rsi,%ymm6,8), %ymm1");
INSN("wrgsbase %rsi; vpgatherdd %ymm0, %gs:(,%ymm5,4), %ymm1");
// High registers, each as index, mask and data.
INSN("vmovdqa %ymm5, %ymm15; vpgatherdd %ymm0, (%rsi,%ymm15,4), %ymm1");
INSN("vmovdqa %ymm0, %ymm13; vpgatherdd %ymm13, (%r12,%ymm5,4), %ymm1; vmovdqa %ymm13, %ymm0");
INSN("vmovdqa %ymm1, %ymm9; vpgatherqq %ymm0, (%r13,%ymm6,4), %ymm9; vmovdqa %ymm9, %ymm1");
// Addresses: no base; 32 bits, with what does not belong to it above; fs; registers that are sums.
INSN(
    "vmovd %esi, %xmm2; vpbroadcastd %xmm2, %ymm2; vpaddd %ymm2, %ymm5, %ymm2; vpgatherdd %ymm0, "
    "8(,%ymm2,1), %ymm1");
INSN("btsq $40, %rsi; vpgatherdd %ymm0, (%esi,%ymm5,4), %ymm1; btrq $40, %rsi");
INSN("btsq $63, %rsi; vpgatherqq %ymm0, 9(%esi,%ymm6,8), %ymm1; btrq $63, %rsi");
INSN(
    "rdfsbase %rax; subq %rax, %rsi; vpgatherdd %ymm0, %fs:(%rsi,%ymm5,4), %ymm1; addq %rax, %rsi");
INSN("xchgq %rsp, %rsi; vpgatherqd %xmm0, (%rsp,%ymm6,4), %xmm1; xchgq %rsp, %rsi");
// The mask's register class in its initial state but for the low half.
INSN("vzeroall; vpcmpeqd %xmm0, %xmm0, %xmm0; vpgatherdd %xmm0, (%rsi,%xmm5,1), %xmm1");
INSN("vzeroupper; vpgatherdq %ymm0, (%rsi,%xmm5,1), %ymm1");
// Flags are none of its business.
INSN("cmpq %rax, %rcx; vpgatherdd %ymm0, (%rsi,%ymm5,4), %ymm1");

INSN("vaddps (%rsi), %ymm1, %ymm0");
INSN("vmulpd (%rsi), %ymm1, %ymm0");
INSN("vaddsd (%rsi), %xmm1, %xmm0");
INSN("vfmadd213ps (%rsi), %ymm1, %ymm0");
INSN("vfmadd231sd (%rsi), %xmm1, %xmm0");
INSN("vpaddd (%rsi), %ymm1, %ymm0");
INSN("vpaddb (%rsi), %xmm1, %xmm0");
INSN("vpshufb (%rsi), %ymm1, %ymm0");
INSN("vpcmpeqb (%rsi), %ymm1, %ymm0; vpmovmskb %ymm0, %eax");
INSN("vpminub (%rsi), %ymm1, %ymm0");
INSN("vpermd (%rsi), %ymm1, %ymm0");
INSN("vpermq $0x1b, (%rsi), %ymm0");
INSN("vperm2i128 $0x21, (%rsi), %ymm1, %ymm0");
INSN("vpalignr $3, (%rsi), %ymm1, %ymm0");
INSN("vpblendvb %ymm2, (%rsi), %ymm1, %ymm0");
INSN("vblendvpd %ymm2, (%rsi), %ymm1, %ymm0");
INSN("vpsllvd (%rsi), %ymm1, %ymm0");
INSN("vpsrlq (%rsi), %ymm1, %ymm0");
INSN("vptest (%rsi), %ymm0");
INSN("vtestps (%rsi), %ymm0");
INSN("vpmovzxbd (%rsi), %ymm0");
INSN("vpmovsxwq (%rsi), %ymm0");
INSN("vpmovzxdq 1(%rsi), %xmm0");
INSN("vcvtps2pd (%rsi), %ymm0");
INSN("vcvtph2ps (%rsi), %ymm0");
INSN("vcvtps2ph $0, %ymm0, (%rsi)");
INSN("vcvtdq2pd (%rsi), %ymm0");
INSN("vcvttps2dq (%rsi), %ymm0");
INSN("vmovddup (%rsi), %ymm0");
INSN("vmaskmovdqu %xmm0, %xmm1");
INSN("vpextrb $3, %xmm0, (%rsi)");
INSN("vpinsrd $1, (%rsi), %xmm1, %xmm0");
INSN("vucomisd (%rsi), %xmm0");
INSN("vstmxcsr (%rsi)");
