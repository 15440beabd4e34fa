// Code for torture.c: slots of all kinds of accesses, most of them several times, at places that are
// no multiple of anything, so that some lie across the ends of lines and of pages.
//
// A slot is called with rdi: a cell of 128 bytes, shared or private; rsi: a private one; rdx: the
// variant, 0..3; and known values in all other registers. It returns, and may change all of them but
// rsp. Its first instruction and those behind it do the same wherever they are.
//
// ROTATED: how far the shapes are rotated, so that libraries at the same addresses differ.

#define SLOT_BYTES 157
#define SHAPES 14
#define COPIES 6

// Each shape ends with `ret`.

// Jumps behind a lock prefix, to what follows a short instruction, and to what is overwritten.
.macro shape_0
  test %edx, %edx
  jne 1f
  lock incq (%rdi)
1:
  mov (%rdi), %rax
  mov (%rsi), %rcx
  add %rcx, %rax
  cmp $2, %edx
  je 2f
  mov %rdx, %rdx
2:
  mov %rax, 8(%rdi)
  cmp %rax, 8(%rdi)
  jne 3f
  test %edx, %edx
  je 4f
  lock
4:
  addl $3, 24(%rdi)
  ret
3:
  ud2
.endm

// Loads of each size.
.macro shape_1
  mov (%rdi), %al
  movzwl 2(%rdi), %ecx
  mov 4(%rdi), %ebx
  mov 8(%rdi), %r8
  movdqu 16(%rdi), %xmm0
  movsbq 33(%rdi), %r9
  movswl 34(%rdi), %r10d
  movslq 36(%rdi), %r11
  vmovdqu 64(%rdi), %ymm1
  vextracti128 $1, %ymm1, %xmm1
  vpxor %xmm1, %xmm0, %xmm0
  vzeroupper
  ret
.endm

// Stores of each size.
.macro shape_2
  mov %cl, (%rdi)
  mov %cx, 2(%rdi)
  mov %ebx, 4(%rdi)
  mov %r8, 8(%rdi)
  movdqu %xmm0, 16(%rdi)
  movb $7, 33(%rdi)
  movw $0x1234, 34(%rdi)
  movl $0x12345678, 36(%rdi)
  movq $-5, 40(%rdi)
  vmovdqu %ymm0, 64(%rdi)
  vzeroupper
  mov %ah, 50(%rdi)
  sete 51(%rdi)
  ret
.endm

// What reads and writes.
.macro shape_3
  incl (%rdi)
  add %rbx, 8(%rdi)
  negq 16(%rdi)
  shlw $3, 24(%rdi)
  xchg %rcx, 32(%rdi)
  mov 40(%rdi), %rax
  lock cmpxchg %rbx, 40(%rdi)
  lock cmpxchg %r8, 48(%rdi)
  lock xadd %r9, 56(%rdi)
  lock orb $0x80, 64(%rdi)
  btsl $9, 68(%rdi)
  adc %r10, 72(%rdi)
  notb 80(%rdi)
  lock decw 82(%rdi)
  ret
.endm

// Instructions of three bytes, entered at any of them, so that a jump over each overlaps others.
.macro shape_4
  lea (%rdx,%rdx,2), %r9d
  lea 1f(%rip), %r10
  lea (%r10,%r9), %r9
  xor %r10d, %r10d
  jmp *%r9
1:
  mov (%rdi), %rax
  mov (%rdi), %rcx
  mov %rbx, (%rdi)
  mov (%rdi), %rbp
  add %rcx, (%rdi)
  mov (%rdi), %r9
  xor (%rdi), %rax
  mov %rax, (%rdi)
  ret
.endm

// The stack, and what lies below it.
.macro shape_5
  mov %rbx, -16(%rsp)
  mov %r8, -120(%rsp)
  mov (%rdi), %rcx
  mov -16(%rsp), %rax
  add %rax, 8(%rdi)
  push 16(%rdi)
  .cfi_adjust_cfa_offset 8
  mov 24(%rdi), %r9
  pop 32(%rdi)
  .cfi_adjust_cfa_offset -8
  mov -120(%rsp), %r10
  mov %r10, 40(%rdi)
  ret
.endm

// Operands relative to the instruction, next to what is overwritten.
.macro shape_6
  mov (%rdi), %rax
  cmpb $0x5A, 1f(%rip)
  jne 2f
  mov (%rdi), %ecx
  mov 1f(%rip), %r8b
  mov %rcx, 8(%rdi)
  ret
2:
  ud2
1:
  .byte 0x5A
.endm

// A branch behind a short instruction, to which others branch.
.macro shape_7
  mov $3, %ecx
1:
  mov (%rdi), %al
  dec %ecx
  jz 2f
  add %cl, (%rdi)
  jnz 1b
2:
  test %edx, %edx
  jz 3f
  dec %edx
  mov $1, %ecx
  jmp 1b
3:
  add %al, (%rdi)
  ret
.endm

// Strings.
.macro shape_8
  mov %rdi, %rbx
  mov %rsi, %rbp
  mov $5, %ecx
  xchg %rsi, %rdi
  rep movsb
  mov %rbx, %rdi
  mov %rbp, %rsi
  mov $3, %ecx
  rep movsl
  mov %rbx, %rsi
  lodsq
  mov %rbp, %rdi
  mov %rbx, %rsi
  mov $40, %ecx
  repe cmpsb
  mov %rbx, %rdi
  mov %rbp, %rsi
  ret
.endm

// Other uses of memory.
.macro shape_9
  movl $17, 4(%rsi)
  mov $100, %eax
  xor %edx, %edx
  movl $7, 4(%rdi)
  divl 4(%rdi)
  imul 8(%rdi), %rbx
  cmovc 16(%rdi), %rcx
  cmovnc 24(%rdi), %rcx
  sbb 32(%rdi), %r8
  testb $1, 40(%rdi)
  setnz 41(%rdi)
  bt %edx, %ecx
  rcll $1, 44(%rdi)
  movbe 48(%rdi), %r9
  crc32q 56(%rdi), %r10
  cvtsi2sdl 4(%rdi), %xmm0
  addsd 64(%rdi), %xmm0
  movsd %xmm0, 72(%rdi)
  xor %edx, %edx
  test %edx, %edx
  ret
.endm

// Both kinds of memory by turns.
.macro shape_10
  mov (%rdi), %rax
  mov %rax, (%rsi)
  mov $2, %ecx
  mov %rdi, %rbx
1:
  mov 8(%rbx), %r8
  add %r8, 16(%rbx)
  xchg %r9, 24(%rbx)
  mov %rsi, %rbx
  dec %ecx
  jnz 1b
  mov (%rsi), %r10
  add %r10, (%rdi)
  xor %ebx, %ebx
  ret
.endm

// Addresses of all forms.
.macro shape_11
  mov $2, %ecx
  mov 8(%rdi,%rcx,8), %rax
  mov %rax, (%rdi,%rcx,2)
  lea 128(%rdi), %rbp
  mov -100(%rbp), %ebx
  mov %rbx, -64(%rbp,%rcx,4)
  mov %rdi, %r12
  mov 4(%r12), %r8
  mov %rdi, %r13
  mov %r8d, 12(%r13)
  mov (%rcx,%rdi), %rcx
  xor %rcx, (%rdi)
  mov %rsi, %rbp
  mov %rsi, %r12
  mov (%rdi), %rdi
  mov %r13, %rdi
  ret
.endm

// Flags that pass over accesses.
.macro shape_12
  cmp %rcx, %rbx
  mov (%rdi), %rax
  mov %rbx, 8(%rdi)
  jb 1f
  stc
1:
  adc (%rdi), %rcx
  mov 16(%rdi), %r8d
  rcr $1, %r9
  std
  mov 24(%rdi), %r10
  mov %r10, 32(%rdi)
  cld
  sahf
  mov 40(%rdi), %r11
  lahf
  mov %ah, 50(%rdi)
  fldl 64(%rdi)
  fstpl 72(%rdi)
  ret
.endm

// Jumps over lock prefixes of instructions that follow short ones, so that a jump over these covers
// them, too: at each of its bytes, and behind it.
.macro shape_13
  test %edx, %edx
  je 1f
  mov (%rdi), %eax
  lock
1:
  addl $3, 24(%rdi)
  cmp $1, %edx
  je 2f
  mov (%rdi), %rcx
  lock
2:
  incl 8(%rdi)
  cmp $2, %edx
  je 3f
  mov (%rdi), %ebx
  cmc
  lock
3:
  xadd %r8, 16(%rdi)
  cmp $3, %edx
  je 4f
  mov (%rdi), %eax
  mov (%rsi), %ecx
  lock
4:
  decl 40(%rdi)
  test %edx, %edx
  je 5f
  mov (%rdi), %ebp
  .byte 0x66
  lock
5:
  incl 44(%rdi)
  ret
.endm

.macro slot shape
  .cfi_startproc
0:
  shape_\shape
  .fill SLOT_BYTES - (. - 0b), 1, 0xCC
  .cfi_endproc
.endm

.macro slot_of_kind
  .if kind == 0
  slot 0
  .elseif kind == 1
  slot 1
  .elseif kind == 2
  slot 2
  .elseif kind == 3
  slot 3
  .elseif kind == 4
  slot 4
  .elseif kind == 5
  slot 5
  .elseif kind == 6
  slot 6
  .elseif kind == 7
  slot 7
  .elseif kind == 8
  slot 8
  .elseif kind == 9
  slot 9
  .elseif kind == 10
  slot 10
  .elseif kind == 11
  slot 11
  .elseif kind == 12
  slot 12
  .else
  slot 13
  .endif
.endm

  .text
  .globl torture_slots
  .type torture_slots, @object
  .balign 64
torture_slots:
  .set which, 0
  .rept SHAPES * COPIES
  .set kind, (which + ROTATED) % SHAPES
  slot_of_kind
  .set which, which + 1
  .endr
  .size torture_slots, . - torture_slots

  .section .rodata
  .globl torture_rotated
  .type torture_rotated, @object
torture_rotated:
  .long ROTATED
  .size torture_rotated, 4

  .section .note.GNU-stack, "", @progbits
