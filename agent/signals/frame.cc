#include "agent/signals/frame.h"

#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/vector_state.h"
#include "agent/signals/delivery.h"
#include "agent/signals/signal_sets.h"

namespace shmrec::agent {
namespace {

struct Frame {  // struct rt_sigframe
  uint64_t restorer;
  Context context;
  Siginfo info;
};

constexpr uint64_t kRedZone = 128;
constexpr uint64_t kLegacyFpBytes = 512;
constexpr uint32_t kInitialMxcsr = 0x1F80;

uint64_t fp_bytes(uint64_t fpstate) {
  if (!fpstate) return 0;
  const FxArea* area = reinterpret_cast<const FxArea*>(fpstate);
  return area->magic1 == kXstateMagic ? area->extended_size : kLegacyFpBytes;
}

// A handler starts with the processor's initial vector state.
void reset_fp(uint64_t fpstate) {
  if (!fpstate) return;
  FxArea* area = reinterpret_cast<FxArea*>(fpstate);
  area->mxcsr = kInitialMxcsr;
  if (area->magic1 == kXstateMagic) area->xstate_bv = 0;
}

// The end of the stack that the frame goes to.
uint64_t frame_stack(const Thread* thread, const Context* context, bool switches) {
  return switches ? thread->altstack.sp + thread->altstack.size : context->regs.rsp - kRedZone;
}

void enter_handler(Context* context, const SignalAction& action, int signal, uint64_t frame) {
  context->regs.rsp = frame;
  context->regs.rip = action.handler;
  context->regs.rdi = static_cast<uint64_t>(signal);
  context->regs.rsi = frame + offsetof(Frame, info);
  context->regs.rdx = frame + offsetof(Frame, context);
  context->regs.rax = 0;
  context->regs.eflags &= ~(kDirectionFlag | kResumeFlag | kTrapFlag);
  reset_fp(context->fpstate);
}

}  // namespace

bool frame_build(Thread* thread, Context* context, const SignalAction& action,
                 const Siginfo& info) {
  const bool switches = (action.flags & kSaOnStack) && !(thread->altstack.flags & kSsDisable) &&
                        !on_stack(thread, context->regs.rsp);
  const uint64_t bytes = fp_bytes(context->fpstate);
  const uint64_t fp_at = (frame_stack(thread, context, switches) - bytes) & ~63ull;
  const uint64_t at = ((fp_at - sizeof(Frame)) & ~15ull) - 8;
  Frame frame = {action.restorer, *context, info};
  frame.context.fpstate = context->fpstate ? fp_at : 0;
  frame.context.mask = program_mask(thread, context);
  frame.context.stack.sp = thread->altstack.sp;
  frame.context.stack.flags = thread->altstack.flags;
  frame.context.stack.size = thread->altstack.size;
  // The stack itself may be traced.
  const Origin origin = {context->regs.rip, next_event(thread), 0};
  Fault fault;
  if (!traced_write(thread, origin, fp_at, reinterpret_cast<void*>(context->fpstate), bytes,
                    &fault) ||
      !traced_write(thread, origin, at, &frame, sizeof frame, &fault))
    return false;
  if (switches && (thread->altstack.flags & kSsAutodisarm)) thread->altstack.flags = kSsDisable;
  enter_handler(context, action, info.signo, at);
  return true;
}

Answer do_sigreturn(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  Context saved;
  const uint64_t bytes = fp_bytes(context->fpstate);
  const uint64_t at = context->regs.rsp;
  const Origin origin = call_origin(thread);
  Fault fault;
  if (!traced_read(thread, origin, &saved, at, sizeof saved, &fault)) {
    const Siginfo broken = {kSigsegv, 0, kSiKernel, 0, {}};
    deliver(thread, context, broken);
    return Answer::kResume;
  }
  if (!saved.fpstate)
    reset_fp(context->fpstate);
  else
    traced_read(thread, origin, reinterpret_cast<void*>(context->fpstate), saved.fpstate, bytes,
                &fault);
  saved.regs.eflags =
      (context->regs.eflags & ~kReturnedFlags) | (saved.regs.eflags & kReturnedFlags);
  context->regs = saved.regs;
  set_program_mask(thread, context, saved.mask);
  thread->altstack.sp = saved.stack.sp;
  thread->altstack.flags = saved.stack.flags & ~kSsOnStack;
  thread->altstack.size = saved.stack.size;
  return Answer::kResume;
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

}  // namespace shmrec::agent
