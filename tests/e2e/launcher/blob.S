// A stand-in for the agent: calls hello, keeps the descriptor that it gets, starts the program.
// Copied to one page behind the image's base; its BootInfo is at the base.
  .section .rodata
  .globl blob_begin
  .globl blob_end
  .balign 16
blob_begin:
  mov $72, %eax               // fcntl(-1, kCallCommand, kCallHello): asserted in launcher_driver.cc
  mov $-1, %rdi
  mov $0x53484D52, %esi
  mov $1, %edx
  syscall
  xor %eax, %eax
  xor %edi, %edi
  xor %esi, %esi
  xor %edx, %edx
  xor %ecx, %ecx
  xor %r11d, %r11d
  jmp *(blob_begin - 0x1000 + 8)(%rip)
blob_end:
  .section .note.GNU-stack, "", @progbits
