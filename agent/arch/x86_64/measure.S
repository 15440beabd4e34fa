// Instructions that are executed to see in what state a fault leaves the registers (processor.h).
//
// Each one stands alone between shmrec_safe_measure_begin and _end: the fault handler goes on from
// there at shmrec_safe_faulted, which returns 1, with all other registers as the fault left them.
// Vector registers are used freely: this runs in signal handlers, whose end restores them.

.macro function name
  .globl \name
  .hidden \name
  .type \name, @function
\name:
.endm

  .text

function shmrec_safe_measure_begin
function shmrec_faulting_gather_simd
  vpgatherqq %xmm0, (,%xmm1,1), %xmm2
  xor %eax, %eax
  ret
function shmrec_faulting_gather_evex_simd
  vpgatherqq (,%xmm1,1), %xmm2{%k1}
  xor %eax, %eax
  ret
function shmrec_faulting_convert_simd
  vcvtps2ph $0, %zmm2, (%rdi){%k1}
  xor %eax, %eax
  ret
function shmrec_safe_measure_end
  nop

// int (const uint64 addresses[2], uint64 mask[4], uint64 data[4])
function shmrec_measure_gather_simd
  vmovdqu (%rdi), %xmm1
  vmovdqu (%rsi), %ymm0
  vmovdqu (%rdx), %ymm2
  call shmrec_faulting_gather_simd
  vmovdqu %ymm0, (%rsi)
  vmovdqu %ymm2, (%rdx)
  vzeroupper
  ret

// int (const uint64 addresses[2], uint64 data[8])
function shmrec_measure_gather_evex_simd
  vmovdqu (%rdi), %xmm1
  vmovdqu64 (%rsi), %zmm2
  kxnorw %k1, %k1, %k1
  call shmrec_faulting_gather_evex_simd
  vmovdqu64 %zmm2, (%rsi)
  vzeroupper
  ret

// int (address, uint32* mxcsr): converts numbers that are inexact as half floats.
function shmrec_measure_convert_simd
  movl $0x3DCCCCCD, %eax  // 0.1
  vmovd %eax, %xmm2
  vbroadcastss %xmm2, %zmm2
  kxnorw %k1, %k1, %k1
  ldmxcsr (%rsi)
  call shmrec_faulting_convert_simd
  stmxcsr (%rsi)
  vzeroupper
  ret

  .section .note.GNU-stack, "", @progbits
