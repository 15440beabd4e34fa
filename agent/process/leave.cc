#include "agent/process/leave.h"

#include <linux/prctl.h>

#include "agent/arch/x86_64/entry.h"
#include "agent/log/log.h"
#include "agent/process/stop.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"

namespace shmrec::agent {
namespace {

enum Stage : uint32_t { kStaying, kCalling, kGone };  // Process::leaving
enum Progress : uint32_t { kStands = 1, kLeft = 2 };  // Thread::left; entry.S knows kLeft

constexpr uint64_t kPatienceTsc = uint64_t{1} << 36;  // about half a minute
constexpr uint64_t kCallAgainTsc = 1 << 26;           // a call that came between two handlers

void call(Thread* thread, void* self) {
  if (thread == self || load(&thread->left) >= kStands) return;
  Siginfo info = {};
  info.signo = kSigsys;
  info.code = kSiQueue;
  info.words[0] = static_cast<uint64_t>(thread->process->pid);
  info.words[1] = kLeaveValue;
  sys(__NR_rt_tgsigqueueinfo, thread->process->pid, thread->tid, kSigsys, &info);
}

struct Count {
  const Thread* self;
  uint32_t progress;  // Thread::left, at least
  uint32_t waiting;
};
void count_waiting(Thread* thread, void* raw) {
  Count& count = *static_cast<Count*>(raw);
  if (thread != count.self && load(&thread->left) < count.progress) ++count.waiting;
}

// Waits until all others have come that far, calling them. False: somebody did not come.
bool gather_others(Thread* self, uint32_t progress) {
  const uint64_t since = rdtsc();
  for (uint64_t called = 0; rdtsc() - since < kPatienceTsc;) {
    Count count = {self, progress, 0};
    for_each_claimed(self->process, count_waiting, &count);
    if (!count.waiting) return true;
    if (progress == kStands && rdtsc() - called > kCallAgainTsc) {
      for_each_thread(self->process, call, self);
      called = rdtsc();
    }
    sys(__NR_sched_yield);
  }
  return false;
}

// The kernel gets the program's actions.
void give_back_actions(const Process* process, bool with_sigsys) {
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if ((bit(signal) & kUnblockable) || (signal == kSigsys && !with_sigsys)) continue;
    sys(__NR_rt_sigaction, signal, &process->actions[signal], 0, kSetBytes);
  }
}

// From here on no handler of the agent runs in this thread.
void block_needed() {
  const uint64_t needed = kNeeded;
  sys(__NR_rt_sigprocmask, kSigBlock, &needed, 0, kSetBytes);
}

// A second call may have come after the first was answered. The program's own SIGSYS stays.
void take_out_calls(const Thread* thread) {
  const uint64_t only = bit(kSigsys), no_time[2] = {};
  Siginfo info;
  if (sys(__NR_rt_sigtimedwait, &only, &info, no_time, kSetBytes) != kSigsys) return;
  if (info.code == kSiQueue && info.words[1] == kLeaveValue) return;
  sys(__NR_rt_tgsigqueueinfo, thread->process->pid, thread->tid, kSigsys, &info);
}

// The kernel takes the stack of a context too, but since Linux 6.12 while the handler's stack is
// still in use, and then it keeps that one. So it is told where it sees another stack pointer.
void give_back_stack(const Thread* thread, Context* context) {
  shmrec_on_stack(thread->stack_top, __NR_sigaltstack, &thread->altstack);
  context->stack.sp = thread->altstack.sp;
  context->stack.flags = thread->altstack.flags;
  context->stack.size = thread->altstack.size;
}

void give_back_thread(Thread* thread, Context* context) {
  const uint64_t mask = program_mask(thread, context);
  take_out_calls(thread);
  sys(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
  pending_to_kernel(thread);
  context->mask = mask;
  give_back_stack(thread, context);
}

}  // namespace

bool leaving(const Process* process) { return load(&process->leaving) != kStaying; }

// From the handler the thread returns to code that says so and goes on in the program.
void leave_when_called(Thread* thread, Context* context) {
  lane_release(thread);
  block_needed();
  store<uint32_t>(&thread->left, kStands);
  while (load(&thread->process->leaving) == kCalling) sys(__NR_sched_yield);
  give_back_thread(thread, context);
  thread->regs = context->regs;
  thread->exit_ip = context->regs.rip;
  context->regs.rip =
      thread->exit_page + static_cast<uint64_t>(shmrec_exit_left - shmrec_exit_begin);
}

void leave_process(Thread* thread, Context* context, shmlog::DegradedReason reason,
                   const char* why) {
  Process* process = thread->process;
  // Another thread was first.
  if (!compare_exchange<uint32_t>(&process->leaving, kStaying, kCalling))
    return leave_when_called(thread, context);
  lane_release(thread);
  stop_tracing(process, reason, why);
  block_needed();
  give_back_actions(process, gather_others(thread, kStands));
  store<uint32_t>(&process->leaving, kGone);
  gather_others(thread, kLeft);
  give_back_thread(thread, context);
  // How it ends is not seen any more.
  process->entry->end_tsc = rdtsc();
  store(&process->entry->state, static_cast<uint32_t>(shmlog::EntryState::kEnded));
}

void back_to_call(Thread* thread, Context* context) {
  context->regs = thread->regs;
  context->regs.rip = thread->call.pc;
  context->regs.rax = thread->call.number;
}

Answer leave_before_call(Thread* thread, Context* context, shmlog::DegradedReason reason,
                         const char* why) {
  back_to_call(thread, context);
  leave_process(thread, context, reason, why);
  return Answer::kResume;
}

}  // namespace shmrec::agent
