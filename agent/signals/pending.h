// Needed signals that somebody sent (kill, sigqueue, a timer) while the program blocks them: the
// kernel does not block them, so they have arrived; they wait here until the program unblocks them,
// asks for them, or goes on as another image.
//
// What was sent to a thread waits with the thread, what was sent to the process with the process,
// unless one of its threads does not block it: that thread is called to take it.
//
// Threads: lock-free, as a signal may come at any moment. A signal is stored first, then its sender
// looks for a thread that does not block it; a thread unblocks or waits first, then looks for
// stored signals. Whichever of the two comes second finds what the first has done, so none is
// overlooked.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// The value of the queued SIGSYS that calls a thread to look at what waits for it.
constexpr uint64_t kLookValue = 0x736872656C6F6F6B;

// False: it cannot be called.
bool call_to_look(const Process* process, int32_t tid);

// A needed signal has been sent to this thread, which now blocks `blocked`.
void pending_note(Thread* thread, const Siginfo& info, uint64_t blocked);
// What waits for this thread, of its own and of its process's.
uint64_t pending_set(const Thread* thread);
// Takes the first that is in `set`; false: there is none, or another thread was faster.
bool pending_take(Thread* thread, uint64_t set, Siginfo* info);
// The program ignores `signal` from now on: what waits of it is forgotten.
void pending_forget(Process* process, int signal);
// Nothing waits in a forked child.
void pending_after_fork(Thread* thread);
// Makes all that wait pending in the kernel. REQUIRES: they are blocked there.
void pending_to_kernel(Thread* thread);

}  // namespace shmrec::agent
