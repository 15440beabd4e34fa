// Which syscall goes where: the table's handlers (syscalls/syscall_table.h), as functions.
#include "agent/kernel/futex.h"
#include "agent/kernel/seccomp.h"
#include "agent/memory/maps.h"
#include "agent/memory/maps_text.h"
#include "agent/process/process.h"
#include "agent/signals/signals.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using namespace syscalls;
namespace {

Answer not_there(Thread* thread, void*) { return done(thread, -ENOSYS); }

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

Answer dispatch_syscall(Thread* thread, void* context) {
  Answer refused;
  if (seccomp_refuses(thread, &refused)) return refused;
  const SyscallRule* rule = syscall_rule(static_cast<uint32_t>(thread->call.number));
  return kHandlers[static_cast<int>(rule ? rule->handler : Handler::kMemory)](thread, context);
}

}  // namespace shmrec::agent
