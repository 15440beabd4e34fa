// Syscalls of the program, each of which reaches the agent as SIGSYS (Syscall User Dispatch), or
// from a patched site without a signal (signals/jumped_call.h).
//
// A syscall is answered in one of three ways: at once (result in regs.rax), natively (the registers
// are the program's and the syscall instruction in entry.S is executed in the program's context,
// with its signal mask, so that signals interrupt it as they would), or natively with changed
// arguments and a `post` step afterwards. entry.S has one syscall instruction for each of the
// latter two.
//
// Threads: the calling one, in the handler of its SIGSYS; a `post` step runs after the handler, on
// the agent's stack. Ownership: thread->call holds all that belongs to the call, until the next
// one.
#pragma once

#include "agent/access/access.h"

namespace shmrec::agent {

enum class Answer {
  kDone,    // regs.rax is the result
  kNative,  // execute it with the registers as they are, then go on
  kPost,    // execute it, then call thread->call.post with the result in regs.rax
  kResume,  // regs were replaced altogether (rt_sigreturn): go on with them
};

constexpr uint64_t kSyscallBytes = 2;  // of the instruction

// REQUIRES: thread->regs are the program's registers at the syscall, rip behind the instruction;
// thread->call is filled but for post. `context` is the kernel's ucontext of the SIGSYS; null from
// a patched site, where only handlers are called that do without (signals/jumped_call.cc has them).
using SyscallHandler = Answer (*)(Thread* thread, void* context);

// Answers the pending syscall by the function that its row of the table names
// (syscalls/syscall_table.h). A number that has no row is passed on by kernel_access.
Answer dispatch_syscall(Thread* thread, void* context);
// The same, with nothing of it in the stream.
Answer dispatch_unrecorded(Thread* thread, void* context);

// kernel_access.cc: passes the syscall on, with every pointer into traced memory replaced by
// private memory or by the alias, and logs what the kernel read and wrote.
Answer kernel_access(Thread* thread, void* context);
// The pending syscall has returned (regs.rax): runs its `post` and sets exit_ip.
extern "C" void syscall_finish(Thread* thread);

// Before each handler's own work: an argument of the program, by position.
inline uint64_t arg(const Thread* thread, int n) { return thread->call.args[n]; }
// Puts a changed argument where the kernel will look for it.
void set_arg(Thread* thread, int n, uint64_t value);

// The syscall is over with this result.
inline Answer done(Thread* thread, int64_t result) {
  thread->regs.rax = static_cast<uint64_t>(result);
  return Answer::kDone;
}
// Makes the syscall for the program, here and now, with its own arguments.
inline int64_t pass(const Thread* thread) {
  const uint64_t* a = thread->call.args;
  return syscall6(static_cast<int64_t>(thread->call.number), a[0], a[1], a[2], a[3], a[4], a[5]);
}
// Accesses that the kernel makes for it are logged as this syscall's.
inline Origin call_origin(const Thread* thread) {
  return {thread->call.pc,  thread->call.event, static_cast<uint16_t>(thread->call.number + 1), 0,
          thread->regs.rsp, thread->regs.rbp};
}

}  // namespace shmrec::agent
