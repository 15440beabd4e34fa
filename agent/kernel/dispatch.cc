// Which syscall goes where: the table's handlers (syscalls/syscall_table.h), as functions.
#include "agent/kernel/aio.h"
#include "agent/kernel/futex.h"
#include "agent/kernel/seccomp.h"
#include "agent/memory/brake.h"
#include "agent/memory/maps.h"
#include "agent/memory/maps_text.h"
#include "agent/memory/native.h"
#include "agent/memory/pointers.h"
#include "agent/process/process.h"
#include "agent/process/tracer.h"
#include "agent/replay/replay.h"
#include "agent/signals/signals.h"
#include "agent/stream/stream.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using namespace syscalls;
namespace {

// The launcher, which refuses these too, is not asked for a recorded process, and so cannot say it.
Answer not_there(Thread* thread, void*) {
  coverage(thread->process, thread->call.number == __NR_userfaultfd
                                ? "userfaultfd does not exist while recording (ENOSYS)"
                                : "io_uring does not exist while recording (ENOSYS)");
  return done(thread, -ENOSYS);
}

constexpr SyscallHandler kHandlers[] = {
#define SHMREC_FUNCTION(name, kind, function) function,
    SHMREC_SYSCALL_HANDLERS(SHMREC_FUNCTION)
#undef SHMREC_FUNCTION
};

}  // namespace

void set_arg(Thread* thread, int n, uint64_t value) {
  Regs& regs = thread->regs;
  uint64_t* const places[6] = {&regs.rdi, &regs.rsi, &regs.rdx, &regs.r10, &regs.r8, &regs.r9};
  *places[n] = value;
}

namespace {

Answer dispatch(Thread* thread, void* context) {
  Answer refused;
  if (seccomp_refuses(thread, &refused)) return refused;
  native_look(thread);
  brake_look(thread);
  if (context) pointers_if_due(thread);  // else jumped_call.cc does it
  const SyscallRule* rule = syscall_rule(static_cast<uint32_t>(thread->call.number));
  const Answer answer =
      kHandlers[static_cast<int>(rule ? rule->handler : Handler::kMemory)](thread, context);
  if (native_empty()) return answer;
  // What was written while the call waited (for its writer, often) is read next: look once more.
  if (answer == Answer::kDone) native_look(thread);
  if (answer != Answer::kNative) return answer;
  thread->call.post = [](Thread*) {};
  return Answer::kPost;
}

}  // namespace

Answer dispatch_syscall(Thread* thread, void* context) {
  if (replaying()) return replay_call(thread, static_cast<Context*>(context));
  if (!streaming()) return dispatch(thread, context);
  stream_call_begins(thread);
  return stream_call(thread, dispatch(thread, context));
}

Answer dispatch_unrecorded(Thread* thread, void* context) { return dispatch(thread, context); }

}  // namespace shmrec::agent
