// AVX-512: merge- and zero-masked loads and stores whose masked-off elements may lie beyond the
// mapping, compress and expand, scatter and gather, embedded broadcasts, truncating stores.
#include "insn.h"

const enum InsnNeeds insn_needs = kNeedsAvx512;

INSN("vmovdqu64 (%rsi), %zmm0");
INSN("vmovdqu64 %zmm1, 3(%rsi)");
INSN("vmovups %zmm1, (%rsi)");
INSN("andq $-64, %rsi; vmovdqa64 (%rsi), %zmm0");
INSN("andq $-64, %rsi; vmovaps %zmm2, 64(%rsi)");
INSN("vmovdqa64 1(%rsi), %zmm0");
INSN("andq $-64, %rsi; vmovntdq %zmm2, (%rsi); sfence");
INSN("vmovdqu8 (%rsi), %zmm0{%k1}");
INSN("vmovdqu8 (%rsi), %zmm0{%k1}{z}");
INSN("vmovdqu8 %zmm1, (%rsi){%k1}");
INSN("vmovdqu16 (%rsi), %ymm0{%k2}");
INSN("vmovdqu16 %zmm1, 1(%rsi){%k2}");
INSN("vmovdqu32 (%rsi), %zmm0{%k1}");
INSN("vmovdqu32 %zmm0, (%rsi){%k1}");
INSN("vmovdqu64 (%rsi), %zmm0{%k1}{z}");
INSN("vmovdqu64 %zmm0, 5(%rsi){%k2}");
INSN("vmovdqu8 %xmm1, (%rsi){%k1}");
INSN("vmovups (%rsi), %xmm0{%k2}");
INSN("vmovss (%rsi), %xmm0{%k1}");
INSN("vmovss %xmm0, (%rsi){%k1}");
INSN("vmovsd (%rsi), %xmm0{%k2}{z}");
INSN("vmovsd %xmm0, (%rsi){%k2}");
INSN("kxorq %k1, %k1, %k1; vmovdqu8 (%rsi), %zmm0{%k1}{z}");
INSN("kxorq %k1, %k1, %k1; vmovdqu8 %zmm0, (%rsi){%k1}");
INSN("movl $3, %eax; kmovq %rax, %k1; vmovdqu64 %zmm0, (%rsi){%k1}");
INSN("movl $7, %eax; kmovq %rax, %k1; vmovdqu8 (%rsi), %zmm0{%k1}{z}");
INSN("movl $0x80, %eax; kmovq %rax, %k1; vmovdqu64 -56(%rsi), %zmm0{%k1}{z}");
INSN("vpcompressd %zmm0, (%rsi){%k1}");
INSN("vpcompressq %zmm0, (%rsi){%k2}");
INSN("vcompressps %ymm0, 1(%rsi){%k1}");
INSN("vcompresspd %zmm0, (%rsi){%k1}");
INSN("vpexpandd (%rsi), %zmm0{%k1}");
INSN("vpexpandq (%rsi), %zmm0{%k1}{z}");
INSN("vexpandps (%rsi), %ymm0{%k2}");
INSN("vexpandpd 1(%rsi), %zmm0{%k2}{z}");
INSN("vpcompressb %zmm0, (%rsi){%k1}");
INSN("vpcompressw %ymm0, (%rsi){%k1}");
INSN("vpexpandb (%rsi), %zmm0{%k1}{z}");
INSN("vpexpandw (%rsi), %zmm0{%k2}");

// Gathers and scatters: every form, with random masks, with displacements that are scaled (64,
// -128) and ones that are not. Of 16 random places of 48 some are equal, with scale 1 and 2 many
// overlap.
#define GATHER(name, index, data)                     \
  INSN(name " (%rsi," index ",4), " data "{%k1}");    \
  INSN(name " 64(%rsi," index ",2), " data "{%k2}");  \
  INSN(name " -37(%rdi," index ",1), " data "{%k1}"); \
  INSN("kxnorq %k1, %k1, %k1; " name " -128(%rdi," index ",8), " data "{%k1}")
#define SCATTER(name, index, data)                    \
  INSN(name " " data ", (%rsi," index ",4){%k1}");    \
  INSN(name " " data ", 64(%rsi," index ",2){%k2}");  \
  INSN(name " " data ", -37(%rdi," index ",1){%k1}"); \
  INSN("kxnorq %k1, %k1, %k1; " name " " data ", -128(%rdi," index ",8){%k1}")
GATHER("vpgatherdd", "%xmm5", "%xmm0");
GATHER("vpgatherdd", "%ymm5", "%ymm0");
GATHER("vpgatherdd", "%zmm5", "%zmm0");
GATHER("vpgatherdq", "%xmm5", "%xmm0");
GATHER("vpgatherdq", "%xmm5", "%ymm0");
GATHER("vpgatherdq", "%ymm5", "%zmm0");
GATHER("vgatherdps", "%xmm5", "%xmm0");
GATHER("vgatherdps", "%ymm5", "%ymm0");
GATHER("vgatherdps", "%zmm5", "%zmm0");
GATHER("vgatherdpd", "%xmm5", "%xmm0");
GATHER("vgatherdpd", "%xmm5", "%ymm0");
GATHER("vgatherdpd", "%ymm5", "%zmm0");
GATHER("vpgatherqd", "%xmm6", "%xmm0");
GATHER("vpgatherqd", "%ymm6", "%xmm0");
GATHER("vpgatherqd", "%zmm6", "%ymm0");
GATHER("vpgatherqq", "%xmm6", "%xmm0");
GATHER("vpgatherqq", "%ymm6", "%ymm0");
GATHER("vpgatherqq", "%zmm6", "%zmm0");
GATHER("vgatherqps", "%xmm6", "%xmm0");
GATHER("vgatherqps", "%ymm6", "%xmm0");
GATHER("vgatherqps", "%zmm6", "%ymm0");
GATHER("vgatherqpd", "%xmm6", "%xmm0");
GATHER("vgatherqpd", "%ymm6", "%ymm0");
GATHER("vgatherqpd", "%zmm6", "%zmm0");
SCATTER("vpscatterdd", "%xmm5", "%xmm0");
SCATTER("vpscatterdd", "%ymm5", "%ymm0");
SCATTER("vpscatterdd", "%zmm5", "%zmm0");
SCATTER("vpscatterdq", "%xmm5", "%xmm0");
SCATTER("vpscatterdq", "%xmm5", "%ymm0");
SCATTER("vpscatterdq", "%ymm5", "%zmm0");
SCATTER("vscatterdps", "%xmm5", "%xmm0");
SCATTER("vscatterdps", "%ymm5", "%ymm0");
SCATTER("vscatterdps", "%zmm5", "%zmm0");
SCATTER("vscatterdpd", "%xmm5", "%xmm0");
SCATTER("vscatterdpd", "%xmm5", "%ymm0");
SCATTER("vscatterdpd", "%ymm5", "%zmm0");
SCATTER("vpscatterqd", "%xmm6", "%xmm0");
SCATTER("vpscatterqd", "%ymm6", "%xmm0");
SCATTER("vpscatterqd", "%zmm6", "%ymm0");
SCATTER("vpscatterqq", "%xmm6", "%xmm0");
SCATTER("vpscatterqq", "%ymm6", "%ymm0");
SCATTER("vpscatterqq", "%zmm6", "%zmm0");
SCATTER("vscatterqps", "%xmm6", "%xmm0");
SCATTER("vscatterqps", "%ymm6", "%xmm0");
SCATTER("vscatterqps", "%zmm6", "%ymm0");
SCATTER("vscatterqpd", "%xmm6", "%xmm0");
SCATTER("vscatterqpd", "%ymm6", "%ymm0");
SCATTER("vscatterqpd", "%zmm6", "%zmm0");
INSN("kxorq %k1, %k1, %k1; vpscatterdd %zmm0, (%rsi,%zmm5,4){%k1}");
INSN("kxorq %k1, %k1, %k1; vpgatherqq (%rsi,%zmm6,4), %zmm0{%k1}");
// All elements at one place: the last one stays.
INSN("vpxord %zmm5, %zmm5, %zmm5; vpscatterdd %zmm0, (%rsi,%zmm5,4){%k1}");
INSN("vpxord %zmm5, %zmm5, %zmm5; vpscatterdq %zmm0, 3(%rsi,%ymm5,4){%k2}");
// Registers 16..31 and the other masks.
INSN("vmovdqa64 %zmm5, %zmm21; vpgatherdd (%rsi,%zmm21,4), %zmm0{%k1}");
INSN("vmovdqa64 %zmm0, %zmm31; vpgatherdd (%rsi,%zmm5,4), %zmm31{%k1}; vmovdqa64 %zmm31, %zmm0");
INSN("vmovdqa64 %ymm0, %ymm16; vpgatherdd (%rsi,%ymm5,4), %ymm16{%k1}; vmovdqa64 %zmm16, %zmm0");
INSN(
    "vmovdqa64 %zmm6, %zmm8; vmovdqa64 %zmm0, %zmm15; vpgatherqq (%rsi,%zmm8,4), %zmm15{%k1}; "
    "vmovdqa64 %zmm15, %zmm0");
INSN(
    "vmovdqa64 %zmm6, %zmm24; vmovdqa64 %zmm0, %zmm26; kmovq %k1, %k7; vgatherqpd (%r12,%zmm24,4), "
    "%zmm26{%k7}; kmovq %k7, %k1; vmovdqa64 %zmm26, %zmm0");
INSN("vmovdqa64 %zmm5, %zmm28; vmovdqa64 %zmm0, %zmm19; vpscatterdd %zmm19, (%rsi,%zmm28,4){%k1}");
INSN(
    "vmovdqa64 %ymm6, %ymm30; vmovdqa64 %ymm0, %ymm17; kmovq %k2, %k5; vpscatterqq %ymm17, "
    "(%r13,%ymm30,4){%k5}; kmovq %k5, %k2");
// Addresses: no base; 32 bits; fs.
INSN("vpbroadcastd %esi, %zmm2; vpaddd %zmm2, %zmm5, %zmm2; vpscatterdd %zmm0, 8(,%zmm2,1){%k1}");
INSN("btsq $40, %rsi; vpscatterdd %zmm0, (%esi,%zmm5,4){%k1}; btrq $40, %rsi");
INSN("btsq $63, %rsi; vpgatherdq 9(%esi,%ymm5,8), %zmm0{%k1}; btrq $63, %rsi");
INSN("rdfsbase %rax; subq %rax, %rsi; vpscatterqd %ymm0, %fs:(%rsi,%zmm6,4){%k1}; addq %rax, %rsi");
// What is written had been in its initial state.
INSN("vzeroall; vpgatherdd (%rsi,%zmm5,1), %zmm0{%k1}");
INSN("vzeroall; vpgatherdd (%rsi,%ymm5,1), %ymm0{%k1}");
INSN("vzeroall; vpgatherdq (%rsi,%ymm5,1), %zmm7{%k2}; vmovdqa64 %zmm7, %zmm0");
INSN("vzeroupper; vpgatherqq (%rsi,%ymm6,1), %ymm0{%k1}");
INSN("vpaddd (%rsi), %zmm1, %zmm0");
INSN("vpaddd (%rsi), %zmm1, %zmm0{%k1}");
INSN("vpaddd (%rsi){1to16}, %zmm1, %zmm0");
INSN("vpaddq (%rsi){1to8}, %zmm1, %zmm0{%k1}{z}");
INSN("vaddps (%rsi){1to16}, %zmm1, %zmm0{%k2}");
INSN("vmulpd (%rsi), %zmm1, %zmm0{%k2}");
INSN("vaddsd (%rsi), %xmm1, %xmm0{%k1}");
INSN("vpternlogd $0x96, (%rsi), %zmm1, %zmm0");
INSN("vpternlogq $0x1e, (%rsi){1to4}, %ymm1, %ymm0{%k1}");
INSN("vpcmpeqb (%rsi), %zmm0, %k1");
INSN("vpcmpltd (%rsi), %zmm0, %k2{%k1}");
INSN("vpcmpub $1, (%rsi), %zmm0, %k1; kortestq %k1, %k1");
INSN("vptestmd (%rsi), %zmm0, %k1");
INSN("vpermi2d (%rsi), %zmm1, %zmm0");
INSN("vpermb (%rsi), %zmm1, %zmm0");
INSN("vpshufb (%rsi), %zmm1, %zmm0{%k1}{z}");
INSN("valignq $3, (%rsi), %zmm1, %zmm0");
INSN("vbroadcasti32x4 (%rsi), %zmm0");
INSN("vbroadcastf64x4 (%rsi), %zmm0{%k1}");
INSN("vpbroadcastd (%rsi), %zmm0{%k1}");
INSN("vinserti64x4 $1, (%rsi), %zmm1, %zmm0");
INSN("vextracti64x4 $1, %zmm0, (%rsi)");
INSN("vextractf32x4 $2, %zmm0, (%rsi){%k1}");
INSN("vpmovqb %zmm0, (%rsi)");
INSN("vpmovdb %zmm0, (%rsi){%k1}");
INSN("vpmovqd %zmm0, (%rsi)");
INSN("vpmovusdw %zmm0, 1(%rsi)");
INSN("vpmovswb %zmm0, (%rsi){%k2}");
INSN("vpmovzxbd (%rsi), %zmm0{%k1}");
INSN("vpmovsxwq (%rsi), %zmm0");
INSN("vcvtps2ph $0, %zmm0, (%rsi){%k1}");
INSN("vcvtudq2pd (%rsi), %zmm0");
INSN("vcvtqq2ps (%rsi){1to8}, %ymm0");
INSN("kmovb (%rsi), %k1");
INSN("kmovw (%rsi), %k2");
INSN("kmovd %k1, (%rsi)");
INSN("kmovq %k2, 1(%rsi)");
INSN("kmovq (%rsi), %k1");
INSN("vpconflictd (%rsi), %zmm0");
INSN("vpmultishiftqb (%rsi), %zmm1, %zmm0");
INSN("vmovups (%rsi), %ymm16; vmovups %ymm16, 64(%rsi); vpxorq %xmm16, %xmm16, %xmm16");
INSN("vmovdqu8 (%rsi), %zmm31; vmovdqu8 %zmm31, 65(%rsi); vpxorq %zmm31, %zmm31, %zmm31");
INSN("vmovdqu64 0x40(%rsi,%r9,8), %zmm0");
