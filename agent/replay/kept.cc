#include "agent/replay/kept.h"

#include "agent/arch/x86_64/gs.h"
#include "agent/replay/outcome.h"

namespace shmrec::agent {

void keep_thread(const Thread* thread, const Context& context, KeptThread* kept) {
  kept->context = context.regs;
  kept->regs = thread->regs;
  kept->call = thread->call;
  kept->call_behind = thread->call_behind;
  kept->exit_ip = thread->exit_ip;
  kept->call_exit = thread->call_exit;
  kept->fs_base = read_fs_base();
  kept->gs_base = thread->program_gs;
  kept->mask = context.mask;
  kept->virtual_mask = thread->virtual_mask;
  kept->left_swapped = thread->left_swapped;
  kept->forbids_counter = thread->forbids_counter;
  kept->forbids_cpuid = thread->forbids_cpuid;
  kept->shown_fault = thread->shown_fault;
  kept->altstack = thread->altstack;
  kept->robust_head = thread->robust_head;
  kept->robust_bytes = thread->robust_bytes;
  kept->clear_tid = thread->clear_tid;
  kept->fp_bytes = fp_bytes(context.fpstate);
  if (kept->fp_bytes > sizeof kept->fp) refuse("the vector state is larger than expected");
  memcpy(kept->fp, reinterpret_cast<const void*>(context.fpstate), kept->fp_bytes);
}

void become_thread(Thread* thread, Context* context, const KeptThread& kept) {
  context->regs = kept.context;
  thread->regs = kept.regs;
  thread->call = kept.call;
  thread->call_behind = kept.call_behind;
  thread->exit_ip = kept.exit_ip;
  thread->call_exit = kept.call_exit;
  write_fs_base(kept.fs_base);
  gs_set(thread, kept.gs_base);
  context->mask = kept.mask;
  thread->virtual_mask = kept.virtual_mask;
  thread->left_swapped = kept.left_swapped;
  thread->forbids_counter = kept.forbids_counter;
  thread->forbids_cpuid = kept.forbids_cpuid;
  thread->shown_fault = kept.shown_fault;
  thread->altstack = kept.altstack;
  thread->robust_head = kept.robust_head;
  thread->robust_bytes = kept.robust_bytes;
  thread->clear_tid = kept.clear_tid;
  memcpy(reinterpret_cast<void*>(context->fpstate), kept.fp, kept.fp_bytes);
}

}  // namespace shmrec::agent
