#include "agent/stream/hold.h"

#include <linux/time.h>

#include "agent/arch/x86_64/exceptions.h"
#include "agent/signals/delivery.h"
#include "agent/signals/places.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/stops.h"
#include "agent/stream/stream.h"
#include "agent/stream/turns.h"

namespace shmrec::agent {
namespace {

// A stop costs some 0.1 ms, and as much in replay.
constexpr int64_t kPatienceNs = 1'000'000;
constexpr int32_t kNoTimer = -1;

struct SignalEvent {  // struct sigevent
  uint64_t value;
  int32_t signo, notify, tid, pad[11];
};
static_assert(sizeof(SignalEvent) == 64);
struct TimerSpan {  // struct itimerspec
  int64_t interval[2], value[2];
};

bool have_timer(Thread* thread) {
  constexpr int32_t kToThread = 4;  // SIGEV_THREAD_ID
  if (thread->late_timer_of == thread->tid) return thread->late_timer != kNoTimer;
  SignalEvent event = {kLateValue, kSigsys, kToThread, thread->tid, {}};
  const bool made =
      !failed(sys(__NR_timer_create, 1 /* CLOCK_MONOTONIC */, &event, &thread->late_timer));
  if (!made) thread->late_timer = kNoTimer;
  thread->late_timer_of = thread->tid;
  return made;
}

bool set_timer(Thread* thread, int64_t nanoseconds) {
  const TimerSpan span = {{0, 0}, {0, nanoseconds}};
  return have_timer(thread) && !failed(sys(__NR_timer_settime, thread->late_timer, 0, &span, 0));
}

void release(Thread* thread, Context* context) {
  thread->holds_signal = 0;
  context->mask = thread->held_mask;
  deliver(thread, context, thread->held_signal);
}

}  // namespace

bool hold_signal(Thread* thread, Context* context, const Siginfo& info) {
  const bool steps = context->regs.eflags & kTrapFlag;  // and sees at which instruction it comes
  if (!streaming() || turns_are_over() || steps || stream_finds(thread, *context)) return false;
  thread->held_signal = info;
  thread->held_mask = context->mask;
  thread->late_looks = thread->late_known = 0;
  thread->holds_signal = 1;  // before the timer, which may come at once
  if (!set_timer(thread, kPatienceNs)) {
    thread->holds_signal = 0;
    return false;
  }
  context->mask = kAllBlocked;
  return true;
}

bool release_before_call(Thread* thread, Context* context) {
  if (!thread->holds_signal) return false;
  set_timer(thread, 0);
  context->regs.rip = thread->call.pc;
  context->regs.rax = thread->call.number;
  release(thread, context);
  return true;
}

void hold_end(Thread* thread, Context* context) {
  if (!thread->holds_signal) return;
  set_timer(thread, 0);
  thread->holds_signal = 0;
  context->mask = thread->held_mask;
  const Siginfo& info = thread->held_signal;
  sys(__NR_rt_tgsigqueueinfo, thread->process->pid, thread->tid, info.signo, &info);
}

namespace {

// Is the program where replay can find it, and known well enough?
bool can_be_released(Thread* thread, Context* context) {
  constexpr uint32_t kMostLooks = 1000;  // 0.1 s
  const bool late = ++thread->late_looks > kMostLooks;
  Context program = *context;
  if ((in_agent(context) && !late) || !leave_agent(thread, &program)) return false;
  if (!late && !stream_finds(thread, program)) {
    const bool known = thread->late_known;
    if (!known) stop_prepare(thread, program);
    thread->late_known = 1;
    if (!known || !stop_is_possible(thread, program)) return false;
  }
  *context = program;
  return true;
}

}  // namespace

void release_late(Thread* thread, Context* context) {
  constexpr int64_t kSoonNs = 100'000;
  if (!thread->holds_signal) return;
  if (can_be_released(thread, context) || !set_timer(thread, kSoonNs)) release(thread, context);
}

}  // namespace shmrec::agent
