#include "agent/signals/signals.h"

#include <linux/mman.h>
#include <linux/prctl.h>

#include "agent/access/gather.h"
#include "agent/access/step.h"
#include "agent/agent_abi.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/arch/x86_64/vector_state.h"
#include "agent/image_layout.h"
#include "agent/kernel/kernel_access.h"
#include "agent/kernel/robust.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"
#include "agent/sites/decode.h"

namespace shmrec::agent {
namespace {

struct Frame {  // struct rt_sigframe
  uint64_t restorer;
  Context context;
  Siginfo info;
};

struct KernelAction {
  void (*handler)(int, Siginfo*, Context*);
  uint64_t flags;
  void (*restorer)();
  uint64_t mask;
};

void on_signal(int signal, Siginfo* info, Context* context);

}  // namespace

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
  return sys(__NR_rt_sigaction, signal, &action, 0, 8);
}

// SIGABRT that is ignored can be left to the kernel. Where the program has no handler, no call
// shall notice that a signal came.
int64_t own_action(int signal, const SignalAction& wanted) {
  const bool handled = wanted.handler > kIgnore;
  const bool left = signal == kSigabrt && wanted.handler == kIgnore;
  return kernel_action(signal, left ? kIgnore : ~0ull, handled ? wanted.flags : kSaRestart);
}

namespace {

// ---- Where was the thread? ----------------------------------------------------------------------

uint64_t address_of(void (*label)()) { return reinterpret_cast<uint64_t>(label); }
bool in_generated(uint64_t ip) { return ip >= kCodeBase && ip < kCodeBase + kCodeBytes; }
// Outside of its text the agent has code in the thread blocks only, where the exit pages are.
bool in_exit_page(uint64_t ip) { return in_thread_blocks(ip); }
bool in_agent(uint64_t ip) {
  return (ip >= shmrec_image_layout.image_begin && ip < shmrec_image_layout.image_end) ||
         in_generated(ip) || in_exit_page(ip);
}

void program_arguments(const Thread* thread, Regs& regs) {
  const PendingSyscall& call = thread->call;
  regs.rdi = call.args[0], regs.rsi = call.args[1], regs.rdx = call.args[2];
  regs.r10 = call.args[3], regs.r8 = call.args[4], regs.r9 = call.args[5];
}

// After an access: where the program goes on (its own fault at the access comes again by itself).
void finish_access(Thread* thread, Context* context) {
  context->regs = thread->regs;
  if (thread->exit_ip != address_of(shmrec_raise_trap)) context->regs.rip = thread->exit_ip;
}

bool at_call(uint64_t ip) {
  return ip == address_of(shmrec_syscall_plain) || ip == address_of(shmrec_syscall_post);
}

// The program's syscall has just ended because of the signal.
bool interrupted_call(const Context* context) {
  const uint64_t ip = context->regs.rip;
  return (ip == address_of(shmrec_syscall_plain_done) ||
          ip == address_of(shmrec_syscall_post_done)) &&
         context->regs.rax == static_cast<uint64_t>(-EINTR);
}

// The program must not see that its syscall was interrupted: it is made again (by leave_agent).
void undo_interruption(Context* context) {
  if (!interrupted_call(context)) return;
  const bool post = context->regs.rip == address_of(shmrec_syscall_post_done);
  context->regs.rip = address_of(post ? shmrec_syscall_post : shmrec_syscall_plain);
}

// Makes an interrupted path of the agent look like a place in the program. False: it cannot be yet.
bool leave_agent(Thread* thread, Context* context) {
  const uint64_t ip = context->regs.rip;
  if (interrupted_call(context) && thread->call.swaps_mask) thread->left_swapped = 1;
  if (in_exit_page(ip) ||
      (ip >= address_of(shmrec_tail_begin) && ip < address_of(shmrec_tail_end))) {
    finish_access(thread, context);
  } else if (at_call(ip)) {
    if (ip == address_of(shmrec_syscall_post)) kernel_access_cancel(thread);
    thread->call.waits_for = 0;
    program_arguments(thread, context->regs);
    context->regs.rax = thread->call.number;
    context->regs.rip = thread->call.pc;
  } else if (ip >= address_of(shmrec_syscall_plain_done) &&
             ip < address_of(shmrec_syscall_plain_end)) {
    context->regs.rip = context->regs.rcx = thread->exit_ip;
  } else if (ip == address_of(shmrec_syscall_post_done)) {
    thread->regs = context->regs;
    syscall_finish(thread);
    context->regs = thread->regs;
    context->regs.rip = thread->exit_ip;
  } else {
    return !in_agent(ip);
  }
  return true;
}

// ---- Delivery -----------------------------------------------------------------------------------

uint64_t fp_bytes(uint64_t fpstate) {
  if (!fpstate) return 0;
  const FxArea* area = reinterpret_cast<const FxArea*>(fpstate);
  return area->magic1 == kXstateMagic ? area->extended_size : 512;
}

// A handler starts with the processor's initial vector state.
void reset_fp(uint64_t fpstate) {
  if (!fpstate) return;
  FxArea* area = reinterpret_cast<FxArea*>(fpstate);
  area->mxcsr = 0x1F80;
  if (area->magic1 == kXstateMagic) area->xstate_bv = 0;
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
  if (info->code <= 0 || signal == kSigtrap || signal == kSigsys)
    sys(__NR_tgkill, sys(__NR_getpid), thread->tid, signal);
}

bool build_frame(Thread* thread, Context* context, const SignalAction& action,
                 const Siginfo& info) {
  uint64_t sp = context->regs.rsp - 128;
  const bool switches = (action.flags & kSaOnStack) && !(thread->altstack.flags & kSsDisable) &&
                        !on_stack(thread, context->regs.rsp);
  if (switches) sp = thread->altstack.sp + thread->altstack.size;
  const uint64_t bytes = fp_bytes(context->fpstate);
  const uint64_t fp_at = (sp - bytes) & ~63ull;
  const uint64_t at = ((fp_at - sizeof(Frame)) & ~15ull) - 8;
  Frame frame = {action.restorer, *context, info};
  frame.context.fpstate = context->fpstate ? fp_at : 0;
  frame.context.mask = program_mask(thread, context);
  frame.context.stack.sp = thread->altstack.sp;
  frame.context.stack.flags = thread->altstack.flags;
  frame.context.stack.size = thread->altstack.size;
  const Origin origin = {context->regs.rip, next_event(thread),
                         0};  // the stack itself may be traced
  Fault fault;
  if (!traced_write(thread, origin, fp_at, reinterpret_cast<void*>(context->fpstate), bytes,
                    &fault) ||
      !traced_write(thread, origin, at, &frame, sizeof frame, &fault))
    return false;
  if (switches && (thread->altstack.flags & kSsAutodisarm)) thread->altstack.flags = kSsDisable;
  context->regs.rsp = at;
  context->regs.rip = action.handler;
  context->regs.rdi = static_cast<uint64_t>(info.signo);
  context->regs.rsi = at + offsetof(Frame, info);
  context->regs.rdx = at + offsetof(Frame, context);
  context->regs.rax = 0;
  context->regs.eflags &= ~0x10500ull;  // DF, RF, TF
  reset_fp(context->fpstate);
  return true;
}

// The mask that holds at this moment, if `context` is in the program.
uint64_t blocked_now(const Thread* thread, const Context* context) {
  return thread->left_swapped ? thread->call.mask : program_mask(thread, context);
}

// Hands a signal to the program, whose registers are in `context`.
void deliver(Thread* thread, Context* context, const Siginfo& info) {
  const int signal = info.signo;
  Process* process = thread->process;
  process->signal_lock.lock();
  SignalAction action = process->actions[signal];
  if ((action.flags & kSaResetHand) && action.handler > kIgnore) {
    process->actions[signal].handler = kDefault;
    if (!(kOwned & bit(signal))) kernel_action(signal, kDefault, action.flags);
  }
  process->signal_lock.unlock();
  const bool forced = info.code > 0 && (kNeeded & bit(signal));
  const bool blocked = thread->virtual_mask & bit(signal);
  // As the kernel does it: the handler starts with the mask that let the signal through, and
  // returns to the one before the call.
  const uint64_t mask = blocked_now(thread, context);
  thread->left_swapped = 0;
  if (action.handler == kIgnore && !forced) return;
  if (action.handler <= kIgnore || (forced && blocked))
    return die_by(thread, context, signal, &info);
  if (!build_frame(thread, context, action, info)) {
    const Siginfo overflow = {kSigsegv, 0, 0x80 /* SI_KERNEL */, 0, {}};
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

// The kernel would make do_exec's call again after this handler: it ends instead, so that the
// program's handler runs before it.
void end_exec(Context* context) {
  const uint64_t ip = context->regs.rip;
  if (ip >= reinterpret_cast<uint64_t>(shmrec_exec) && ip <= address_of(shmrec_exec_call))
    context->regs.rip = address_of(shmrec_exec_interrupted);
}

void deliver_or_defer(Thread* thread, Context* context, const Siginfo& info) {
  if (leave_agent(thread, context)) return deliver(thread, context, info);
  // In an access: its end will trap (entry.S). In a handler of ours (do_exec lets them in):
  // on_signal looks when it ends; the next one stays with the kernel.
  const bool nested = thread->outer != context;
  thread->deferred_info = info;
  thread->deferred |= nested ? kDeferredSignal | kDeferredNested : kDeferredSignal;
  if (!nested)
    thread->deferred_mask = context->mask;
  else
    end_exec(context);
  context->mask = kAllBlocked;
}

// What waited for the agent's path to end. The registers in `context` are the program's.
void deliver_deferred(Thread* thread, Context* context) {
  const uint64_t deferred = thread->deferred;
  const Siginfo info = thread->deferred_info;
  thread->deferred = 0;
  if (deferred & kDeferredHold) step_hold(thread);
  if (!(deferred & (kDeferredSignal | kDeferredPending))) return;
  context->mask = thread->deferred_mask;
  if (deferred & kDeferredSignal) deliver(thread, context, info);
  deliver_pending(thread, context);
}

// Another thread makes a step: this one stands still until it is done. A syscall that was
// interrupted for this is made again.
void on_hold(Thread* thread, Context* context) {
  undo_interruption(context);
  if (leave_agent(thread, context))
    step_hold(thread);
  else
    step_hold_later(thread);
}

// Somebody sent one of the signals that we cannot block. Settled when the outermost handler ends.
void on_sent(Thread* thread, const Siginfo& info, Context* context) {
  if (thread->outer != context) end_exec(context);
  const bool swapped = interrupted_call(context) && thread->call.swaps_mask;
  pending_note(thread, info, swapped ? thread->call.mask : thread->virtual_mask);
}

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
  return at_call(context->regs.rip) &&
         (pending_set(thread) & (call.waits_for | (call.swaps_mask ? ~call.mask : 0)));
}

// Which waiting signals the program is to get now, if it can be reached.
uint64_t due_now(const Thread* thread, const Context* context) {
  const bool swapped = interrupted_call(context) && thread->call.swaps_mask;
  return pending_set(thread) & ~(swapped ? thread->call.mask : blocked_now(thread, context));
}

// The end of the outermost handler: what came while it ran, or while the agent's path that it
// interrupted ran, is delivered if that is possible here. `sent`: the handler ran for a sent
// signal.
void settle(Thread* thread, Context* context, bool sent) {
  if (sent) answer_wait(thread, context);
  const bool due = due_now(thread, context), unnoticed = sent && !due && interrupted_call(context);
  if (unnoticed) undo_interruption(context);
  if (unnoticed || ends_at_once(thread, context)) leave_agent(thread, context);
  if (!thread->deferred && !due) {
    thread->left_swapped = 0;
    return;
  }
  constexpr uint64_t kMasked = kDeferredSignal | kDeferredPending;
  const bool mask_kept = (thread->deferred & kMasked) && !(thread->deferred & kDeferredNested);
  if (!mask_kept) thread->deferred_mask = context->mask;
  thread->deferred &= ~uint64_t{kDeferredNested};
  if (due) thread->deferred |= kDeferredPending;
  if (leave_agent(thread, context)) return deliver_deferred(thread, context);
  if (thread->deferred & kMasked) context->mask = kAllBlocked;  // the access here traps at its end
}

// ---- Faults -------------------------------------------------------------------------------------

// The agent itself is broken: the program goes on without it.
void agent_fault(Thread* thread, Context* context) {
  stop_tracing(thread->process, shmlog::DegradedReason::kAgentFault, "a fault inside the agent");
  sys(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
  if (thread->outer && thread->outer != context) {
    thread->outer->regs.rip = thread->call.pc;  // make the syscall again, natively
    thread->outer->regs.rax = thread->call.number;
    program_arguments(thread, thread->outer->regs);
    gs_leave(thread);
    shmrec_return_to(thread->outer);
  }
  context->regs = thread->regs;
}

// The program sees the fault of an instruction that was performed for it; its registers are in
// `context`.
void deliver_fault(Thread* thread, Context* context, const Fault& fault) {
  Siginfo raised = {};
  raised.signo = fault.signal;
  raised.code = fault.code;
  raised.fault.addr = fault.address;
  // An address that is none (SI_KERNEL) is a general protection fault.
  context->trap = fault.code == 0x80 ? 13 : 14;
  if (context->trap == 14) context->cr2 = fault.address;
  context->error = fault.error;
  deliver(thread, context, raised);
}

// False: it takes the slow path.
bool begin_gather(Thread* thread, Context* context, const Site& site) {
  constexpr uint64_t kTrapFlag = 0x100;
  Fault fault;
  const Gathered how = gather_perform(thread, context, site, &fault);
  if (how == Gathered::kNoState) return false;
  if (how == Gathered::kFaulted) {
    deliver_fault(thread, context, fault);
  } else if (context->regs.eflags & kTrapFlag) {  // the program steps through its own code
    Siginfo stepped = {kSigtrap, 0, 2 /* TRAP_TRACE */, 0, {}};
    stepped.fault.addr = context->regs.rip;
    context->trap = 1;
    context->error = 0;
    deliver(thread, context, stepped);
  }
  return true;
}

// A fault at an address of a traced mapping that the program may access: perform the access.
bool begin_access(Thread* thread, const Siginfo* info, Context* context) {
  Region region;
  if (info->signo != kSigsegv || info->code <= 0 || !region_find(info->fault.addr, &region))
    return false;
  const bool write = context->error & 2, fetch = context->error & 16;
  const bool allowed = write ? region.protection & PROT_WRITE : region.protection != PROT_NONE;
  if (fetch || !allowed) {
    // The page is there for the program, though not in the kernel's eyes.
    if (region.protection != PROT_NONE) context->error |= 1;
    return false;
  }
  Site* site = site_for(thread, context->regs.rip);
  if (site && site->form == Form::kGather && begin_gather(thread, context, *site)) return true;
  if (!site || site->form >= Form::kGather) {
    step_begin(thread, context, site);
    return true;
  }
  context->regs.rip = site->entry;
  return true;
}

void on_fault(Thread* thread, Siginfo* info, Context* context) {
  const uint64_t ip = context->regs.rip;
  if (ip >= address_of(shmrec_safe_begin) && ip < address_of(shmrec_safe_end)) {
    thread->safe = {info->signo, info->code, info->fault.addr, context->error};
    context->regs.rip = address_of(shmrec_safe_faulted);
    return;
  }
  if (ip == address_of(shmrec_deferred_trap)) {
    finish_access(thread, context);
    return deliver_deferred(thread, context);
  }
  if (ip == address_of(shmrec_raise_trap)) {
    context->regs = thread->regs;
    return deliver_fault(thread, context, thread->raise);
  }
  if (in_generated(ip)) {
    access_abort(thread, &info->fault.addr);
    context->regs = thread->regs;
    // The signal came first; the access faults again when its handler is done.
    if (thread->deferred) return deliver_deferred(thread, context);
    return deliver(thread, context, *info);
  }
  if (in_agent(ip)) return agent_fault(thread, context);
  if (info->signo == kSigtrap && step_end(thread, context)) return;
  if (begin_access(thread, info, context)) return;
  deliver(thread, context, *info);
}

// ---- Syscalls -----------------------------------------------------------------------------------

void on_syscall(Thread* thread, const Siginfo* info, Context* context) {
  kernel_access_cancel(thread);  // of a call that the program left by longjmp
  thread->regs = context->regs;
  const Regs& regs = context->regs;
  PendingSyscall& call = thread->call;
  call.number = static_cast<uint32_t>(info->sys.syscall);
  call.args[0] = regs.rdi, call.args[1] = regs.rsi, call.args[2] = regs.rdx;
  call.args[3] = regs.r10, call.args[4] = regs.r8, call.args[5] = regs.r9;
  call.pc = regs.rip - 2;
  call.post = nullptr;
  call.swaps_mask = 0;
  call.waits_for = 0;
  call.event = next_event(thread);
  thread->regs.rcx = regs.rip;
  thread->regs.r11 = regs.eflags;
  const Answer answer = dispatch_syscall(thread, context);
  if (answer == Answer::kResume) return;
  thread->exit_ip = call.pc + 2;
  context->regs = thread->regs;
  if (answer == Answer::kNative) context->regs.rip = address_of(shmrec_syscall_plain);
  if (answer == Answer::kPost) context->regs.rip = address_of(shmrec_syscall_post);
}

void on_signal(int signal, Siginfo* info, Context* context) {
  Thread* thread = current_thread();
  const uint64_t gs = gs_enter(thread);
  const bool from_agent = in_agent(context->regs.rip);
  Context* outer = thread->outer;
  if (!outer) thread->outer = context;
  const bool needed = kNeeded & bit(signal), made = info->code > 0;
  const bool queued = signal == kSigsys && info->code == -1;
  bool sent = false;
  if (signal == kSigsys && info->code == 2 /* SYS_USER_DISPATCH */)
    on_syscall(thread, info, context);
  else if (needed && made && signal != kSigsys)
    on_fault(thread, info, context);
  else if (queued && info->words[1] == kHoldValue)
    on_hold(thread, context);
  else if (queued && info->words[1] == kLookValue)
    sent = true;
  else if ((sent = needed && !made))
    on_sent(thread, *info, context);
  else
    deliver_or_defer(thread, context, *info);
  thread->outer = outer;
  if (!outer) settle(thread, context, sent);
  if (!in_agent(context->regs.rip))
    gs_leave(thread);
  else if (from_agent)
    write_gs_base(gs);
}

}  // namespace

extern "C" void syscall_finish(Thread* thread) {
  thread->exit_ip = thread->call.pc + 2;
  thread->regs.rcx = thread->exit_ip;
  void (*post)(Thread*) = thread->call.post;
  thread->call.post = nullptr;
  if (post) post(thread);
}

void signals_start(Process* process) {
  for (int signal = 1; signal <= 64; ++signal) {
    if (bit(signal) & kUnblockable) continue;
    sys(__NR_rt_sigaction, signal, 0, &process->actions[signal], 8);
    const SignalAction& action = process->actions[signal];
    if (kOwned & bit(signal))
      own_action(signal, action);
    else if (action.handler > kIgnore)
      kernel_action(signal, action.handler, action.flags);
  }
}

void signals_take_mask(Thread* thread) {
  const uint64_t needed = kNeeded;
  uint64_t mask = 0;
  sys(__NR_rt_sigprocmask, 0, 0, &mask, 8);
  thread->virtual_mask = mask & kNeeded;
  sys(__NR_rt_sigprocmask, 1 /* SIG_UNBLOCK */, &needed, 0, 8);  // what is pending comes here
}

void stop_tracing(Process* process, shmlog::DegradedReason reason, const char* why) {
  if (why) {
    process->entry->degraded = static_cast<uint32_t>(reason);
    coverage(process, why, reason);
  }
  Locked lock(regions_lock);
  region_remove(
      0, ~0ull,
      [](const Region& piece, void*) {
        sys(__NR_mprotect, piece.begin, piece.end - piece.begin, piece.protection);
      },
      nullptr);
}

Context* context_for_child(const Context& parent, uint64_t stack_top) {
  const uint64_t bytes = fp_bytes(parent.fpstate);
  const uint64_t fp_at = (stack_top - bytes) & ~63ull;
  memcpy(reinterpret_cast<void*>(fp_at), reinterpret_cast<void*>(parent.fpstate), bytes);
  Context* context = reinterpret_cast<Context*>((fp_at - sizeof(Context)) & ~63ull);
  *context = parent;
  context->fpstate = parent.fpstate ? fp_at : 0;
  return context;
}

Answer do_sigreturn(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  Context saved;
  const uint64_t bytes = fp_bytes(context->fpstate);
  const uint64_t at = context->regs.rsp;
  const Origin origin = call_origin(thread);
  Fault fault;
  if (!traced_read(thread, origin, &saved, at, sizeof saved, &fault)) {
    const Siginfo broken = {kSigsegv, 0, 0x80, 0, {}};
    deliver(thread, context, broken);
    return Answer::kResume;
  }
  if (!saved.fpstate)
    reset_fp(context->fpstate);
  else
    traced_read(thread, origin, reinterpret_cast<void*>(context->fpstate), saved.fpstate, bytes,
                &fault);
  constexpr uint64_t kUserFlags = 0x50DD5;
  saved.regs.eflags = (context->regs.eflags & ~kUserFlags) | (saved.regs.eflags & kUserFlags);
  context->regs = saved.regs;
  set_program_mask(thread, context, saved.mask);
  thread->altstack.sp = saved.stack.sp;
  thread->altstack.flags = saved.stack.flags & ~1;
  thread->altstack.size = saved.stack.size;
  return Answer::kResume;
}

}  // namespace shmrec::agent
