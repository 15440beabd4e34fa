// Asks the launcher for a core of this process, which a signal is about to end.
//
// The launcher reads the process from outside while the calling thread waits in the call; it stops
// all others. Who dies at the same time waits until that is done. A launcher that is gone, or a
// filter of the program that refuses the call, costs the core and nothing else.
// Threads: any, in a handler. REQUIRES: no lock, and memory as the program left it.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// Does the kernel dump core where nothing else was asked of `signal`?
bool dumps_core(int signal);

// `context`: registers of the program, at the instruction where it dies.
void core_before_death(Thread* thread, const Context& context, const Siginfo& info);

}  // namespace shmrec::agent
