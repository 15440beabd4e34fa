#include "agent/signals/syscall_entry.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/kernel/kernel_access.h"

namespace shmrec::agent {
namespace {

void take_call(Thread* thread, uint64_t number) {
  const Regs& regs = thread->regs;
  PendingSyscall& call = thread->call;
  call.number = number;
  call.args[0] = regs.rdi, call.args[1] = regs.rsi, call.args[2] = regs.rdx;
  call.args[3] = regs.r10, call.args[4] = regs.r8, call.args[5] = regs.r9;
  call.pc = regs.rip - kSyscallBytes;
  call.post = nullptr;
  call.swaps_mask = 0;
  call.waits_for = 0;
  call.event = next_event(thread);
}

}  // namespace

void on_syscall(Thread* thread, const Siginfo* info, Context* context) {
  kernel_access_cancel(thread);  // of a call that the program left by longjmp
  thread->regs = context->regs;
  take_call(thread, static_cast<uint32_t>(info->sys.syscall));
  thread->regs.rcx = thread->regs.rip;
  thread->regs.r11 = thread->regs.eflags;
  const Answer answer = dispatch_syscall(thread, context);
  if (answer == Answer::kResume) return;
  thread->exit_ip = thread->call.pc + kSyscallBytes;
  context->regs = thread->regs;
  if (answer == Answer::kNative)
    context->regs.rip = reinterpret_cast<uint64_t>(shmrec_syscall_plain);
  if (answer == Answer::kPost) context->regs.rip = reinterpret_cast<uint64_t>(shmrec_syscall_post);
}

extern "C" void syscall_finish(Thread* thread) {
  thread->exit_ip = thread->call.pc + kSyscallBytes;
  thread->regs.rcx = thread->exit_ip;
  void (*post)(Thread*) = thread->call.post;
  thread->call.post = nullptr;
  if (post) post(thread);
}

}  // namespace shmrec::agent
