// Tracers inside of the workload: a process that is traced by another one leaves the recording
// before its tracer can see it.
//
// The problem. A tracer is shown each signal of its tracee before the tracee is. The agent lives by
// signals, one for each syscall and each access to traced memory: the tracer would see them all,
// and gdb's `run`, which sits in vfork while its child stops at the first, would wait for ever.
//
// What is done. A process that asks to be traced (PTRACE_TRACEME) leaves the recording first. So
// does one that a recorded process attaches to, as long as the kernel would let it attach: the
// tracer's agent calls the tracee's by the queued SIGSYS that also calls threads (leave.h).
//
//     agent of the tracer                  agent of the tracee
//     is it recorded? may I attach?
//     SIGSYS, kLeaveValue               -> takes its process out of the recording
//     waits for its entry to end        <- the exit page writes the entry's end, and is left
//     attaches                             the program goes on; what was interrupted is made again
//
// A program that is attached to while its agent still starts goes on without it.
//
// A tracee that cannot leave in time (stopped, or waiting in vfork) is attached to as it is, and
// that is said; the call stays with it, so it leaves at the first SIGSYS that its tracer lets pass.
//
// Invariants
//  1. A process that has left, or is in its exec, is never called: SIGSYS would kill it. Both the
//     call and the word in the process's entry that forbids further calls are made under the lock
//     of the log's tables, so a call comes either before that word or not at all.
//  2. Who may not attach takes nobody out of the recording.
// Threads: any. Units: time-stamp counter. Trust: the log's entries are only believed where the
// kernel says that the process has the agent's handlers.
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

Answer do_ptrace(Thread* thread, void* context);
// Has somebody attached to this process already?
bool is_traced();

}  // namespace shmrec::agent
