// What a program reads from the processor without asking anybody: the time stamp counter, and what
// cpuid tells. Both are made to trap, and what is read is an event. Processors without cpuid
// faulting (AMD's, before Zen 5) let cpuid alone; there the program starts on one processor, which
// the stream names, as the same instruction tells another thing on each.
//
// A program that forbids them to itself (PR_SET_TSC, ARCH_SET_CPUID) does so by the agent's word
// alone from then on.
// Threads: the calling one, in the handler of the trap or of the call.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// From here on the calling thread's reads trap, and those of the threads that it makes; with
// `cpuid`, cpuid too, if the processor can. The agent itself must have read all that it wants.
void let_reads_trap(Thread* thread, bool cpuid);
// Has that been asked for? Of cpuid: and does it?
bool reads_trapped();
bool cpuid_trapped();
// The kernel gets the state that the program wants: it leaves the recording, or becomes another
// image.
void reads_left(const Thread* thread);
// cpuid cannot be recorded any more: the program executes it by itself, and replay ends.
void leave_cpuid(Thread* thread);
// Was it such an instruction that trapped? Then it has been performed for the program.
bool processor_read(Thread* thread, const Siginfo& info, Context* context);

// prctl's PR_SET_TSC and PR_GET_TSC. REQUIRES: reads_trapped.
int64_t counter_set(Thread* thread, uint64_t state);
uint32_t counter_state(const Thread* thread);
// arch_prctl's ARCH_SET_CPUID and ARCH_GET_CPUID. REQUIRES: cpuid_trapped.
int64_t cpuid_set(Thread* thread, uint64_t allowed);
int64_t cpuid_allowed(const Thread* thread);

// Returns the processor that the calling thread is on. Where cpuid does not trap, it stays there
// until may_move, or its first syscall but those that libc makes while it asks the processor
// (`call`: the number of one that it is about to make).
uint32_t stay_on_processor();
void may_move_at(uint64_t call);
void may_move();

}  // namespace shmrec::agent
