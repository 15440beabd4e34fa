#include "agent/replay/kept.h"

#include "agent/arch/x86_64/gs.h"
#include "agent/replay/outcome.h"

namespace shmrec::agent {

void keep_thread(const Thread* thread, const Context& context, KeptThread* kept) {
  kept->context = context.regs;
#define SHMREC_KEEP(field) kept->field = thread->field;
  SHMREC_KEPT_FIELDS(SHMREC_KEEP)
#undef SHMREC_KEEP
  kept->fs_base = read_fs_base();
  kept->gs_base = thread->program_gs;
  kept->mask = context.mask;
  kept->fp_bytes = fp_bytes(context.fpstate);
  if (kept->fp_bytes > sizeof kept->fp) refuse("the vector state is larger than expected");
  memcpy(kept->fp, reinterpret_cast<const void*>(context.fpstate), kept->fp_bytes);
}

void become_thread(Thread* thread, Context* context, const KeptThread& kept) {
  context->regs = kept.context;
#define SHMREC_BECOME(field) thread->field = kept.field;
  SHMREC_KEPT_FIELDS(SHMREC_BECOME)
#undef SHMREC_BECOME
  write_fs_base(kept.fs_base);
  gs_set(thread, kept.gs_base);
  context->mask = kept.mask;
  memcpy(reinterpret_cast<void*>(context->fpstate), kept.fp, kept.fp_bytes);
}

}  // namespace shmrec::agent
