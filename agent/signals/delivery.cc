#include "agent/signals/delivery.h"

#include "agent/kernel/robust.h"
#include "agent/process/stop.h"
#include "agent/signals/frame.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"

namespace shmrec::agent {
namespace {

// The program's own filter keeps the agent from sending the signal. One that an instruction forces
// while it is blocked kills, whatever its action is.
void die_without_kill(Thread* thread, Context* context, int signal) {
  context->mask |= bit(signal);
  if (signal != kSigsys) return;
  context->regs.rip = thread->call.pc;  // dispatched once more
  context->regs.rax = thread->call.number;
}

// Restores the default action in the kernel and lets the signal happen again, for real.
void die_by(Thread* thread, Context* context, int signal, const Siginfo* info) {
  JournalValues values;
  values.a = static_cast<uint64_t>(signal);
  values.b = static_cast<uint64_t>(static_cast<int64_t>(info->code));
  values.c = info->fault.addr;
  values.d = context->regs.rip;
  journal(thread->process, shmlog::JournalType::kSignal, values);
  robust_walk_at_exit(thread);
  stop_tracing(thread->process, {}, nullptr);
  process_ends(thread->process, signal, false);
  kernel_action(signal, kDefault, 0);
  context->mask &= ~bit(signal);
  // A fault comes again when its instruction is executed again; traps, refused calls and sent
  // signals do not.
  const bool again = info->code > 0 && signal != kSigtrap && signal != kSigsys;
  if (!again && failed(sys(__NR_tgkill, thread->process->pid, thread->tid, signal)))
    die_without_kill(thread, context, signal);
}

// The program's action for `signal`, which SA_RESETHAND makes the default from now on.
SignalAction take_action(Process* process, int signal) {
  Locked lock(process->signal_lock);
  const SignalAction action = process->actions[signal];
  if ((action.flags & kSaResetHand) && action.handler > kIgnore) {
    process->actions[signal].handler = kDefault;
    if (!(kOwned & bit(signal))) kernel_action(signal, kDefault, action.flags);
  }
  return action;
}

}  // namespace

uint64_t blocked_now(const Thread* thread, const Context* context) {
  return thread->left_swapped ? thread->call.mask : program_mask(thread, context);
}

void deliver(Thread* thread, Context* context, const Siginfo& info) {
  const int signal = info.signo;
  const SignalAction action = take_action(thread->process, signal);
  const bool forced = info.code > 0 && (kNeeded & bit(signal));
  const bool blocked = thread->virtual_mask & bit(signal);
  // As the kernel does it: the handler starts with the mask that let the signal through, and
  // returns to the one before the call.
  const uint64_t mask = blocked_now(thread, context);
  thread->left_swapped = 0;
  if (action.handler == kIgnore && !forced) return;
  if (action.handler <= kIgnore || (forced && blocked))
    return die_by(thread, context, signal, &info);
  if (!frame_build(thread, context, action, info)) {
    const Siginfo overflow = {kSigsegv, 0, kSiKernel, 0, {}};
    kernel_action(kSigsegv, kDefault, 0);
    return die_by(thread, context, kSigsegv, &overflow);
  }
  const uint64_t blocks = action.mask | (action.flags & kSaNoDefer ? 0 : bit(signal));
  set_program_mask(thread, context, mask | blocks);
}

// The first goes on the stack first, so that the last one's handler runs first, as natively.
void deliver_pending(Thread* thread, Context* context) {
  Siginfo info;
  while (pending_take(thread, ~blocked_now(thread, context), &info)) deliver(thread, context, info);
}

}  // namespace shmrec::agent
