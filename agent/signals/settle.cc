#include "agent/signals/settle.h"

#include "agent/process/leave.h"
#include "agent/signals/delivery.h"
#include "agent/signals/faults.h"
#include "agent/signals/pending.h"
#include "agent/signals/places.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/hold.h"

namespace shmrec::agent {

namespace {

// The trap of a step came before whatever is delivered at its end.
void finish_step(Thread* thread, Context* context) {
  if (!(thread->deferred & kDeferredStep)) return;
  thread->deferred &= ~uint64_t{kDeferredStep};
  deliver_step(thread, context);
}

}  // namespace

void deliver_or_defer(Thread* thread, Context* context, const Siginfo& info) {
  if (leave_agent(thread, context)) {
    finish_step(thread, context);
    if (!hold_signal(thread, context, info)) deliver(thread, context, info);
    return;
  }
  // In an access: its end will trap (entry.S). In a handler of ours (do_exec lets them in):
  // settle() looks when it ends; the next one stays with the kernel.
  const bool nested = thread->outer != context;
  thread->deferred_info = info;
  thread->deferred |= nested ? kDeferredSignal | kDeferredNested : kDeferredSignal;
  if (!nested)
    thread->deferred_mask = context->mask;
  else
    end_exec(context);
  context->mask = kAllBlocked;
}

void deliver_deferred(Thread* thread, Context* context) {
  const uint64_t deferred = thread->deferred;
  const Siginfo info = thread->deferred_info;
  thread->deferred = deferred & kDeferredStep;
  if (deferred & kDeferredDelivery) context->mask = thread->deferred_mask;
  finish_step(thread, context);
  if ((deferred & kDeferredSignal) && !hold_signal(thread, context, info))
    deliver(thread, context, info);
  if ((deferred & kDeferredDelivery) && !thread->holds_signal) deliver_pending(thread, context);
  if (deferred & kDeferredLeave) leave_when_called(thread, context);
}

void called_to_leave(Thread* thread, Context* context) {
  if (thread->outer != context) end_exec(context);
  undo_interruption(context);
  thread->deferred |= kDeferredLeave;
}

// Settled when the outermost handler ends.
void take_sent(Thread* thread, const Siginfo& info, Context* context) {
  if (thread->outer != context) end_exec(context);
  const bool swapped = interrupted_masked_call(thread, context);
  pending_note(thread, info, swapped ? thread->call.mask : thread->virtual_mask);
}

namespace {

// sigtimedwait was interrupted by what it waits for: it returns it, through the pointers it was
// given.
void answer_wait(Thread* thread, Context* context) {
  Siginfo info;
  if (!interrupted_call(context) || !pending_take(thread, thread->call.waits_for, &info)) return;
  context->regs.rax = static_cast<uint64_t>(info.signo);
  if (context->regs.rsi &&
      !safe_copy(reinterpret_cast<void*>(context->regs.rsi), &info, sizeof info))
    context->regs.rax = static_cast<uint64_t>(-EFAULT);
}

// Is the call that is about to be made one that waits for what is already here? It looked before it
// came.
bool ends_at_once(const Thread* thread, const Context* context) {
  const PendingSyscall& call = thread->call;
  return at_call(context) &&
         (pending_set(thread) & (call.waits_for | (call.swaps_mask ? ~call.mask : 0)));
}

// Which waiting signals the program is to get now, if it can be reached. Not before one that is
// held, whose mask is not the program's.
uint64_t due_now(const Thread* thread, const Context* context) {
  if (thread->holds_signal) return 0;
  const bool swapped = interrupted_masked_call(thread, context);
  return pending_set(thread) & ~(swapped ? thread->call.mask : blocked_now(thread, context));
}

}  // namespace

void settle(Thread* thread, Context* context, bool sent) {
  if (sent) answer_wait(thread, context);
  const bool due = due_now(thread, context), unnoticed = sent && !due && interrupted_call(context);
  if (unnoticed) undo_interruption(context);
  if (unnoticed || ends_at_once(thread, context)) leave_agent(thread, context);
  // Flags are given back at the end of the path, and only there.
  if (!(thread->deferred & ~uint64_t{kDeferredFlags | kDeferredStep}) && !due) {
    thread->left_swapped = 0;
    return;
  }
  const bool mask_kept =
      (thread->deferred & kDeferredDelivery) && !(thread->deferred & kDeferredNested);
  if (!mask_kept) thread->deferred_mask = context->mask;
  thread->deferred &= ~uint64_t{kDeferredNested};
  if (due) thread->deferred |= kDeferredPending;
  if (leave_agent(thread, context)) return deliver_deferred(thread, context);
  // The path here traps at its end.
  if (thread->deferred & kDeferredDelivery) context->mask = kAllBlocked;
}

}  // namespace shmrec::agent
