#include "agent/signals/delivery.h"

#include "agent/kernel/robust.h"
#include "agent/memory/pointers.h"
#include "agent/process/stop.h"
#include "agent/replay/replay.h"
#include "agent/signals/core_call.h"
#include "agent/signals/frame.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {
namespace {

// Default actions other than death.
constexpr uint64_t kIgnoredByDefault =
    bit(kSigchld) | bit(kSigcont) | bit(kSigurg) | bit(kSigwinch);
constexpr uint64_t kStopsByDefault = bit(kSigtstp) | bit(kSigttin) | bit(kSigttou);

// Lets the kernel do what it does by default: it finds the signal when the handler returns, at the
// instruction of the program where it came, with the siginfo that it had. False: the program's own
// filter keeps the agent from sending it.
bool leave_to_kernel(Thread* thread, Context* context, const Siginfo& info) {
  const int32_t pid = thread->process->pid;
  const uint64_t set = bit(info.signo);
  sys(__NR_rt_sigprocmask, kSigBlock, &set, 0, kSetBytes);
  context->mask &= ~set;
  return !failed(sys(__NR_rt_tgsigqueueinfo, pid, thread->tid, info.signo, &info)) ||
         !failed(sys(__NR_tgkill, pid, thread->tid, info.signo));
}

// It cannot be sent. A fault comes again when its instruction is executed again; traps, refused
// calls and sent signals do not, but one that an instruction forces while it is blocked kills,
// whatever its action is.
void die_without_kill(Thread* thread, Context* context, const Siginfo& info) {
  if (info.code > 0 && info.signo != kSigtrap && info.signo != kSigsys) return;
  context->mask |= bit(info.signo);
  if (info.signo != kSigsys) return;
  context->regs.rip = thread->call.pc;  // dispatched once more
  context->regs.rax = thread->call.number;
}

// A process that shares its memory with others ends without them noticing.
void die_by(Thread* thread, Context* context, const Siginfo& info) {
  if (replaying()) return replay_death(thread, context, info);
  const bool forced = info.code > 0 && (kNeeded & bit(info.signo));
  stream_signal(thread, *context, info, forced, stream::SignalKind::kDeath);
  JournalValues values;
  values.a = static_cast<uint64_t>(info.signo);
  values.b = static_cast<uint64_t>(static_cast<int64_t>(info.code));
  values.c = info.fault.addr;
  values.d = context->regs.rip;
  journal(thread->process, shmlog::JournalType::kSignal, values);
  core_before_death(thread, *context, info);
  pointers_at_end(thread->process);
  robust_walk_at_exit(thread);
  if (!memory_is_shared(thread->process)) stop_tracing(thread->process, {}, nullptr);
  process_ends(thread->process, info.signo, false);
  kernel_action(info.signo, kDefault, 0);
  if (!leave_to_kernel(thread, context, info)) die_without_kill(thread, context, info);
}

void act_by_default(Thread* thread, Context* context, const Siginfo& info) {
  if (kIgnoredByDefault & bit(info.signo)) return;
  if (kStopsByDefault & bit(info.signo)) {
    leave_to_kernel(thread, context, info);
    return;
  }
  die_by(thread, context, info);
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

// The handler cannot be started. The program is told, unless that is what failed.
void frame_failed(Thread* thread, Context* context, int signal) {
  if (signal == kSigsegv) return die_by(thread, context, kBadStack);
  deliver(thread, context, kBadStack);
}

}  // namespace

uint64_t blocked_now(const Thread* thread, const Context* context) {
  return thread->left_swapped ? thread->call.mask : program_mask(thread, context);
}

namespace {

// `forced`: an instruction cannot go on, so the signal can be neither blocked nor ignored.
void deliver_as(Thread* thread, Context* context, const Siginfo& info, bool forced) {
  const int signal = info.signo;
  const SignalAction action = take_action(thread->process, signal);
  const bool blocked = thread->virtual_mask & bit(signal);
  // As the kernel does it: the handler starts with the mask that let the signal through, and
  // returns to the one before the call.
  const uint64_t mask = blocked_now(thread, context);
  if (action.handler > kIgnore && !(forced && blocked)) {
    stream_signal(thread, *context, info, forced, stream::SignalKind::kHandler);
    if (replaying() && forced) replay_fault(thread, *context, info);
    if (!frame_build(thread, context, action, info)) return frame_failed(thread, context, signal);
    stream_settles(thread, context->regs);
    if (replaying()) replay_frame(thread);
    thread->left_swapped = 0;
    const uint64_t blocks = action.mask | (action.flags & kSaNoDefer ? 0 : bit(signal));
    return set_program_mask(thread, context, mask | blocks);
  }
  thread->left_swapped = 0;
  if (action.handler == kIgnore && !forced) return;
  if (forced) return die_by(thread, context, info);
  act_by_default(thread, context, info);
}

}  // namespace

void deliver(Thread* thread, Context* context, const Siginfo& info) {
  deliver_as(thread, context, info, info.code > 0 && (kNeeded & bit(info.signo)));
}

// The first goes on the stack first, so that the last one's handler runs first, as natively.
void deliver_pending(Thread* thread, Context* context) {
  Siginfo info;
  while (pending_take(thread, ~blocked_now(thread, context), &info))
    deliver_as(thread, context, info, false);
}

}  // namespace shmrec::agent
