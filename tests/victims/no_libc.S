// A static program without a C library: raw system calls, a shared mapping, fork, wait, an odd stack.
#include <sys/syscall.h>

  .globl _start
  .text
_start:
  // mmap(NULL, 4096, READ|WRITE, SHARED|ANONYMOUS, -1, 0)
  movl $SYS_mmap, %eax
  xorl %edi, %edi
  movl $4096, %esi
  movl $3, %edx
  movl $0x21, %r10d
  movq $-1, %r8
  xorl %r9d, %r9d
  syscall
  testq %rax, %rax
  js bad
  movq %rax, %rbx
  movl $7, (%rbx)
  // A stack that is almost used up, and nothing below it that may be touched.
  leaq small_stack_end(%rip), %rsp
  movl $SYS_fork, %eax
  syscall
  testl %eax, %eax
  js bad
  jz in_child
  movl %eax, %edi
  leaq status(%rip), %rsi
  xorl %edx, %edx
  xorl %r10d, %r10d
  movl $SYS_wait4, %eax
  syscall
  cmpl $0x300, status(%rip)
  jne bad
  cmpl $42, (%rbx)
  jne bad
  cmpl $35, 8(%rbx)
  jne bad
  movl $SYS_write, %eax
  movl $1, %edi
  leaq message(%rip), %rsi
  movl $message_bytes, %edx
  syscall
  xorl %edi, %edi
  jmp leave_with
in_child:
  addl $28, (%rbx)
  movl $7, %eax
  lock xaddl %eax, (%rbx)
  movl %eax, 8(%rbx)
  movl $3, %edi
  jmp leave_with
bad:
  movl $1, %edi
leave_with:
  movl $SYS_exit_group, %eax
  syscall
  hlt

  .section .rodata
message:
  .ascii "no_libc\n"
  .set message_bytes, . - message
  .data
small_stack:
  .fill 64, 1, 0
small_stack_end:
status:
  .long 0
  .section .note.GNU-stack, "", @progbits
