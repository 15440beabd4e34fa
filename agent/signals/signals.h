// Signals: the agent's handlers, and the program's own signals made to look as if the agent were
// not there.
//
// The problem. The agent lives by signals: each access to traced memory is a SIGSEGV, each syscall
// a SIGSYS, and both may come at any instruction of the program. So it owns the handlers of all
// signals in the kernel. The program must not notice: its handlers run when they would have run,
// on the stack, with the registers, the mask and the siginfo that the kernel would have given them,
// and return to where they would have returned.
//
// What is done. The kernel delivers every handled signal to the agent, on the agent's stack, with
// all other signals blocked that can be (handler.cc tells what kind it is). The agent then plays
// the kernel: it builds the frame on the program's stack that the kernel would have built
// (frame.cc), changes the registers in its own frame to the start of the program's handler, and
// returns. The program's rt_sigreturn is a syscall like any other and is answered from that frame.
//
// The difficulty is a signal that does not find the program in its own code but in the agent's:
// on the way through an access, or at the syscall instruction that is executed in its place. The
// program's handler must see registers of the program, so such a place is first left. Example:
//
//     program:  mov (%rdi), %eax           traced memory: SIGSEGV
//     agent:      save registers
//                 lock stripe, copy, unlock
//                                       <- SIGALRM
//                 load registers
//     program:  next instruction
//
// Between the save and the load nothing in the processor is the program's, and locks may be held.
// Rolling back would log an access twice, so this place defers: the siginfo is kept in the Thread,
// everything else is blocked, and the end of the path traps, where the registers are the program's
// and the handler of the SIGALRM is started, one instruction later than alone and so at a place
// that a signal could have found. In other places the way out is shorter: at the syscall
// instruction nothing has happened yet, and the registers go back to the program's own syscall;
// behind it the result is there, and they go forward. places.cc holds the table of all these places
// and of what is done in each. It is complete: an address that is in no row is the program's.
//
// Why it is right. (1) A signal is asynchronous: the program cannot tell whether it came before or
// after the instruction or the call that it interrupted, so a place may be moved to the next one
// that looks like the program, as long as nothing is done twice or left out. (2) The signals that
// are not asynchronous, faults, keep the instruction: the agent performs an access for it and
// presents the fault that the access met at that instruction. (3) Nothing waits forever: every path
// that defers ends at a trap or at the end of the outermost handler (settle.cc).
//
// The files: handler.cc (entry, kinds), places.cc (interrupted places), syscall_entry.cc (SIGSYS of
// a syscall), faults.cc (faults of the program, of accesses, of the agent), settle.cc (what was
// deferred or waits), delivery.cc (handler, default action or death), frame.cc (the program's
// stack), pending.cc (needed signals that the program blocks), signal_calls.cc (the program's
// questions and orders).
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

// The kernel's struct ucontext, as it lies in a signal frame.
struct Context {
  uint64_t flags;
  uint64_t link;
  struct {
    uint64_t sp;
    int32_t flags, pad;
    uint64_t size;
  } stack;
  Regs regs;
  uint16_t cs, gs, fs, ss;
  uint64_t error, trap, old_mask, cr2;
  uint64_t fpstate;
  uint64_t reserved[8];
  uint64_t mask;
};
static_assert(sizeof(Context) == 304);

// Bytes of the vector state in a frame.
uint64_t fp_bytes(uint64_t fpstate);

// Takes over signal handling of the process: the program's present actions become virtual.
void signals_start(Process* process);
// The same for the mask that the calling thread has. REQUIRES: it is armed (thread.h).
void signals_take_mask(Thread* thread);
// Gives the kernel what a new image inherits: mask, ignored signals, pending ones. False: a signal
// has to be handled first; nothing was changed.
bool signals_before_exec(Thread* thread, const Context* context);
void signals_after_failed_exec(Thread* thread);
// The process begins without the handlers of the one that made it (CLONE_CLEAR_SIGHAND). REQUIRES:
// it has one thread.
void signals_clear(Process* process);
// Builds at `stack_top` a context from which shmrec_return_to can start a new thread of the
// program.
Context* context_for_child(const Context& parent, uint64_t stack_top);

Answer do_sigaction(Thread* thread, void* context);
Answer do_sigprocmask(Thread* thread, void* context);
Answer do_sigaltstack(Thread* thread, void* context);
Answer do_sigreturn(Thread* thread, void* context);
Answer do_sigpending(Thread* thread, void* context);
Answer do_sigtimedwait(Thread* thread, void* context);
Answer do_signalfd(Thread* thread, void* context);
// A call during which another mask holds: rt_sigsuspend, ppoll, pselect6, epoll_pwait...
Answer do_masked_wait(Thread* thread, void* context);

}  // namespace shmrec::agent
