// A syscall of the program that came by a patched site (patches/call_stub.h), without a signal.
//
// It means what it does when it traps: the same table of syscalls answers it. What is different is
// where that runs. In the handler of a SIGSYS all signals are blocked that can be, and the
// program's registers lie in a frame; here they lie in the Thread, a signal may come at any
// instruction, and is deferred as in an access. So there are four ways, by the syscall's number:
//
//   - what needs the frame or the mask in it (clone, execve, rt_sigprocmask...) goes back to the
//     stub, whose syscall instruction traps;
//   - what takes no pointer and concerns no file is made at once;
//   - what takes pointers is made at once if they lead to no traced memory, and what concerns files
//     if there is no segment in the run;
//   - all else passes through dispatch_syscall.
//
// Threads: the calling one, on its access stack, outside of handlers.
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

// Does a call with this number need its SIGSYS?
bool call_needs_signal(uint64_t number);

// For entry.S. thread->regs are the program's, but for those that C++ keeps, for rip, and for rcx
// and r11, which lead behind the call, in the program and in the stub. 0: it goes to
// thread->call_made with the registers that it has. 1: it needs call_begin.
extern "C" uint64_t call_jumped(Thread* thread);
// With all registers. 0: it is over. 1: it goes to thread->call_made.
extern "C" uint64_t call_begin(Thread* thread);
// The same in replay, with all registers. 0: it goes to thread->call_made, which traps. 1: it is
// over.
extern "C" uint64_t call_replayed(Thread* thread);
// Something waits for the thread: thread->regs, which are complete, go back to before the call.
extern "C" void call_not_begun(Thread* thread);  // after call_jumped
extern "C" void call_not_made(Thread* thread);   // after call_begin

}  // namespace shmrec::agent
