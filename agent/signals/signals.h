// Signals: the agent's handlers, and the program's own signals made to look as if the agent were
// not there. The kernel delivers every handled signal to the agent on the agent's stack; the agent
// builds the frame on the program's stack that the kernel would have built, and answers
// rt_sigreturn itself.
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

// Takes over signal handling of the process: the program's present actions become virtual.
void signals_start(Process* process);
// The same for the mask that the calling thread has. REQUIRES: it is armed (thread.h).
void signals_take_mask(Thread* thread);
// Gives the kernel what a new image inherits: mask, ignored signals, pending ones. False: a signal
// has to be handled first; nothing was changed.
bool signals_before_exec(Thread* thread, const Context* context);
void signals_after_failed_exec(Thread* thread);
// The program ends or is beyond help: all traced memory gets its own protections back and nothing
// is traced any more. The program goes on as if never recorded.
void stop_tracing(Process* process, shmlog::DegradedReason reason, const char* why);
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
