// What the program asks about its signals: actions, masks, alternate stacks, waiting; and what a
// new image inherits. do_sigreturn, the counterpart of delivery, is in frame.cc.
#include "agent/arch/x86_64/entry.h"
#include "agent/kernel/bounce.h"
#include "agent/kernel/kernel_access.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"

namespace shmrec::agent {
namespace {

bool get(Thread* thread, void* to, uint64_t from, uint64_t bytes) {
  Fault fault;
  return traced_read(thread, call_origin(thread), to, from, bytes, &fault);
}
bool put(Thread* thread, uint64_t to, const void* from, uint64_t bytes) {
  Fault fault;
  return traced_write(thread, call_origin(thread), to, from, bytes, &fault);
}

}  // namespace

Answer do_sigaction(Thread* thread, void*) {
  const int signal = static_cast<int>(arg(thread, 0));
  SignalAction wanted, old;
  if (arg(thread, 3) != kSetBytes || signal < 1 || signal > 64) return done(thread, -EINVAL);
  if (arg(thread, 1) && !get(thread, &wanted, arg(thread, 1), sizeof wanted))
    return done(thread, -EFAULT);
  if (arg(thread, 1) && (bit(signal) & kUnblockable)) return done(thread, -EINVAL);
  Process* process = thread->process;
  process->signal_lock.lock();
  old = process->actions[signal];
  int64_t result = 0;
  if (arg(thread, 1)) {
    wanted.mask &= ~kUnblockable;
    wanted.flags &= kSaKnown;
    result = kOwned & bit(signal) ? own_action(signal, wanted)
                                  : kernel_action(signal, wanted.handler, wanted.flags);
    if (!result) process->actions[signal] = wanted;
    if (wanted.handler == kIgnore) pending_forget(process, signal);
  }
  process->signal_lock.unlock();
  if (!result && arg(thread, 2) && !put(thread, arg(thread, 2), &old, sizeof old)) result = -EFAULT;
  return done(thread, result);
}

Answer do_sigprocmask(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  const uint64_t old = program_mask(thread, context);
  uint64_t set = 0, mask = old;
  if (arg(thread, 3) != kSetBytes) return done(thread, -EINVAL);
  if (arg(thread, 1)) {
    if (!get(thread, &set, arg(thread, 1), 8)) return done(thread, -EFAULT);
    switch (arg(thread, 0)) {
      case kSigBlock:
        mask |= set;
        break;
      case kSigUnblock:
        mask &= ~set;
        break;
      case kSigSetmask:
        mask = set;
        break;
      default:
        return done(thread, -EINVAL);
    }
  }
  set_program_mask(thread, context, mask);
  if (arg(thread, 2) && !put(thread, arg(thread, 2), &old, 8)) return done(thread, -EFAULT);
  return done(thread, 0);
}

// ---- The alternate stack ------------------------------------------------------------------------

namespace {

constexpr uint64_t kMinStackBytes = 2048;  // MINSIGSTKSZ

// Is a stack of this size large enough for a frame of this process? That depends on the kernel's
// configuration and on the state that the program has got permission for, so the kernel is asked:
// for a moment the end of the agent's own stack is all that it has. REQUIRES: in a handler.
int64_t ask_stack_size(const Thread* thread, uint64_t bytes) {
  const uint64_t whole = thread->altstack_top - thread_signal_stack(thread);
  if (bytes >= whole) return 0;  // that one was large enough
  const AltStack ours = {thread_signal_stack(thread), 0, 0, whole};
  const AltStack part = {thread->altstack_top - bytes, 0, 0, bytes};
  const uint64_t all = ~0ull;
  uint64_t mask;
  sys(__NR_rt_sigprocmask, kSigSetmask, &all, &mask, kSetBytes);
  const int64_t result = shmrec_on_stack(thread->stack_top, __NR_sigaltstack, &part);
  if (!result) shmrec_on_stack(thread->stack_top, __NR_sigaltstack, &ours);
  sys(__NR_rt_sigprocmask, kSigSetmask, &mask, 0, kSetBytes);
  return result;
}

}  // namespace

int64_t set_altstack(Thread* thread, uint64_t sp, const AltStack& wanted) {
  const int32_t mode = wanted.flags & ~kSsAutodisarm;
  if (on_stack(thread, sp)) return -EPERM;
  if (mode != 0 && mode != kSsOnStack && mode != kSsDisable) return -EINVAL;
  AltStack& present = thread->altstack;
  if (wanted.sp == present.sp && wanted.size == present.size && wanted.flags == present.flags)
    return 0;
  if (mode == kSsDisable) {
    present = {0, wanted.flags, 0, 0};
    return 0;
  }
  if (wanted.size < kMinStackBytes) return -ENOMEM;
  if (const int64_t refused = ask_stack_size(thread, wanted.size)) return refused;
  present = {wanted.sp, wanted.flags, 0, wanted.size};
  return 0;
}

Answer do_sigaltstack(Thread* thread, void*) {
  AltStack wanted, old = thread->altstack;
  const uint64_t sp = thread->regs.rsp;
  old.flags = (old.flags & kSsAutodisarm) | (!old.size              ? kSsDisable
                                             : on_stack(thread, sp) ? kSsOnStack
                                                                    : 0);
  if (arg(thread, 0)) {
    if (!get(thread, &wanted, arg(thread, 0), sizeof wanted)) return done(thread, -EFAULT);
    if (const int64_t refused = set_altstack(thread, sp, wanted)) return done(thread, refused);
  }
  if (arg(thread, 1) && !put(thread, arg(thread, 1), &old, sizeof old))
    return done(thread, -EFAULT);
  return done(thread, 0);
}

// ---- Waiting for signals ------------------------------------------------------------------------

// The kernel looks at its own mask and its own queue while the thread waits. Neither shall hold the
// signals that the agent needs: blocked they could not be taken from whoever sends them, and the
// SIGSYS by which threads are told to look must not be handed to the program.

namespace {

// Where a call has the mask that holds while it waits.
struct MaskArgument {
  uint32_t number;
  uint8_t argument, size;
  bool pair;  // the argument points to {const sigset_t*, size_t}
};
constexpr MaskArgument kMaskArguments[] = {
    {__NR_rt_sigsuspend, 0, 1, false}, {__NR_ppoll, 3, 4, false},
    {__NR_epoll_pwait, 4, 5, false},   {__NR_epoll_pwait2, 4, 5, false},
    {__NR_pselect6, 5, 0, true},       {__NR_io_pgetevents, 5, 0, true},
};

// Reads the set of `bytes` bytes at `address`; what is wrong with it is left to the kernel to find.
bool peek_set(uint64_t address, uint64_t bytes, uint64_t* set) {
  return address && bytes == kSetBytes && peek(set, address, kSetBytes) == kSetBytes;
}

bool peek_mask(const Thread* thread, const MaskArgument& where, uint64_t* mask) {
  uint64_t pair[2] = {arg(thread, where.argument), arg(thread, where.size)};
  if (where.pair && (!pair[0] || peek(pair, pair[0], sizeof pair) < sizeof pair)) return false;
  return peek_set(pair[0], pair[1], mask);
}

// Passes the call on with another set in the place of argument `n`'s.
Answer with_set(Thread* thread, Answer answer, int n, uint64_t set, bool pair) {
  uint64_t* scratch = thread->call.scratch;
  scratch[0] = set;
  scratch[1] = reinterpret_cast<uint64_t>(scratch);
  scratch[2] = kSetBytes;
  set_arg(thread, n, reinterpret_cast<uint64_t>(pair ? scratch + 1 : scratch));
  if (answer == Answer::kNative) thread->call.post = kernel_access_post;
  return Answer::kPost;
}

const MaskArgument& mask_argument(uint64_t number) {
  const MaskArgument* row = kMaskArguments;
  while (row->number != number) ++row;
  return *row;
}

}  // namespace

// A needed signal that the mask lets through and that is pending ends the call before it starts.
Answer do_masked_wait(Thread* thread, void* context) {
  const MaskArgument& where = mask_argument(thread->call.number);
  uint64_t mask = 0;
  if (!peek_mask(thread, where, &mask)) return kernel_access(thread, context);
  thread->call.mask = mask & ~kUnblockable;
  if (pending_set(thread) & ~mask) {
    thread->left_swapped = 1;
    return done(thread, -EINTR);
  }
  const Answer answer = kernel_access(thread, context);
  thread->call.swaps_mask = 1;
  if (!(mask & kNeeded)) return answer;
  return with_set(thread, answer, where.argument, mask & ~kNeeded, where.pair);
}

Answer do_sigtimedwait(Thread* thread, void* context) {
  uint64_t set = 0;
  Siginfo info;
  if (!peek_set(arg(thread, 0), arg(thread, 3), &set) || !(set & kNeeded))
    return kernel_access(thread, context);
  if (pending_take(thread, set, &info)) {
    const bool told = !arg(thread, 1) || put(thread, arg(thread, 1), &info, sizeof info);
    return done(thread, told ? info.signo : -EFAULT);
  }
  const Answer answer = with_set(thread, kernel_access(thread, context), 0, set & ~kNeeded, false);
  thread->call.waits_for = set & kNeeded;
  thread->call.post = [](Thread* self) {
    self->call.waits_for = 0;
    kernel_access_post(self);
  };
  return answer;
}

// Reading a signalfd must not take a hold away from a thread. The other five are found there while
// a thread waits in the read, as natively, but not if they came before.
Answer do_signalfd(Thread* thread, void* context) {
  uint64_t set = 0;
  const Answer answer = kernel_access(thread, context);
  if (!peek_set(arg(thread, 1), arg(thread, 2), &set) || !(set & bit(kSigsys))) return answer;
  return with_set(thread, answer, 1, set & ~bit(kSigsys), false);
}

// The kernel answers for the mask of this handler, which blocks more.
Answer do_sigpending(Thread* thread, void* raw) {
  if (arg(thread, 1) > kSetBytes) return done(thread, -EINVAL);
  uint64_t set = 0;
  sys(__NR_rt_sigpending, &set, kSetBytes);
  set = (set | pending_set(thread)) & program_mask(thread, static_cast<Context*>(raw));
  return done(thread, put(thread, arg(thread, 0), &set, arg(thread, 1)) ? 0 : -EFAULT);
}

// ---- A new image --------------------------------------------------------------------------------

namespace {

// SIGSEGV and its kin that are ignored: while the kernel knows it, a fault of another thread would
// be the end, so a process of several threads does without.
void ignore_in_kernel(const Process* process, bool ignore) {
  if (ignore && threads_of(process) > 1) return;
  for (int signal = 1; signal <= 31; ++signal) {
    const SignalAction& action = process->actions[signal];
    if (!(kNeeded & bit(signal)) || action.handler != kIgnore) continue;
    if (ignore)
      kernel_action(signal, kIgnore, 0);
    else
      own_action(signal, action);
  }
}

void set_kernel_mask(uint64_t mask) { sys(__NR_rt_sigprocmask, kSigSetmask, &mask, 0, kSetBytes); }

}  // namespace

bool signals_before_exec(Thread* thread, const Context* context) {
  set_kernel_mask(program_mask(thread, context));
  if ((thread->deferred & kDeferredSignal) || (pending_set(thread) & ~thread->virtual_mask)) {
    set_kernel_mask(kAllBlocked);
    return false;
  }
  pending_to_kernel(thread);
  ignore_in_kernel(thread->process, true);
  return true;
}

void signals_after_failed_exec(Thread* thread) {
  ignore_in_kernel(thread->process, false);
  set_kernel_mask(kAllBlocked);  // what was pending comes back here
}

}  // namespace shmrec::agent
