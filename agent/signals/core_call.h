// Asks the launcher for a core of this process, which is about to end: by a signal, or by an exit
// with a status other than 0 if the policy wants that.
//
// The launcher reads the process from outside while the calling thread waits in the call; it stops
// all others. Who dies at the same time waits until that is done. A launcher that is gone, or a
// filter of the program that refuses the call, costs the core and nothing else.
// Threads: any, in a handler. REQUIRES: no lock, and memory as the program left it.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// If it is a signal for which the kernel dumps core where nothing else was asked of it. `context`:
// registers of the program, at the instruction where it dies.
void core_before_death(Thread* thread, const Context& context, const Siginfo& info);
// `status`: as exit_group takes it.
void core_before_exit(Thread* thread, const Context& context, uint64_t status);

}  // namespace shmrec::agent
