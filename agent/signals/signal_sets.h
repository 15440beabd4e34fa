// Sets of signals, and the two masks of a thread.
//
// The agent needs six signals for itself and never blocks them in the kernel. What the program
// blocks of them is in Thread::virtual_mask; of all others the kernel's mask is the program's.
#pragma once

#include "agent/signals/signal_numbers.h"
#include "agent/signals/signals.h"

namespace shmrec::agent {

constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }
// Signals whose handler is always the agent's. The needed ones are never blocked in the kernel; the
// others are here so that a death that dumps core is written down, and its core taken, before.
constexpr uint64_t kNeeded =
    bit(kSigill) | bit(kSigtrap) | bit(kSigbus) | bit(kSigfpe) | bit(kSigsegv) | bit(kSigsys);
constexpr uint64_t kOwned = kNeeded | bit(kSigabrt) | bit(kSigquit) | bit(kSigxcpu) | bit(kSigxfsz);
constexpr uint64_t kUnblockable = bit(kSigkill) | bit(kSigstop);
constexpr uint64_t kAllBlocked = ~kNeeded & ~kUnblockable;

// What the program blocks, where `context` is the thread's present one.
inline uint64_t program_mask(const Thread* thread, const Context* context) {
  return (context->mask & ~kNeeded) | thread->virtual_mask;
}
inline void set_program_mask(Thread* thread, Context* context, uint64_t mask) {
  mask &= ~kUnblockable;
  context->mask = mask & ~kNeeded;
  thread->virtual_mask = mask & kNeeded;
}

// Does `sp` lie in the program's alternate stack?
inline bool within_stack(const Thread* thread, uint64_t sp) {
  return sp > thread->altstack.sp && sp - thread->altstack.sp <= thread->altstack.size;
}
// Is that stack in use? One that is disarmed by use is not.
inline bool on_stack(const Thread* thread, uint64_t sp) {
  return !(thread->altstack.flags & kSsAutodisarm) && within_stack(thread, sp);
}
// sigaltstack by a thread whose stack pointer is `sp`: 0 or -errno.
int64_t set_altstack(Thread* thread, uint64_t sp, const AltStack& wanted);

// Gives `signal` this action in the kernel: kDefault, kIgnore, or else the agent's handler.
int64_t kernel_action(int signal, uint64_t handler, uint64_t program_flags);
// Takes an owned signal over from the program, whose action for it is `wanted`.
int64_t own_action(int signal, const SignalAction& wanted);

}  // namespace shmrec::agent
