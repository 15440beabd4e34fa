#include "agent/signals/places.h"

#include "agent/access/fast.h"
#include "agent/agent_abi.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/image_layout.h"
#include "agent/kernel/kernel_access.h"
#include "agent/patches/patch.h"
#include "agent/signals/jumped_call.h"
#include "agent/sites/table.h"

namespace shmrec::agent {

void hold_flags(Thread* thread, Context* context) {
  thread->held_flags = context->regs.eflags & kHeldFlags;
  context->regs.eflags &= ~kHeldFlags;
}

void give_flags_back(Thread* thread, Context* context) {
  context->regs.eflags |= thread->held_flags;
  thread->held_flags = 0;
  thread->deferred &= ~uint64_t{kDeferredFlags};
}

void leave_tail(Thread* thread, Context* context) {
  context->regs = thread->regs;
  give_flags_back(thread, context);
  // A fault that the access met comes again by itself: the access is executed again.
  if (thread->exit_ip != reinterpret_cast<uint64_t>(shmrec_raise_trap))
    context->regs.rip = thread->exit_ip, patch_leave_stub(thread, &context->regs);
  else
    thread->deferred &= ~uint64_t{kDeferredStep};
}

namespace {

// ---- The ways out -------------------------------------------------------------------------------

// Back: the call has not been made.
void leave_call(Thread* thread, Context* context) {
  thread->call.waits_for = 0;
  restore_arguments(thread, context->regs);
  give_flags_back(thread, context);
  context->regs.rax = thread->call.number;
  context->regs.rip = thread->call.pc;
  // As where the kernel itself makes the call again.
  context->regs.rcx = thread->call_behind;
  context->regs.r11 = context->regs.eflags;
}

void leave_call_load(Thread* thread, Context* context) {
  const Regs& saved = thread->regs;
  Regs& regs = context->regs;
  regs.r8 = saved.r8, regs.r9 = saved.r9, regs.r10 = saved.r10, regs.r11 = saved.eflags;
  regs.rdi = saved.rdi, regs.rsi = saved.rsi, regs.rdx = saved.rdx, regs.rcx = saved.rcx;
  regs.rax = saved.rax, regs.rsp = saved.rsp, regs.eflags = saved.eflags;
  regs.rip = saved.rcx - kSyscallBytes;
}

void leave_call_make(Thread* thread, Context* context) {
  call_not_made(thread);
  context->regs = thread->regs;
}

void leave_post_call(Thread* thread, Context* context) {
  kernel_access_cancel(thread);
  leave_call(thread, context);
}

// Forward: the result is in rax.
void leave_call_returned(Thread* thread, Context* context) {
  context->regs.rip = thread->exit_ip;
  context->regs.rcx = thread->call_behind;
  patch_leave_stub(thread, &context->regs);
}

void leave_post_call_returned(Thread* thread, Context* context) {
  thread->regs = context->regs;
  syscall_finish(thread);
  leave_tail(thread, context);
}

// The program's registers are untouched but for the result.
void leave_old_call(Thread* thread, Context* context) { context->regs.rip = thread->call.pc; }
void leave_old_call_returned(Thread* thread, Context* context) {
  context->regs.rip = thread->exit_ip;
}

// ---- The table ----------------------------------------------------------------------------------

struct Range {
  uint64_t begin, end;
};
template <typename Begin, typename End>
Range between(Begin* begin, End* end) {
  return {reinterpret_cast<uint64_t>(begin), reinterpret_cast<uint64_t>(end)};
}
Range at(void (*label)()) {
  return {reinterpret_cast<uint64_t>(label), reinterpret_cast<uint64_t>(label) + 1};
}

enum class Way : uint8_t { kForward, kBack, kDefer };

// `leave` makes the program's registers of those in `context`; null where the way is to defer.
struct PlaceRow {
  Place place;
  Range (*range)();
  Way way;
  void (*leave)(Thread* thread, Context* context);
};

constexpr PlaceRow kPlaces[] = {
    // Outside of its text the agent has code in the thread blocks only, where the exit pages are.
    {Place::kExitPage,
     [] {
       return Range{thread_blocks(), thread_blocks() + kMaxThreads * kThreadBlockBytes};
     },
     Way::kForward, leave_tail},
    {Place::kTail, [] { return between(shmrec_tail_begin, shmrec_tail_end); }, Way::kForward,
     leave_tail},
    {Place::kTail, [] { return between(shmrec_call_end, shmrec_call_end_end); }, Way::kForward,
     leave_tail},
    {Place::kFastLeave, [] { return between(shmrec_fast_leave, shmrec_fast_leave_end); },
     Way::kForward, fast_left},
    {Place::kQuickLeave, [] { return between(shmrec_fast_end_leave, shmrec_quick_leave); },
     Way::kForward, fast_end_left},
    {Place::kQuickLeave, [] { return between(shmrec_quick_leave, shmrec_quick_leave_end); },
     Way::kForward, quick_left},
    {Place::kCallLoad, [] { return between(shmrec_call_load, shmrec_call_load_end); }, Way::kBack,
     leave_call_load},
    {Place::kCallMake, [] { return between(shmrec_call_make, shmrec_call_make_end); }, Way::kBack,
     leave_call_make},
    {Place::kCall, [] { return at(shmrec_syscall_plain); }, Way::kBack, leave_call},
    {Place::kCallReturned,
     [] { return between(shmrec_syscall_plain_done, shmrec_syscall_plain_end); }, Way::kForward,
     leave_call_returned},
    {Place::kPostCall, [] { return at(shmrec_syscall_post); }, Way::kBack, leave_post_call},
    {Place::kPostCallReturned, [] { return at(shmrec_syscall_post_done); }, Way::kForward,
     leave_post_call_returned},
    {Place::kOldCall, [] { return at(shmrec_int80); }, Way::kBack, leave_old_call},
    {Place::kOldCallReturned, [] { return between(shmrec_int80_done, shmrec_int80_end); },
     Way::kForward, leave_old_call_returned},
    // Up to the syscall instruction; behind it the result is there.
    {Place::kExec, [] { return between(shmrec_exec, shmrec_exec_call_done); }, Way::kDefer,
     nullptr},
    {Place::kSafeCopy, [] { return between(shmrec_safe_begin, shmrec_safe_end); }, Way::kDefer,
     nullptr},
    {Place::kSafeCopy, [] { return between(shmrec_safe_measure_begin, shmrec_safe_measure_end); },
     Way::kDefer, nullptr},
    {Place::kDeferredTrap, [] { return at(shmrec_deferred_trap); }, Way::kDefer, nullptr},
    {Place::kRaiseTrap, [] { return at(shmrec_raise_trap); }, Way::kDefer, nullptr},
    {Place::kAccessCore,
     [] {
       return Range{code_base(), code_base() + kCodeBytes};
     },
     Way::kDefer, nullptr},
    {Place::kAgent,
     [] {
       return Range{shmrec_image_layout.image_begin, shmrec_image_layout.image_end};
     },
     Way::kDefer, nullptr},
};

constexpr PlaceRow kStubRow = {Place::kStub, nullptr, Way::kBack, stub_left};

constexpr PlaceRow kHoldingStubRow = {Place::kHoldingStub, nullptr, Way::kDefer, nullptr};

const PlaceRow* row_of_stub(uint64_t ip) {
  StubPlace place;
  if (!patch_place(ip, &place)) return nullptr;
  return place.holds ? &kHoldingStubRow : &kStubRow;
}

// Null: the program's.
const PlaceRow* row_of(uint64_t ip) {
  if (ip - agent_base() >= kZoneBytes) return row_of_stub(ip);
  for (const PlaceRow& row : kPlaces) {
    const Range range = row.range();
    if (ip >= range.begin && ip < range.end) return &row;
  }
  return nullptr;
}

}  // namespace

Place place_of(uint64_t ip) {
  const PlaceRow* row = row_of(ip);
  return row ? row->place : Place::kProgram;
}

bool leave_agent(Thread* thread, Context* context) {
  if (interrupted_masked_call(thread, context)) thread->left_swapped = 1;
  const PlaceRow* row = row_of(context->regs.rip);
  if (!row) return true;
  if (row->way == Way::kDefer) return false;
  row->leave(thread, context);
  return true;
}

// ---- Calls --------------------------------------------------------------------------------------

bool at_call(const Context* context) {
  const Place place = place_of(context->regs.rip);
  return place == Place::kCallMake || place == Place::kCall || place == Place::kPostCall ||
         place == Place::kOldCall;
}

bool call_returned(const Context* context) {
  const uint64_t ip = context->regs.rip;
  return ip == reinterpret_cast<uint64_t>(shmrec_syscall_plain_done) ||
         ip == reinterpret_cast<uint64_t>(shmrec_syscall_post_done) ||
         ip == reinterpret_cast<uint64_t>(shmrec_int80_done);
}

bool interrupted_call(const Context* context) {
  return call_returned(context) && context->regs.rax == static_cast<uint64_t>(-EINTR);
}

bool interrupted_masked_call(const Thread* thread, const Context* context) {
  return interrupted_call(context) && thread->call.swaps_mask;
}

void undo_interruption(Context* context) {
  if (interrupted_call(context)) context->regs.rip -= kSyscallBytes;
}

void restore_arguments(const Thread* thread, Regs& regs) {
  const PendingSyscall& call = thread->call;
  regs.rdi = call.args[0], regs.rsi = call.args[1], regs.rdx = call.args[2];
  regs.r10 = call.args[3], regs.r8 = call.args[4], regs.r9 = call.args[5];
}

void end_exec(Context* context) {
  if (place_of(context->regs.rip) == Place::kExec)
    context->regs.rip = reinterpret_cast<uint64_t>(shmrec_exec_interrupted);
}

}  // namespace shmrec::agent
