#include "agent/signals/frame.h"

#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/vector_state.h"
#include "agent/patches/patch.h"
#include "agent/process/event.h"
#include "agent/replay/replay.h"
#include "agent/signals/delivery.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

uint64_t fp_bytes(uint64_t fpstate) {
  if (!fpstate) return 0;
  const FxArea* area = reinterpret_cast<const FxArea*>(fpstate);
  return area->magic1 == kXstateMagic ? area->extended_size : kLegacyFpBytes;
}

namespace {

struct Frame {  // struct rt_sigframe
  uint64_t restorer;
  Context context;
  Siginfo info;
};

constexpr uint64_t kRedZone = 128, kFpAlignment = 64, kFrameAlignment = 16;

// ---- The frame is built -------------------------------------------------------------------------

// Where the kernel would put it.
struct Position {
  uint64_t frame, fp;
};

// False: nowhere. It would leave the alternate stack, or begin on it and end outside.
bool find_position(const Thread* thread, const Context* context, const SignalAction& action,
                   Position* position) {
  const uint64_t free = context->regs.rsp - kRedZone;
  const bool enters =
      (action.flags & kSaOnStack) && thread->altstack.size && !on_stack(thread, free);
  const bool stays = on_stack(thread, context->regs.rsp);
  const uint64_t end = enters ? thread->altstack.sp + thread->altstack.size : free;
  position->fp = (end - fp_bytes(context->fpstate)) & ~(kFpAlignment - 1);
  position->frame = ((position->fp - sizeof(Frame)) & ~(kFrameAlignment - 1)) - 8;
  return !(enters || stays) || within_stack(thread, position->frame);
}

// What a handler may look at besides the registers. The numbers of the last fault are in each
// frame, whatever the signal.
void fill_frame(const Thread* thread, const Context* context, const Position& position,
                Frame* frame) {
  frame->context.link = 0;
  // What the kernel does not write in the agent's own frame is what was on that stack before.
  frame->context.stack.pad = 0;
  memset(frame->context.reserved, 0, sizeof frame->context.reserved);
  frame->context.fpstate = context->fpstate ? position.fp : 0;
  frame->context.old_mask = frame->context.mask = program_mask(thread, context);
  // Where the program returns from its handlers by itself, the agent's stay where they are.
  if (!thread->keeps_handlers) {
    frame->context.stack.sp = thread->altstack.sp;
    frame->context.stack.flags = thread->altstack.flags;
    frame->context.stack.size = thread->altstack.size;
  }
  frame->context.trap = thread->shown_fault.trap;
  frame->context.error = thread->shown_fault.error;
  frame->context.cr2 = thread->shown_fault.cr2;
}

bool write_frame(Thread* thread, const Context* context, const SignalAction& action,
                 const Position& position, const Frame& frame) {
  // The stack itself may be traced.
  const Origin origin = {context->regs.rip, next_event(thread), 0};
  const uint64_t bytes = action.flags & kSaSiginfo ? sizeof frame : offsetof(Frame, info);
  Fault fault;
  if (streaming() || replaying()) fp_fill(context->fpstate);
  return traced_write(thread, origin, position.fp, reinterpret_cast<void*>(context->fpstate),
                      fp_bytes(context->fpstate), &fault) &&
         traced_write(thread, origin, position.frame, &frame, bytes, &fault);
}

void enter_handler(Context* context, const SignalAction& action, int signal, uint64_t frame) {
  context->regs.rsp = frame;
  context->regs.rip = action.handler;
  context->regs.rdi = static_cast<uint64_t>(signal);
  context->regs.rsi = frame + offsetof(Frame, info);
  context->regs.rdx = frame + offsetof(Frame, context);
  context->regs.rax = 0;
  context->regs.eflags &= ~(kDirectionFlag | kResumeFlag | kTrapFlag);
  context->cs = kCode64;
  context->ss = kUserSs;
  fp_reset(context->fpstate);
}

// ---- And taken back -----------------------------------------------------------------------------

// Only what an unprivileged program may set can be loaded; the rest faults.
bool loadable(uint64_t fpstate) {
  const FxArea& area = *reinterpret_cast<const FxArea*>(fpstate);
  const uint32_t allowed = area.mxcsr_mask ? area.mxcsr_mask : kDefaultMxcsrMask;
  if (area.mxcsr & ~allowed) return false;
  return area.magic1 != kXstateMagic ||
         (!(area.xstate_bv & ~area.features) && !area.xcomp_bv && !area.xcomp_reserved);
}

// Reads the vector state of the program's frame over that of ours. A frame that lacks the second
// part, or says that it does, has the legacy state only.
bool read_fp(Thread* thread, const Origin& origin, uint64_t fpstate, uint64_t from) {
  const FxArea ours = *reinterpret_cast<const FxArea*>(fpstate);
  const uint64_t bytes = fp_bytes(fpstate);
  FxArea* area = reinterpret_cast<FxArea*>(fpstate);
  Fault fault;
  if (!traced_read(thread, origin, area, from, kLegacyFpBytes, &fault)) return false;
  area->mxcsr_mask = ours.mxcsr_mask;
  if (area->magic1 != kXstateMagic || ours.magic1 != kXstateMagic) return loadable(fpstate);
  if (!traced_read(thread, origin, reinterpret_cast<void*>(fpstate + kLegacyFpBytes),
                   from + kLegacyFpBytes, bytes - kLegacyFpBytes, &fault))
    return false;
  return loadable(fpstate);
}

bool restore_fp(Thread* thread, const Origin& origin, Context* context, uint64_t from) {
  if (!context->fpstate) return true;
  const FxArea ours = *reinterpret_cast<const FxArea*>(context->fpstate);
  if (from && read_fp(thread, origin, context->fpstate, from)) return true;
  *reinterpret_cast<FxArea*>(context->fpstate) = ours;
  fp_reset(context->fpstate);
  return !from;
}

void restore_registers(Context* context, const Context& saved) {
  const uint64_t kept = context->regs.eflags & ~kReturnedFlags;
  context->regs = saved.regs;
  context->regs.eflags = kept | (saved.regs.eflags & kReturnedFlags);
  context->cs = saved.cs;
  context->ss = saved.ss;
  context->flags = saved.flags;
}

bool restore(Thread* thread, Context* context) {
  Context saved;
  const Origin origin = call_origin(thread);
  Fault fault;
  if (!traced_read(thread, origin, &saved, context->regs.rsp, sizeof saved, &fault)) return false;
  set_program_mask(thread, context, saved.mask);
  // While the handler is on the alternate stack this changes nothing, as in the kernel.
  set_altstack(thread, context->regs.rsp, {saved.stack.sp, saved.stack.flags, 0, saved.stack.size});
  restore_registers(context, saved);
  return restore_fp(thread, origin, context, saved.fpstate);
}

}  // namespace

bool frame_build(Thread* thread, Context* context, const SignalAction& action,
                 const Siginfo& info) {
  Position position;
  if (!(action.flags & kSaRestorer) || !find_position(thread, context, action, &position))
    return false;
  Frame frame = {action.restorer, *context, info};
  fill_frame(thread, context, position, &frame);
  if (!write_frame(thread, context, action, position, frame)) return false;
  if (thread->altstack.flags & kSsAutodisarm) thread->altstack = {0, kSsDisable, 0, 0};
  enter_handler(context, action, info.signo, position.frame);
  return true;
}

Answer do_sigreturn(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  if (!restore(thread, context)) deliver(thread, context, kBadStack);
  thread->regs = context->regs;
  context->regs.rip = patch_resume(context->regs.rip);
  thread->exit_ip = context->regs.rip;
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
