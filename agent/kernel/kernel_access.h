// Accesses that the kernel makes for the program's syscalls: translation and logging.
// kernel_access() itself is declared in syscalls.h; this is what its parts and the signal code
// share.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// May the pending syscall reach traced memory by its pointers? Says yes where that is not easily
// told. REQUIRES: nothing native is mapped.
bool kernel_access_concerned(Thread* thread);

// Gives back what a syscall that did not complete holds: it is restarted from its instruction, with
// the program's own arguments, or was left by a jump out of a signal handler. Harmless at any
// moment.
void kernel_access_cancel(Thread* thread);

// Puts the program's own arguments back into thread->regs: the kernel preserves them.
void restore_arguments(Thread* thread);

// The post step of translated syscalls.
void kernel_access_post(Thread* thread);

}  // namespace shmrec::agent
