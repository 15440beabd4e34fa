#include "agent/replay/child.h"

#include "agent/replay/outcome.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kMostFpBytes = 16 * 1024;

// What the child does not share with it.
struct Parent {
  bool waits;
  Regs regs;
  PendingSyscall call;
  uint64_t call_behind;
  uint64_t fs_base;
  uint64_t mask, virtual_mask;
  AltStack altstack;
  uint64_t robust_head, robust_bytes, clear_tid;
  SignalAction actions[65];
  uint64_t fp_bytes;
  alignas(64) uint8_t fp[kMostFpBytes];
};
Parent parent = {};

}  // namespace

bool in_child() { return parent.waits; }

void child_begins(Thread* thread, const Context& context, const stream::ChildRecord& record) {
  if (parent.waits) refuse("a child in the same memory has one of its own");
  parent.waits = true;
  parent.regs = thread->regs;
  parent.call = thread->call;
  parent.call_behind = thread->call_behind;
  parent.fs_base = read_fs_base();
  parent.mask = context.mask;
  parent.virtual_mask = thread->virtual_mask;
  parent.altstack = thread->altstack;
  parent.robust_head = thread->robust_head;
  parent.robust_bytes = thread->robust_bytes;
  parent.clear_tid = thread->clear_tid;
  memcpy(parent.actions, thread->process->actions, sizeof parent.actions);
  parent.fp_bytes = fp_bytes(context.fpstate);
  if (parent.fp_bytes > sizeof parent.fp) refuse("the vector state is larger than expected");
  memcpy(parent.fp, reinterpret_cast<const void*>(context.fpstate), parent.fp_bytes);
  memcpy(&thread->regs, record.regs, sizeof record.regs);
  write_fs_base(record.fs_base);
}

void child_ends(Thread* thread, Context* context) {
  if (!parent.waits) refuse("the recording is damaged: a child ends that has not begun");
  parent.waits = false;
  thread->regs = parent.regs;
  thread->call = parent.call;
  thread->call_behind = parent.call_behind;
  write_fs_base(parent.fs_base);
  context->mask = parent.mask;
  thread->virtual_mask = parent.virtual_mask;
  thread->altstack = parent.altstack;
  thread->robust_head = parent.robust_head;
  thread->robust_bytes = parent.robust_bytes;
  thread->clear_tid = parent.clear_tid;
  memcpy(thread->process->actions, parent.actions, sizeof parent.actions);
  memcpy(reinterpret_cast<void*>(context->fpstate), parent.fp, parent.fp_bytes);
}

}  // namespace shmrec::agent
