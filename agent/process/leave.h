// How a process leaves the recording for good and goes on as if alone: its memory, its signals, its
// alternate stacks and its system calls are its own again, in all its threads.
//
// Example: a program is about to install a seccomp filter that refuses rt_sigreturn. The thread
// that does so gives all traced memory its protection back, calls the other threads by a queued
// SIGSYS, and waits until each has come out of the agent and stands still in its handler. Only then
// the kernel gets the program's own signal actions. Each thread turns its syscall dispatch off and
// returns into the program by way of code that says so (entry.S); the first one does so when all
// others have, and makes its call once more, natively. So the filter does not come while another
// thread has a call of the agent to make.
//
// A tracer's agent calls a thread of a process that it is about to attach to in the same way
// (tracer.h); that one is then the thread that begins.
//
// A vfork child's memory is its creator's, and the child is about to exec: its traced memory stays
// so, and what the child does with it goes on being performed by the agent; only its syscalls are
// its own. Where there is no traced memory it leaves like others.
//
// Why stand still: a thread that is back in the program with its own alternate stack must not meet
// a handler of the agent, and one that still has syscall dispatch needs the agent's for SIGSYS.
//
// A thread that does not come within half a minute (it waits in vfork for a child that neither ends
// nor executes) is left as it is: the agent keeps SIGSYS, and takes it out when it comes.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// The value of the queued SIGSYS that calls a thread out of the recording.
constexpr uint64_t kLeaveValue = 0x53484D4C454156;
constexpr const char* kTracedWhy = "traced by a debugger of the workload's own";

// REQUIRES: `context` is the outermost handler's, with the program's registers where it is to go
// on; the caller returns from that handler with Answer::kResume; no lock is held.
void leave_process(Thread* thread, Context* context, shmlog::DegradedReason reason,
                   const char* why);
// Puts the program back before its pending syscall, which it then makes again.
void back_to_call(Thread* thread, Context* context);
// leave_process before the pending syscall, which is then made as if no agent were there.
Answer leave_before_call(Thread* thread, Context* context, shmlog::DegradedReason reason,
                         const char* why);
// Calls a thread of another process. False: it may not be.
// REQUIRES: the tables are locked, and the process's entry is live and not leaves_for.
bool call_to_leave(int32_t pid, int32_t tid);
// Has a process that is degraded for `reason` left, or is about to?
bool leaves_for(uint32_t reason);
// The thread has been called (kDeferredLeave), by another of its process or by a tracer's agent.
// REQUIRES: as leave_process.
void leave_when_called(Thread* thread, Context* context);
// Has this process left, or is it about to?
bool leaving(const Process* process);
// In a child that was forked while its parent's threads were called: there is nobody to wait for.
// If its thread has been called, it leaves by itself.
void leave_after_fork(Process* process);

}  // namespace shmrec::agent
