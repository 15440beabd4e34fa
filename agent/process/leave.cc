#include "agent/process/leave.h"

#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/time_types.h>

#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/log/log.h"
#include "agent/memory/regions.h"
#include "agent/patches/patch.h"
#include "agent/process/stop.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/hold.h"
#include "agent/stream/processor_reads.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {
namespace {

enum Stage : uint32_t { kStaying, kCalling, kGone };  // Process::leaving
enum Progress : uint32_t { kStands = 1, kLeft = 2 };  // Thread::left; entry.S knows kLeft

constexpr uint64_t kPatienceTsc = uint64_t{1} << 36;  // about half a minute
constexpr uint64_t kCallAgainTsc = 1 << 26;           // a call that came between two handlers

void call(Thread* thread, void* self) {
  if (thread == self || load(&thread->left) >= kStands) return;
  call_to_leave(thread->process->pid, thread->tid);
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

// Others are to run, and that may be many on few processors: nobody spins.
void nap() {
  const __kernel_timespec interval = {0, 50'000};
  if (failed(sys(__NR_nanosleep, &interval, 0))) sys(__NR_sched_yield);
}

void await_others(const Process* process) {
  while (load(&process->leaving) == kCalling)
    if (sys(__NR_futex, &process->leaving, FUTEX_WAIT_PRIVATE, kCalling, 0) == -EPERM) nap();
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
    nap();
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
  reads_left(thread);
  take_out_calls(thread);
  thread_disarm(thread);
  pending_to_kernel(thread);
  context->mask = mask;
  give_back_stack(thread, context);
}

// From the handler the thread returns to code that says so and goes on in the program.
void go_out(Thread* thread, Context* context) {
  give_back_thread(thread, context);
  gs_choose(thread);
  thread->regs = context->regs;
  thread->exit_ip = context->regs.rip;
  context->regs.rip =
      thread->exit_page + static_cast<uint64_t>(shmrec_exit_left - shmrec_exit_begin);
}

}  // namespace

bool leaving(const Process* process) { return load(&process->leaving) != kStaying; }

void leave_after_fork(Process* process) {
  if (load(&process->leaving) == kCalling) store<uint32_t>(&process->leaving, kStaying);
}

bool leaves_for(uint32_t reason) {
  return reason == static_cast<uint32_t>(shmlog::DegradedReason::kTraced) ||
         reason == static_cast<uint32_t>(shmlog::DegradedReason::kSeccomp) ||
         reason == static_cast<uint32_t>(shmlog::DegradedReason::kCall32);
}

bool call_to_leave(int32_t pid, int32_t tid) {
  Siginfo info = {};
  info.signo = kSigsys;
  info.code = kSiQueue;
  info.words[0] = static_cast<uint64_t>(sys(__NR_getpid));
  info.words[1] = kLeaveValue;
  return sys(__NR_rt_tgsigqueueinfo, pid, tid, kSigsys, &info) != -EPERM;
}

namespace {

// Another thread was first.
void follow(Thread* thread, Context* context) {
  lane_release(thread);
  block_needed();
  store<uint32_t>(&thread->left, kStands);
  await_others(thread->process);
  thread->entry_state = &thread->own_state;
  go_out(thread, context);
}

// From here on no other process calls.
void refuse_calls(const Process* process, shmlog::DegradedReason reason) {
  const TablesLock lock(process);
  store(&process->entry->degraded, static_cast<uint32_t>(reason));
}

void leave_memory_of_parent(Thread* thread, Context* context, shmlog::DegradedReason reason,
                            const char* why) {
  shmlog::ProcessEntry* entry = thread->process->entry;
  refuse_calls(thread->process, reason);
  stop_tracing(thread->process, reason, why);
  lane_release(thread);
  thread->keeps_handlers = 1;
  context->mask = program_mask(thread, context);
  reads_left(thread);
  thread_disarm(thread);
  entry->end_tsc = rdtsc();
  store(&entry->state, static_cast<uint32_t>(shmlog::EntryState::kEnded));
}

}  // namespace

void leave_process(Thread* thread, Context* context, shmlog::DegradedReason reason,
                   const char* why) {
  Process* process = thread->process;
  stream_end(process, why);
  hold_end(thread, context);
  if (process->lives_in_parent && !regions_empty())
    return leave_memory_of_parent(thread, context, reason, why);
  if (!compare_exchange<uint32_t>(&process->leaving, kStaying, kCalling))
    return follow(thread, context);
  lane_release(thread);
  refuse_calls(process, reason);
  stop_tracing(process, reason, why);
  block_needed();
  const bool gathered = gather_others(thread, kStands);
  patches_end();
  give_back_actions(process, gathered);
  store<uint32_t>(&process->leaving, kGone);
  sys(__NR_futex, &process->leaving, FUTEX_WAKE_PRIVATE, kMaxThreads);
  gather_others(thread, kLeft);
  // How it ends is not seen any more.
  process->entry->end_tsc = rdtsc();
  thread->entry_state = &process->entry->state;
  go_out(thread, context);
}

void leave_when_called(Thread* thread, Context* context) {
  leave_process(thread, context, shmlog::DegradedReason::kTraced, kTracedWhy);
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
