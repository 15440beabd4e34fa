// The agent's few machine-level paths: where it is entered, where it performs a program's syscall,
// and the code around each generated access instruction.
//
// An access (see instructions.cc). Generated per site (sites/emit.h):
//     core:   the instruction, with its memory operand replaced by (%scratch) ; jmp shmrec_access_leave
// Common to all sites, here:
//     enter:  save the program's registers, call access_begin
//             -> core registers loaded, jump to the core; or straight to the tail
//     leave:  save the core's registers, call access_end
//             -> another core round, or the tail
//     tail:   load the program's registers, go on at exit_ip by way of the exit page
// The gs base points to the thread's Thread in all of this. It may be the program's before and after
// (gs.h), so the last instructions cannot use it, nor a register, nor the program's stack: they lie
// in the exit page, which is mapped beside each Thread and names it relative to rip.
// The program's stack is never touched, and no instruction outside the C++ part but popfq and the core
// itself changes flags that matter: they are saved first and loaded last.
//
// Signals. One that arrives anywhere in here is deferred (signals/settle.cc sets `deferred` and blocks all
// others) and the tail then traps at shmrec_deferred_trap. In [tail_begin, tail_end) the saved
// registers are complete: the handler loads them itself and goes on at exit_ip. So they are in the
// exit page.
//
// Offsets are those of struct Thread (agent/process/thread.h), asserted there.

#include "agent/arch/x86_64/offsets.inc"

.macro save_registers at
  save_changed \at
  save_kept \at
  mov %rax, %gs:(\at + R_RAX)
  mov %rsp, %gs:(\at + R_RSP)
  mov %gs:STACK_TOP, %rsp
  pushfq
  popq %gs:(\at + R_EFLAGS)
  cld
.endm

.macro load_registers at
  mov %gs:STACK_TOP, %rsp
  pushq %gs:(\at + R_EFLAGS)
  popfq
  load_changed \at
  mov %gs:(\at + R_R12), %r12
  mov %gs:(\at + R_R13), %r13
  mov %gs:(\at + R_R14), %r14
  mov %gs:(\at + R_R15), %r15
  mov %gs:(\at + R_RBP), %rbp
  mov %gs:(\at + R_RBX), %rbx
  mov %gs:(\at + R_RAX), %rax
  mov %gs:(\at + R_RSP), %rsp
.endm

  .text

// ---- First instruction of the agent in a process ------------------------------------------------
// Injected: jumped to with the registers of a fresh image. API: called as int entry(void).
  .globl shmrec_agent_entry
  .type shmrec_agent_entry, @function
shmrec_agent_entry:
  cmpl $2, 4+shmrec_boot_info(%rip)
  je 1f
  // A fresh image: all general registers are 0 but rsp, and flags are clear.
  mov %rsp, %rbx
  mov %rsp, %rdi
  lea boot_stack_top(%rip), %rsp
  call shmrec_agent_start
  mov %rbx, %rsp
  xor %ebx, %ebx
  xor %eax, %eax
  xor %ecx, %ecx
  xor %edx, %edx
  xor %esi, %esi
  xor %edi, %edi
  xor %r8d, %r8d
  xor %r9d, %r9d
  xor %r10d, %r10d
  xor %r11d, %r11d
  pushq $0x200
  popfq
  jmp *8+shmrec_boot_info(%rip)
1:
  push %rbx
  mov %rsp, %rbx
  mov %rsp, %rdi
  lea boot_stack_top(%rip), %rsp
  call shmrec_agent_start
  mov %rbx, %rsp
  pop %rbx
  ret

// ---- Signal return -----------------------------------------------------------------------------
// The end of each handler of the agent: rsp is at its ucontext, in the thread's block. The signals
// that the agent needs are not blocked in a handler. One that comes while the handler works is seen
// at its end (settle.cc); one that comes later sets UNSETTLED and, if it finds these instructions,
// goes back to the first. So none is overlooked.
function shmrec_restorer
  mov %rsp, %rax
  and $-THREAD_BLOCK, %rax
  cmpl $0, UNSETTLED(%rax)
  jne shmrec_settle_at
  mov $15, %eax
  syscall
function shmrec_restorer_end
  nop

// void shmrec_begin_at(ucontext*): makes the given context the thread's own, which is outside of
// handlers from then on.
function shmrec_begin_at
  mov %rdi, %rsp
shmrec_settle_at:
  mov %rsp, %rdi
  mov %rsp, %rbx
  and $-16, %rsp
  call shmrec_settle_again
  mov %rbx, %rsp
  jmp shmrec_restorer

// void shmrec_return_to(ucontext*): makes the given context the thread's own.
function shmrec_return_to
  mov %rdi, %rsp
  mov $15, %eax
  syscall
  ud2

// ---- A call on another stack ---------------------------------------------------------------------
// int64 shmrec_on_stack(stack_top, number, argument): makes the syscall with that stack pointer.
function shmrec_on_stack
  mov %rsi, %rax
  mov %rsp, %r8
  mov %rdi, %rsp
  mov %rdx, %rdi
  xor %esi, %esi
  syscall
  mov %r8, %rsp
  ret

// ---- clone -------------------------------------------------------------------------------------
// int64 shmrec_clone(flags, stack, parent_tid, child_tid, tls, Thread* child)
// The child runs shmrec_clone_child(child) on `stack` and does not return.
function shmrec_clone
  mov %rcx, %r10
  mov $56, %eax
  syscall
  test %rax, %rax
  jz 1f
  ret
1:
  mov %r9, %rdi
  call shmrec_clone_child
  ud2

// int64 shmrec_clone3(args, bytes, Thread* child): the same, with the stack in the arguments.
function shmrec_clone3
  mov %rdx, %r9
  mov $435, %eax
  syscall
  test %rax, %rax
  jz 1b
  ret

// ---- exec ----------------------------------------------------------------------------------------
// int64 shmrec_exec(const uint64 args[6], number)
// Makes the syscall unless something is deferred: -EINTR then. A signal that comes in here before the
// kernel has decided, or while it waits for the launcher, is deferred and continues at
// shmrec_exec_interrupted (places.cc), so that none is lost with the old image.
function shmrec_exec
  mov %rsi, %rax
  mov 40(%rdi), %r9
  mov 32(%rdi), %r8
  mov 24(%rdi), %r10
  mov 16(%rdi), %rdx
  mov 8(%rdi), %rsi
  mov (%rdi), %rdi
  cmpq $0, %gs:DEFERRED
  jne shmrec_exec_interrupted
  syscall
function shmrec_exec_call_done
  ret
function shmrec_exec_interrupted
  mov $-4, %rax
  ret

// ---- Syscalls of the program ---------------------------------------------------------------------
// Entered by the SIGSYS handler or from a stub with the program's registers (arguments perhaps
// changed).
function shmrec_syscall_plain
  syscall
function shmrec_syscall_plain_done
  mov %rax, %gs:(REGS + R_RAX)
  mov %gs:CALL_BEHIND, %rcx
  jmp *%gs:CALL_EXIT
function shmrec_syscall_plain_end

// By the 32-bit table; keeps all registers but rax.
function shmrec_int80
  int $0x80
function shmrec_int80_done
  mov %rax, %gs:(REGS + R_RAX)
  jmp *%gs:EXIT_PAGE
function shmrec_int80_end

function shmrec_syscall_post
  syscall
function shmrec_syscall_post_done
  save_registers REGS
  mov %gs:0, %rdi
  call syscall_finish
  jmp shmrec_tail_begin

// From a patched site's stub (patches/call_stub.h), with the program's registers but for those that a
// syscall changes: rcx is what is behind the instruction, r11 what is behind it in the stub. What C++
// keeps is left where it is until the call turns out to need more than to be made.
.macro save_of_call
  mov %rax, %gs:(REGS + R_RAX)
  lahf
  seto %al
  mov %rax, %gs:FAST_FLAGS
  save_changed REGS
  mov %rbp, %gs:(REGS + R_RBP)  // for debuggers
  mov %rsp, %gs:(REGS + R_RSP)
  mov %gs:STACK_TOP, %rsp
  pushfq
  popq %gs:(REGS + R_EFLAGS)
  mov %gs:0, %rdi
.endm

function shmrec_call_jumped
  save_of_call
  call call_jumped
  test %eax, %eax
  jnz call_whole
// To the syscall instruction. A signal that comes in here finds that the call was not made.
function shmrec_call_load
  cmpq $0, %gs:DEFERRED
  jne call_deferred
  load_unkept
  jmp *%gs:CALL_MADE
function shmrec_call_load_end
call_deferred:
  save_kept REGS
  mov %gs:0, %rdi
  call call_not_begun
  jmp shmrec_tail_begin

call_whole:
  save_kept REGS
  mov %gs:0, %rdi
  call call_begin
  test %eax, %eax
  jz shmrec_call_end
// The same.
function shmrec_call_make
  cmpq $0, %gs:DEFERRED
  jne make_deferred
  load_unkept
  jmp *%gs:CALL_MADE
function shmrec_call_make_end
// Like the tail of an access, with what C++ keeps in place.
function shmrec_call_end
  cmpq $0, %gs:DEFERRED
  jne shmrec_deferred_trap
  load_unkept
  jmp *%gs:CALL_EXIT
function shmrec_call_end_end

// The same in replay.
function shmrec_call_replayed
  save_of_call
  save_kept REGS
  call call_replayed
  test %eax, %eax
  jz shmrec_call_load
  jmp shmrec_call_end

make_deferred:
  mov %gs:0, %rdi
  call call_not_made
  jmp shmrec_tail_begin

// ---- Accesses ------------------------------------------------------------------------------------
function shmrec_access_enter
  save_registers REGS
  mov %gs:0, %rdi
  call access_begin
  test %eax, %eax
  jz shmrec_tail_begin
run_core:
  load_registers CORE
  jmp *%gs:CORE_IP

// From a patched site's stub, with the program's registers.
function shmrec_access_jumped
  save_registers REGS
  mov %gs:0, %rdi
  call access_jumped
  test %eax, %eax
  jz shmrec_tail_begin
  jmp run_core

// The same in replay.
function shmrec_access_replayed
  save_registers REGS
  mov %gs:0, %rdi
  call access_replayed
  test %eax, %eax
  jz shmrec_tail_begin
  jmp run_core

function shmrec_access_leave
  save_registers CORE
  mov %gs:0, %rdi
  call access_end
  test %eax, %eax
  jnz run_core

function shmrec_tail_begin
  cmpq $0, %gs:DEFERRED
  jne shmrec_deferred_trap
  load_registers REGS
  jmp *%gs:EXIT_PAGE
function shmrec_tail_end
  nop
function shmrec_deferred_trap
  ud2
// The program is to see a fault at the access (Thread::raise).
function shmrec_raise_trap
  ud2

// ---- Code that was changed -------------------------------------------------------------------------
// void shmrec_serialize(): what this thread executes from now on is fetched anew. A processor finds
// by itself that a store changes code that it is about to execute, if the store was made at the
// code's own address; the agent makes it at another one. iretq is the one instruction for it that
// every processor has and no hypervisor intercepts.
function shmrec_serialize
  mov %rsp, %rax
  mov %ss, %ecx
  push %rcx
  push %rax
  pushfq
  mov %cs, %ecx
  push %rcx
  lea 1f(%rip), %rcx
  push %rcx
  iretq
1:
  ret

// ---- Copying memory that may fault -----------------------------------------------------------------
// int shmrec_safe_copy(to, from, bytes): 0, or 1 after a fault. No stack use in between.
function shmrec_safe_begin
function shmrec_safe_copy
  cmp $8, %rdx
  je 8f
  cmp $4, %rdx
  je 4f
  cmp $1, %rdx
  je 1f
  cmp $2, %rdx
  je 2f
  mov %rdx, %rcx
  shr $3, %rcx
  jz 6f
5:
  mov (%rsi), %rax
  mov %rax, (%rdi)
  add $8, %rsi
  add $8, %rdi
  dec %rcx
  jnz 5b
6:
  mov %rdx, %rcx
  and $7, %ecx
  jz 9f
7:
  movb (%rsi), %al
  movb %al, (%rdi)
  inc %rsi
  inc %rdi
  dec %rcx
  jnz 7b
9:
  xor %eax, %eax
  ret
8:
  mov (%rsi), %rax
  mov %rax, (%rdi)
  xor %eax, %eax
  ret
4:
  mov (%rsi), %eax
  mov %eax, (%rdi)
  xor %eax, %eax
  ret
2:
  movw (%rsi), %ax
  movw %ax, (%rdi)
  xor %eax, %eax
  ret
1:
  movb (%rsi), %al
  movb %al, (%rdi)
  xor %eax, %eax
  ret
// int shmrec_safe_touch(address): writes a byte as it is. 0, or 1 after a fault.
function shmrec_safe_touch
  lock orb $0, (%rdi)
  xor %eax, %eax
  ret
function shmrec_safe_end
  nop
function shmrec_safe_faulted
  mov $1, %eax
  ret

// ---- Exit page -----------------------------------------------------------------------------------
// Copied once to where it is executed (thread.cc): a page that lies EXIT_PAGE_AT behind its Thread.
// Entered with the registers complete but for rax, which the Thread has. Changes no flags.
  .section .rodata
#define EXIT_PAGE_AT 98304
#define OF_THREAD(offset) shmrec_exit_begin - EXIT_PAGE_AT + (offset)(%rip)
function shmrec_exit_begin
  mov OF_THREAD(REGISTER_GS), %rax
  wrgsbase %rax
  mov OF_THREAD(REGS + R_RAX), %rax
  jmp *OF_THREAD(EXIT_IP)
// The same for a thread that leaves the recording: nothing of the agent follows (leave.h).
function shmrec_exit_left
  movl $2, OF_THREAD(LEFT)
  mov OF_THREAD(ENTRY_STATE), %rax
  movl $ENTRY_ENDED, (%rax)
  jmp shmrec_exit_begin
function shmrec_exit_end

  .bss
  .balign 64
  .skip 32768
boot_stack_top:

  .section .note.GNU-stack, "", @progbits
