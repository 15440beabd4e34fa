// The seccomp filters that the program installs. They judge every system call of the thread from
// then on, and of what it makes: those that the agent makes for the program, and its own.
//
// A filter is judged before it is installed. If it refuses what the agent cannot do without, the
// process leaves the recording first (leave.h) and installs its filter as if alone. Else the agent
// keeps a copy, and asks it:
//   - before each call of its own (sys() in runtime.h): what would be refused is not made and fails
//     with -EPERM, and the caller does without or has a substitute;
//   - before each call of the program: what a filter refuses is made as it is and never answered by
//     the agent, so that the program meets what it would meet alone (errno, SIGSYS, death).
//
// Example: a program maps its memory, then allows itself read, write, exit and rt_sigreturn only. A
// stripe that the agent waits for would call sched_yield, and the kernel would kill the program for
// it. The filter says so when asked, the call is not made, and the agent goes on spinning.
//
// Why the filter is not changed to let the agent pass: it would let everyone pass who jumps to the
// agent's code, and a recorder must not open a sandbox.
//
// Invariants
//  1. What is installed is what was judged: the kernel is given the agent's copy.
//  2. A filter is known before the kernel could apply it, and forgotten if the kernel refused it.
// Ownership: copies lie in mappings of their own, for the rest of the process and its children.
// Threads: lists grow at their heads, under a lock; readers need none. A filter judges the thread
// that installed it and those that this one makes, or all (TSYNC), as in the kernel: so it is with
// the program's calls. The agent's own are held to all filters of the process, whoever makes them.
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

Answer do_seccomp(Thread* thread, void* context);   // seccomp(2)
Answer set_seccomp(Thread* thread, void* context);  // prctl(PR_SET_SECCOMP)
Answer get_seccomp(Thread* thread);                 // prctl(PR_GET_SECCOMP)

// If one of the program's filters refuses the call, says how it is answered: true.
bool seccomp_refuses(Thread* thread, Answer* answer);

// The sixth argument of execve, which tells the launcher what the filters mean for a new image.
uint64_t seccomp_exec_argument(const Thread* thread);

// REQUIRES: the child belongs to its process already.
void seccomp_inherit(Thread* child, const Thread* thread);

// A vfork child shares this memory, but its filters do not become its parent's.
void* seccomp_save();
void seccomp_restore(void* saved);
void seccomp_after_fork();

}  // namespace shmrec::agent
