#include "agent/signals.h"

#include <linux/mman.h>
#include <linux/prctl.h>

#include "agent/agent_abi.h"
#include "agent/decode.h"
#include "agent/entry.h"
#include "agent/gather.h"
#include "agent/image_layout.h"
#include "agent/kernel_access.h"
#include "agent/robust.h"
#include "agent/step.h"
#include "agent/vector_state.h"

namespace shmrec::agent {
namespace {

constexpr int kSigill = 4, kSigtrap = 5, kSigabrt = 6, kSigbus = 7, kSigfpe = 8, kSigsegv = 11,
              kSigsys = 31;
constexpr uint64_t kDefault = 0, kIgnore = 1;
constexpr uint64_t kSaNoCldStop = 1, kSaNoCldWait = 2, kSaSiginfo = 4, kSaOnStack = 0x08000000,
                   kSaRestart = 0x10000000, kSaNoDefer = 0x40000000, kSaResetHand = 0x80000000,
                   kSaRestorer = 0x04000000;
constexpr int32_t kSsDisable = 2, kSsAutodisarm = 1u << 31;

constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }
// Signals whose handler is always the agent's. They are never blocked in the kernel, but for SIGABRT,
// which is here so that an abort is written down before it kills.
constexpr uint64_t kNeeded = bit(kSigill) | bit(kSigtrap) | bit(kSigbus) | bit(kSigfpe) | bit(kSigsegv) |
                             bit(kSigsys);
constexpr uint64_t kOwned = kNeeded | bit(kSigabrt);
constexpr uint64_t kUnblockable = bit(9) | bit(19);
constexpr uint64_t kAllBlocked = ~kNeeded & ~kUnblockable;

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

int64_t kernel_action(int signal, uint64_t handler, uint64_t program_flags) {
  KernelAction action = {};
  if (handler == kDefault || handler == kIgnore) {
    action.handler = reinterpret_cast<void (*)(int, Siginfo*, Context*)>(handler);
    action.flags = program_flags & (kSaNoCldStop | kSaNoCldWait | kSaRestart);
  } else {
    action.handler = on_signal;
    action.flags = kSaSiginfo | kSaOnStack | (kNeeded & bit(signal) ? kSaNoDefer | kSaRestart : 0) |
                   (program_flags & (kSaNoCldStop | kSaNoCldWait | kSaRestart));
    action.restorer = shmrec_restorer;
    action.mask = kAllBlocked;
  }
  action.flags |= kSaRestorer;
  action.restorer = shmrec_restorer;
  return sys(__NR_rt_sigaction, signal, &action, 0, 8);
}

// ---- Where was the thread? -------------------------------------------------------------------------------

uint64_t address_of(void (*label)()) { return reinterpret_cast<uint64_t>(label); }
bool in_generated(uint64_t ip) { return ip >= kCodeBase && ip < kCodeBase + kCodeBytes; }
bool in_agent(uint64_t ip) {
  return (ip >= shmrec_image_layout.image_begin && ip < shmrec_image_layout.image_end) || in_generated(ip);
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

// Makes an interrupted path of the agent look like a place in the program. False: it cannot be yet.
bool leave_agent(Thread* thread, Context* context) {
  const uint64_t ip = context->regs.rip;
  if (ip >= address_of(shmrec_tail_begin) && ip < address_of(shmrec_tail_end)) {
    finish_access(thread, context);
  } else if (ip == address_of(shmrec_syscall_plain) || ip == address_of(shmrec_syscall_post)) {
    if (ip == address_of(shmrec_syscall_post)) kernel_access_cancel(thread);
    program_arguments(thread, context->regs);
    context->regs.rax = thread->call.number;
    context->regs.rip = thread->call.pc;
  } else if (ip == address_of(shmrec_syscall_plain_done)) {
    context->regs.rip = context->regs.rcx = thread->syscall_next;
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

// ---- Delivery ----------------------------------------------------------------------------------------------

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

bool on_stack(const Thread* thread, uint64_t sp) {
  return !(thread->altstack.flags & kSsDisable) && sp > thread->altstack.sp &&
         sp - thread->altstack.sp <= thread->altstack.size;
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
  // A fault comes again when its instruction is executed again; a trap and a sent signal do not.
  if (info->code <= 0 || signal == kSigtrap) sys(__NR_tgkill, sys(__NR_getpid), thread->tid, signal);
}

bool build_frame(Thread* thread, Context* context, const SignalAction& action, const Siginfo& info) {
  uint64_t sp = context->regs.rsp - 128;
  const bool switches = (action.flags & kSaOnStack) && !(thread->altstack.flags & kSsDisable) &&
                        !on_stack(thread, context->regs.rsp);
  if (switches) sp = thread->altstack.sp + thread->altstack.size;
  const uint64_t bytes = fp_bytes(context->fpstate);
  const uint64_t fp_at = (sp - bytes) & ~63ull;
  const uint64_t at = ((fp_at - sizeof(Frame)) & ~15ull) - 8;
  Frame frame = {action.restorer, *context, info};
  frame.context.fpstate = context->fpstate ? fp_at : 0;
  frame.context.mask = (context->mask & ~kNeeded) | thread->virtual_mask;
  frame.context.stack.sp = thread->altstack.sp;
  frame.context.stack.flags = thread->altstack.flags;
  frame.context.stack.size = thread->altstack.size;
  const Origin origin = {context->regs.rip, next_event(thread), 0};  // the stack itself may be traced
  Fault fault;
  if (!traced_write(thread, origin, fp_at, reinterpret_cast<void*>(context->fpstate), bytes, &fault) ||
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
  if (action.handler == kIgnore && !forced) return;
  if (action.handler <= kIgnore || (forced && blocked)) return die_by(thread, context, signal, &info);
  if (!build_frame(thread, context, action, info)) {
    const Siginfo overflow = {kSigsegv, 0, 0x80 /* SI_KERNEL */, 0, {}};
    kernel_action(kSigsegv, kDefault, 0);
    return die_by(thread, context, kSigsegv, &overflow);
  }
  const uint64_t blocks = action.mask | (action.flags & kSaNoDefer ? 0 : bit(signal));
  context->mask = (context->mask | blocks) & ~kNeeded & ~kUnblockable;
  thread->virtual_mask |= blocks & kNeeded;
}

void deliver_or_defer(Thread* thread, Context* context, const Siginfo& info) {
  if (leave_agent(thread, context)) return deliver(thread, context, info);
  // In an access: its end will trap (entry.S). In a handler of ours: on_signal looks when it ends.
  thread->deferred_info = info;
  if (thread->outer != context) {
    thread->deferred |= kDeferredSignal | kDeferredNested;
    return;
  }
  thread->deferred |= kDeferredSignal;
  thread->deferred_mask = context->mask;
  context->mask = kAllBlocked;
}

// What waited for the agent's path to end. The registers in `context` are the program's.
void deliver_deferred(Thread* thread, Context* context) {
  const uint64_t deferred = thread->deferred;
  const Siginfo info = thread->deferred_info;
  thread->deferred = 0;
  if (deferred & kDeferredHold) step_hold(thread);
  if (!(deferred & kDeferredSignal)) return;
  context->mask = thread->deferred_mask;
  deliver(thread, context, info);
}

// Another thread makes a step: this one stands still until it is done. A syscall that was interrupted
// for this is made again: the program must not see that it was.
void on_hold(Thread* thread, Context* context) {
  const uint64_t ip = context->regs.rip;
  const bool returned = ip == address_of(shmrec_syscall_plain_done) || ip == address_of(shmrec_syscall_post_done);
  if (returned && context->regs.rax == static_cast<uint64_t>(-4 /* EINTR */))
    context->regs.rip = address_of(ip == address_of(shmrec_syscall_post_done) ? shmrec_syscall_post : shmrec_syscall_plain);
  if (leave_agent(thread, context)) step_hold(thread);
  else step_hold_later(thread);
}

// ---- Faults ------------------------------------------------------------------------------------------------

// The agent itself is broken: the program goes on without it.
void agent_fault(Thread* thread, Context* context) {
  stop_tracing(thread->process, shmlog::DegradedReason::kAgentFault, "a fault inside the agent");
  sys(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
  if (thread->outer && thread->outer != context) {
    thread->outer->regs.rip = thread->call.pc;  // make the syscall again, natively
    thread->outer->regs.rax = thread->call.number;
    program_arguments(thread, thread->outer->regs);
    shmrec_return_to(thread->outer);
  }
  context->regs = thread->regs;
}

// The program sees the fault of an instruction that was performed for it; its registers are in `context`.
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
  if (info->signo != kSigsegv || info->code <= 0 || !region_find(info->fault.addr, &region)) return false;
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

// ---- Syscalls --------------------------------------------------------------------------------------------------

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
  call.event = next_event(thread);
  thread->regs.rcx = regs.rip;
  thread->regs.r11 = regs.eflags;
  const Answer answer = dispatch_syscall(thread, context);
  if (answer == Answer::kResume) return;
  thread->syscall_next = call.pc + 2;
  context->regs = thread->regs;
  if (answer == Answer::kNative) context->regs.rip = address_of(shmrec_syscall_plain);
  if (answer == Answer::kPost) context->regs.rip = address_of(shmrec_syscall_post);
}

void on_signal(int signal, Siginfo* info, Context* context) {
  Thread* thread = current_thread();
  Context* outer = thread->outer;
  if (!outer) thread->outer = context;
  const bool kernel_made = info->code > 0;
  if (signal == kSigsys && info->code == 2 /* SYS_USER_DISPATCH */) on_syscall(thread, info, context);
  else if ((kNeeded & bit(signal)) && kernel_made && signal != kSigsys) on_fault(thread, info, context);
  else if (signal == kSigsys && info->code == -1 && info->words[1] == kHoldValue) on_hold(thread, context);
  else deliver_or_defer(thread, context, *info);
  thread->outer = outer;
  // One of the signals we cannot block was sent while we were in here.
  if (outer || !thread->deferred) return;
  const bool nested = thread->deferred & kDeferredNested;
  if (nested) thread->deferred_mask = context->mask;
  thread->deferred &= ~uint64_t{kDeferredNested};
  if (leave_agent(thread, context)) return deliver_deferred(thread, context);
  if (nested) context->mask = kAllBlocked;  // the access that begins here traps at its end
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
    const uint64_t handler = process->actions[signal].handler;
    if ((kOwned & bit(signal)) || handler > kIgnore) kernel_action(signal, ~0ull, process->actions[signal].flags);
  }
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

// ---- Signal syscalls ---------------------------------------------------------------------------------------------

namespace {

constexpr int64_t kEfault = -14, kEinval = -22, kEperm = -1, kEnomem = -12;

Answer done(Thread* thread, int64_t result) {
  thread->regs.rax = static_cast<uint64_t>(result);
  return Answer::kDone;
}

Origin origin_of(const Thread* thread) {
  return {thread->call.pc, thread->call.event, static_cast<uint16_t>(thread->call.number + 1)};
}

bool get(Thread* thread, void* to, uint64_t from, uint64_t bytes) {
  Fault fault;
  return traced_read(thread, origin_of(thread), to, from, bytes, &fault);
}
bool put(Thread* thread, uint64_t to, const void* from, uint64_t bytes) {
  Fault fault;
  return traced_write(thread, origin_of(thread), to, from, bytes, &fault);
}

}  // namespace

Answer do_sigaction(Thread* thread, void*) {
  const int signal = static_cast<int>(arg(thread, 0));
  SignalAction wanted, old;
  if (arg(thread, 3) != 8 || signal < 1 || signal > 64) return done(thread, kEinval);
  if (arg(thread, 1) && !get(thread, &wanted, arg(thread, 1), sizeof wanted)) return done(thread, kEfault);
  if (arg(thread, 1) && (bit(signal) & kUnblockable)) return done(thread, kEinval);
  Process* process = thread->process;
  process->signal_lock.lock();
  old = process->actions[signal];
  int64_t result = 0;
  if (arg(thread, 1)) {
    wanted.mask &= ~kUnblockable;
    if (!(kOwned & bit(signal))) result = kernel_action(signal, wanted.handler, wanted.flags);
    if (!result) process->actions[signal] = wanted;
  }
  process->signal_lock.unlock();
  if (!result && arg(thread, 2) && !put(thread, arg(thread, 2), &old, sizeof old)) result = kEfault;
  return done(thread, result);
}

Answer do_sigprocmask(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  const uint64_t old = (context->mask & ~kNeeded) | thread->virtual_mask;
  uint64_t set = 0, mask = old;
  if (arg(thread, 3) != 8) return done(thread, kEinval);
  if (arg(thread, 1)) {
    if (!get(thread, &set, arg(thread, 1), 8)) return done(thread, kEfault);
    switch (arg(thread, 0)) {
      case 0: mask |= set; break;   // SIG_BLOCK
      case 1: mask &= ~set; break;  // SIG_UNBLOCK
      case 2: mask = set; break;    // SIG_SETMASK
      default: return done(thread, kEinval);
    }
  }
  mask &= ~kUnblockable;
  context->mask = mask & ~kNeeded;
  thread->virtual_mask = mask & kNeeded;
  if (arg(thread, 2) && !put(thread, arg(thread, 2), &old, 8)) return done(thread, kEfault);
  return done(thread, 0);
}

Answer do_sigaltstack(Thread* thread, void*) {
  struct {
    uint64_t sp;
    int32_t flags, pad;
    uint64_t size;
  } wanted, old = {thread->altstack.sp, thread->altstack.flags, 0, thread->altstack.size};
  const bool running = on_stack(thread, thread->regs.rsp);
  if (running) old.flags |= 1;  // SS_ONSTACK
  if (arg(thread, 0)) {
    if (!get(thread, &wanted, arg(thread, 0), sizeof wanted)) return done(thread, kEfault);
    const int32_t mode = wanted.flags & ~kSsAutodisarm;
    if (running) return done(thread, kEperm);
    if (mode != 0 && mode != 1 && mode != kSsDisable) return done(thread, kEinval);
    if (mode == kSsDisable) wanted.sp = wanted.size = 0;
    else if (wanted.size < 2048) return done(thread, kEnomem);
    thread->altstack.sp = wanted.sp;
    thread->altstack.flags = mode == 1 ? wanted.flags & kSsAutodisarm : wanted.flags;
    thread->altstack.size = wanted.size;
  }
  if (arg(thread, 1) && !put(thread, arg(thread, 1), &old, sizeof old)) return done(thread, kEfault);
  return done(thread, 0);
}

Answer do_sigreturn(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  Context saved;
  const uint64_t bytes = fp_bytes(context->fpstate);
  const uint64_t at = context->regs.rsp;
  const Origin origin = {thread->call.pc, thread->call.event, static_cast<uint16_t>(thread->call.number + 1)};
  Fault fault;
  if (!traced_read(thread, origin, &saved, at, sizeof saved, &fault)) {
    const Siginfo broken = {kSigsegv, 0, 0x80, 0, {}};
    deliver(thread, context, broken);
    return Answer::kResume;
  }
  if (!saved.fpstate) reset_fp(context->fpstate);
  else traced_read(thread, origin, reinterpret_cast<void*>(context->fpstate), saved.fpstate, bytes, &fault);
  constexpr uint64_t kUserFlags = 0x50DD5;
  saved.regs.eflags = (context->regs.eflags & ~kUserFlags) | (saved.regs.eflags & kUserFlags);
  context->regs = saved.regs;
  context->mask = saved.mask & ~kNeeded & ~kUnblockable;
  thread->virtual_mask = saved.mask & kNeeded;
  thread->altstack.sp = saved.stack.sp;
  thread->altstack.flags = saved.stack.flags & ~1;
  thread->altstack.size = saved.stack.size;
  return Answer::kResume;
}

}  // namespace shmrec::agent
