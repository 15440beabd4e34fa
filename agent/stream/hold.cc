#include "agent/stream/hold.h"

#include <linux/time.h>

#include "agent/arch/x86_64/exceptions.h"
#include "agent/signals/delivery.h"
#include "agent/signals/places.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/stream.h"
#include "agent/stream/turns.h"

namespace shmrec::agent {
namespace {

constexpr int64_t kPatienceNs = 5'000'000;
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
  if (!streaming() || turns_are_over() || steps || stream_finds(thread, *context) ||
      !set_timer(thread, kPatienceNs))
    return false;
  thread->held_signal = info;
  thread->held_mask = context->mask;
  thread->holds_signal = 1;
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

void release_late(Thread* thread, Context* context) {
  constexpr int64_t kSoonNs = 200'000;
  if (!thread->holds_signal) return;
  if (!leave_agent(thread, context)) {
    if (set_timer(thread, kSoonNs)) return;
  }
  release(thread, context);
}

}  // namespace shmrec::agent
