#include "agent/signals/syscall_entry.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/kernel/kernel_access.h"
#include "agent/kernel/plain_descriptors.h"
#include "agent/log/records.h"
#include "agent/memory/native.h"
#include "agent/patches/call_sites.h"
#include "agent/patches/patch.h"
#include "agent/process/event.h"
#include "agent/process/leave.h"
#include "agent/replay/replay.h"
#include "agent/signals/delivery.h"
#include "agent/signals/places.h"
#include "agent/signals/settle.h"
#include "agent/stream/hold.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kMostCalls = 4096;  // no number of a syscall is that high

}  // namespace

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
  call.repeats = 0;
  call.event = next_event(thread);
  plain_descriptors_call(thread);
}

namespace {

// ---- Calls by the 32-bit table ------------------------------------------------------------------

constexpr uint32_t kArch32 = 0x40000003;          // AUDIT_ARCH_I386
constexpr uint64_t kReach32 = uint64_t{1} << 32;  // no pointer of such a call goes further

// Numbers of that table whose calls take no pointer and change nothing that the agent keeps.
constexpr uint16_t kHarmless32[] = {6,   19,  20,  24,  27,  29,  34,  36,  37,  41,  45,  47,
                                    49,  50,  57,  60,  63,  64,  65,  66,  118, 132, 133, 147,
                                    148, 158, 199, 200, 201, 202, 224, 238, 270, 330};
// And of those that change signals, processes or mappings.
constexpr uint16_t kOwned32[] = {1,   2,   11,  26,  48,  67,  68,  69,  72,  90,  91,  117, 119,
                                 120, 123, 125, 126, 163, 172, 173, 174, 175, 177, 179, 186, 190,
                                 192, 252, 257, 258, 308, 309, 311, 319, 321, 327, 354, 358, 374,
                                 380, 384, 386, 397, 398, 413, 414, 421, 425, 435, 441};

template <size_t N>
bool contains(const uint16_t (&numbers)[N], uint64_t number) {
  for (uint16_t each : numbers)
    if (each == number) return true;
  return false;
}

// Is made as it is. What it does to memory is not seen, so that it must not meet traced memory, nor
// change what the agent keeps: the process leaves the recording before.
void on_call32(Thread* thread, const Siginfo* info, Context* context) {
  const uint64_t number = static_cast<uint32_t>(info->sys.syscall);
  const bool reaches = region_overlaps(0, kReach32) && !contains(kHarmless32, number);
  thread->exit_ip = thread->call.pc + kSyscallBytes;
  plain_descriptors_end();
  stream_end(thread->process, "a 32-bit system call");
  if (!reaches && !contains(kOwned32, number)) {
    if (!contains(kHarmless32, number))
      coverage(thread->process, "memory written by 32-bit system calls (int 0x80) is not seen");
    context->regs.rip = reinterpret_cast<uint64_t>(shmrec_int80);
    return;
  }
  context->regs.rip = thread->call.pc;
  context->regs.rax = number;
  leave_process(thread, context, shmlog::DegradedReason::kCall32,
                "a 32-bit system call (int 0x80) that cannot be followed");
}

}  // namespace

void go_behind_call(Thread* thread, Context* context, Answer answer) {
  if (answer == Answer::kResume) return;
  // In replay stubs may go before the program goes on, which then comes back to them by itself.
  thread->exit_ip = replaying() ? thread->call_behind : patch_resume(thread->call_behind);
  thread->call_exit = thread->exit_page;
  context->regs = thread->regs;
  context->regs.rip = thread->exit_ip;
  if (answer == Answer::kNative)
    context->regs.rip = reinterpret_cast<uint64_t>(shmrec_syscall_plain);
}

void on_syscall(Thread* thread, const Siginfo* info, Context* context) {
  record_rest(thread);
  kernel_access_cancel(thread);  // of a call that the program left by longjmp
  const bool by_stub = patch_leave_stub(thread, &context->regs);
  thread->regs = context->regs;
  take_call(thread, static_cast<uint32_t>(info->sys.syscall));
  if (info->sys.arch == kArch32) return on_call32(thread, info, context);
  if (release_before_call(thread, context)) return;
  if (!by_stub) patch_call_if_due(thread, thread->call.pc, thread->call.number);
  thread->call_behind = thread->regs.rip;
  thread->regs.rcx = thread->regs.rip;
  thread->regs.r11 = thread->regs.eflags;
  const Answer answer = dispatch_syscall(thread, context);
  go_behind_call(thread, context, answer);
  if (replaying()) replay_settle(thread, context);
  if (answer != Answer::kPost) return;
  context->regs.rip = reinterpret_cast<uint64_t>(shmrec_syscall_post);
  if (!(context->regs.eflags & kHeldFlags)) return;
  hold_flags(thread, context);  // what follows the call is code of the agent
  thread->deferred |= kDeferredFlags;
}

void on_refused_call(Thread* thread, Siginfo* info, Context* context) {
  // Else it is the program's already: its call was not dispatched (leave.h).
  if (in_agent(context)) info->sys.call_addr = thread->call.pc + kSyscallBytes;
  if (!call_returned(context)) return deliver_or_defer(thread, context, *info);
  const Place place = place_of(context->regs.rip);
  if (place == Place::kPostCallReturned) kernel_access_cancel(thread);
  thread->call.post = nullptr;
  if (place != Place::kOldCallReturned) {
    restore_arguments(thread, context->regs);
    context->regs.r11 |= thread->held_flags;
    context->regs.rcx = info->sys.call_addr;
  }
  give_flags_back(thread, context);
  context->regs.rip = info->sys.call_addr;
  deliver(thread, context, *info);
}

namespace {

bool behind_syscall(uint64_t ip) {
  uint8_t code[kSyscallBytes];
  return safe_copy(code, reinterpret_cast<void*>(ip - kSyscallBytes), sizeof code) &&
         code[0] == 0x0F && code[1] == 0x05;
}

// Are these the registers with which the last call has returned?
bool has_returned(const Thread* thread, const Regs& regs) {
  Regs returned = thread->regs;
  returned.rip = thread->exit_ip;
  return memcmp(&returned, &regs, sizeof regs) == 0;
}

}  // namespace

void make_lost_call(const Thread* thread, Context* context) {
  Regs& regs = context->regs;
  if (thread->keeps_handlers) return;  // its calls cause none
  // What the instruction leaves: a copy of rip, and one of the flags, in which RF is never set.
  const bool trapped = regs.rcx == regs.rip && regs.r11 == regs.eflags && regs.rax < kMostCalls;
  if (!trapped || in_agent(context) || !behind_syscall(regs.rip) || has_returned(thread, regs))
    return;
  regs.rip -= kSyscallBytes;
}

extern "C" void syscall_finish(Thread* thread) {
  thread->exit_ip = patch_resume(thread->call_behind);
  thread->regs.rip = thread->regs.rcx = thread->call_behind;
  thread->regs.r11 |= thread->held_flags;
  stream_call_returns(thread);
  void (*post)(Thread*) = thread->call.post;
  thread->call.post = nullptr;
  if (post) post(thread);
  stream_call_ends(thread);
  native_look(thread);
}

}  // namespace shmrec::agent
