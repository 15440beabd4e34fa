// The one handler that the kernel knows, and what makes it the handler.
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/patches/patch.h"
#include "agent/process/leave.h"
#include "agent/replay/replay.h"
#include "agent/signals/faults.h"
#include "agent/signals/pending.h"
#include "agent/signals/places.h"
#include "agent/signals/settle.h"
#include "agent/signals/signal_sets.h"
#include "agent/signals/syscall_entry.h"
#include "agent/stream/hold.h"
#include "agent/stream/stream.h"
#include "agent/stream/turns.h"

namespace shmrec::agent {
namespace {

struct KernelAction {
  void (*handler)(int, Siginfo*, Context*);
  uint64_t flags;
  void (*restorer)();
  uint64_t mask;
};

enum class Kind {
  kSyscall,  // the program makes a syscall
  kFault,    // an instruction cannot go on
  kLook,     // something waits for this thread
  kLate,     // a held signal has waited long enough
  kLeave,    // the process leaves the recording
  kSent,     // a signal that the agent needs, but that somebody sent
  kOther,    // a signal that the agent does not need
};

// Has the kernel raised it because of the instruction that was interrupted? A positive code alone
// does not say so: a child that was made to end with SIGSEGV sends one with CLD_EXITED, which is
// SEGV_MAPERR, and a thread may queue what it likes to itself. A fault names the address that it
// met, which the context holds too, or that of its instruction, or none.
bool raised_here(const Siginfo& info, const Context* context) {
  const uint64_t address = info.fault.addr;
  return info.code > 0 && (address == context->cr2 || address == context->regs.rip || !address);
}

// Likewise of a system call, whose address is behind the instruction.
Kind kind_of_sigsys(const Siginfo& info, const Context* context) {
  if (info.code == kSiQueue && info.words[1] == kLookValue) return Kind::kLook;
  if (info.code == kSiQueue && info.words[1] == kLeaveValue) return Kind::kLeave;
  if (info.code == kSiTimer && info.words[1] == kLateValue) return Kind::kLate;
  if (info.code <= 0 || info.sys.call_addr != context->regs.rip) return Kind::kSent;
  return info.code == kSysUserDispatch ? Kind::kSyscall : Kind::kOther;
}

Kind kind_of(const Siginfo& info, const Context* context) {
  if (!(kNeeded & bit(info.signo))) return Kind::kOther;
  if (info.signo == kSigsys) return kind_of_sigsys(info, context);
  return raised_here(info, context) ? Kind::kFault : Kind::kSent;
}

void handle(Thread* thread, Siginfo* info, Context* context, Kind kind) {
  switch (kind) {
    case Kind::kSyscall:
      return on_syscall(thread, info, context);
    case Kind::kFault:
      return on_fault(thread, info, context);
    case Kind::kLook:
      return turn_asked(thread, context);
    case Kind::kLate:
      return release_late(thread, context);
    case Kind::kLeave:
      return called_to_leave(thread, context);
    case Kind::kSent:
      return take_sent(thread, *info, context);
    case Kind::kOther:
      if (info->signo == kSigsys) return on_refused_call(thread, info, context);
      return deliver_or_defer(thread, context, *info);
  }
}

// Has the signal found a handler at work? At its first and last instructions, `outer` is not set:
// only handlers run on the signal stack.
bool in_handler(const Thread* thread, const Context* context) {
  const uint64_t stack = thread_signal_stack(thread);
  return thread->outer || context->regs.rsp - stack < thread->altstack_top - stack;
}

// The end of the outermost handler, or of a thread's start.
void settle_and_leave(Thread* thread, Context* context, bool sent, uint64_t gs, bool from_agent) {
  store(&thread->unsettled, 0u);
  thread->outer = nullptr;
  settle(thread, context, sent);
  stream_leaves_handler(thread, *context);
  if (replaying() && !in_agent(context)) replay_leaves_handler(thread, context);
  if (load(&gs_used) && load(&gs_kept) && !in_agent(context)) patches_end();
  gs_choose(thread);
  // It may go on behind a call where a jump has been put meanwhile.
  if (!in_agent(context)) context->regs.rip = patch_resume(context->regs.rip);
  if (!in_agent(context) || load(&thread->left))
    gs_leave(thread);
  else if (from_agent)
    write_gs_base(gs);
}

// What was sent is settled by the handler that was interrupted, before it returns.
[[noreturn]] void return_to_handler(Thread* thread, Context* context, uint64_t gs) {
  store(&thread->unsettled, 1u);
  const uint64_t restorer = reinterpret_cast<uint64_t>(shmrec_restorer),
                 end = reinterpret_cast<uint64_t>(shmrec_restorer_end);
  if (context->regs.rip - restorer < end - restorer) context->regs.rip = restorer;
  write_gs_base(gs);
  shmrec_return_to(context);
  __builtin_unreachable();
}

void on_signal(int, Siginfo* info, Context* context) {
  Thread* thread = current_thread();
  // The kernel leaves this flag as the program had it.
  if (context->regs.eflags & kAlignmentFlag)
    asm volatile("pushfq\n\tandl %0, (%%rsp)\n\tpopfq" ::"i"(~static_cast<int>(kAlignmentFlag))
                 : "cc", "memory");
  const uint64_t gs = gs_enter(thread);
  const bool from_agent = in_agent(context);
  const bool nested = in_handler(thread, context);
  if (!nested) thread->outer = context;
  const Kind kind = kind_of(*info, context);
  if (info->signo == kSigsys && kind != Kind::kSyscall) make_lost_call(thread, context);
  handle(thread, info, context, kind);
  if (nested && kind != Kind::kFault) return_to_handler(thread, context, gs);
  if (nested) return write_gs_base(gs);
  const bool sent = kind == Kind::kSent || kind == Kind::kLook || kind == Kind::kLate;
  settle_and_leave(thread, context, sent, gs, from_agent);
}

}  // namespace

extern "C" void shmrec_settle_again(Context* context) {
  Thread* thread = current_thread();
  const uint64_t gs = gs_enter(thread);
  thread->outer = context;
  settle_and_leave(thread, context, true, gs, true);
}

int64_t kernel_action(int signal, uint64_t handler, uint64_t program_flags) {
  KernelAction action = {};
  action.flags = kSaRestorer | (program_flags & (kSaNoCldStop | kSaNoCldWait | kSaRestart));
  action.restorer = shmrec_restorer;
  if (handler == kDefault || handler == kIgnore) {
    action.handler = reinterpret_cast<void (*)(int, Siginfo*, Context*)>(handler);
  } else {
    action.handler = on_signal;
    action.flags |= kSaSiginfo | kSaOnStack | (kNeeded & bit(signal) ? kSaNoDefer : 0);
    action.mask = kAllBlocked;
  }
  return sys(__NR_rt_sigaction, signal, &action, 0, kSetBytes);
}

// One that is ignored and not needed can be left to the kernel. Where the program has no handler,
// no call shall notice that a signal came.
int64_t own_action(int signal, const SignalAction& wanted) {
  const bool handled = wanted.handler > kIgnore;
  const bool left = !(kNeeded & bit(signal)) && wanted.handler == kIgnore;
  return kernel_action(signal, left ? kIgnore : ~0ull, handled ? wanted.flags : kSaRestart);
}

void signals_start(Process* process) {
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (bit(signal) & kUnblockable) continue;
    sys(__NR_rt_sigaction, signal, 0, &process->actions[signal], kSetBytes);
    const SignalAction& action = process->actions[signal];
    if (kOwned & bit(signal))
      own_action(signal, action);
    else if (action.handler > kIgnore)
      kernel_action(signal, action.handler, action.flags);
  }
}

void signals_clear(Process* process) {
  process->clears_handlers = 0;
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    SignalAction& action = process->actions[signal];
    if (bit(signal) & kUnblockable) continue;
    action = {action.handler == kIgnore ? kIgnore : kDefault, 0, 0, 0};
    if (kOwned & bit(signal))
      own_action(signal, action);
    else
      kernel_action(signal, action.handler, 0);
  }
}

void signals_take_mask(Thread* thread) {
  const uint64_t needed = kNeeded;
  uint64_t mask = 0;
  sys(__NR_rt_sigprocmask, kSigBlock, 0, &mask, kSetBytes);
  thread->virtual_mask = mask & kNeeded;
  sys(__NR_rt_sigprocmask, kSigUnblock, &needed, 0, kSetBytes);  // what is pending comes here
}

}  // namespace shmrec::agent
