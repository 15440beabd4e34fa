#include "agent/signals/core_call.h"

#include "agent/process/thread.h"
#include "agent/signals/signal_sets.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {
namespace {

constexpr uint64_t kDumpCore = bit(kSigquit) | bit(kSigill) | bit(kSigtrap) | bit(kSigabrt) |
                               bit(kSigbus) | bit(kSigfpe) | bit(kSigsegv) | bit(kSigxcpu) |
                               bit(kSigxfsz) | bit(kSigsys);

enum Asking : uint32_t { kNobody, kWaits, kAnswered };
uint32_t asking;     // Asking: of the process that has this memory
int32_t asking_pid;  // a child that was forked meanwhile has its parent's word

CoreRequest request_of(const Thread* thread, const Context& context, const Siginfo& info) {
  const shmlog::ProcessEntry& entry = *thread->process->entry;
  CoreRequest request = {};
  static_assert(sizeof request.regs == sizeof context.regs);
  memcpy(request.regs, &context.regs, sizeof request.regs);
  request.fs_base = read_fs_base();
  request.gs_base = thread->program_gs;
  request.fpstate = context.fpstate;
  request.blocked = program_mask(thread, &context);
  request.id_high = entry.id_high;
  request.id_low = entry.id_low;
  request.zone = agent_base();
  static_assert(sizeof request.siginfo == sizeof info);
  memcpy(request.siginfo, &info, sizeof info);
  return request;
}

void ask_for_core(Thread* thread, const Context& context, const Siginfo& info) {
  const int32_t pid = thread->process->pid;
  if (load(&asking_pid) != pid) {
    store(&asking, uint32_t{kNobody});
    store(&asking_pid, pid);
  }
  if (compare_exchange(&asking, uint32_t{kNobody}, uint32_t{kWaits})) {
    const CoreRequest request = request_of(thread, context, info);
    sys(__NR_fcntl, -1, kCallCommand, kCallCore, &request);
    store(&asking, uint32_t{kAnswered});
  }
  const uint64_t millisecond[2] = {0, 1000000};
  while (load(&asking) == kWaits) sys(__NR_nanosleep, millisecond, 0);
}

}  // namespace

void core_before_death(Thread* thread, const Context& context, const Siginfo& info) {
  if (shmrec_boot_info.core_at_signal && kDumpCore & bit(info.signo))
    ask_for_core(thread, context, info);
}

void core_before_exit(Thread* thread, const Context& context, uint64_t status) {
  constexpr int kExited = 1;  // CLD_EXITED
  const auto code = static_cast<int32_t>(status & 0xFF);
  if (!shmrec_boot_info.core_at_exit || code == 0 || thread->process->lives_in_parent) return;
  Siginfo info = {kSigchld, 0, kExited, 0, {}};
  info.kill = {thread->process->pid, static_cast<uint32_t>(sys(__NR_getuid)), code};
  ask_for_core(thread, context, info);
}

}  // namespace shmrec::agent
