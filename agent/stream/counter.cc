#include "agent/stream/counter.h"

#include <linux/prctl.h>

#include "agent/log/log.h"
#include "agent/replay/replay.h"
#include "agent/signals/signal_numbers.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

using stream::ValueKind;

namespace {

uint32_t counter_traps = 0;  // 1: the agent has asked for it

constexpr uint8_t kRdtsc[] = {0x0F, 0x31}, kRdtscp[] = {0x0F, 0x01, 0xF9};

bool is_at(uint64_t ip, const uint8_t* code, uint64_t bytes) {
  uint8_t found[4];
  return safe_copy(found, reinterpret_cast<void*>(ip), bytes) && !memcmp(found, code, bytes);
}

// As the processor would: eax, edx, and for rdtscp ecx.
void read_values(ValueKind kind, uint32_t values[4]) {
  const uint64_t counter = rdtsc();
  uint32_t processor = 0;
  if (kind == ValueKind::kCounterAndProcessor) sys(__NR_getcpu, &processor, 0, 0);
  values[0] = static_cast<uint32_t>(counter);
  values[1] = 0;
  values[2] = processor;
  values[3] = static_cast<uint32_t>(counter >> 32);
}

}  // namespace

void let_counter_trap(Thread* thread) {
  int32_t state = PR_TSC_ENABLE;
  if (!load(&counter_traps)) sys(__NR_prctl, PR_GET_TSC, &state);
  if (state == PR_TSC_SIGSEGV) thread->forbids_counter = 1;
  forbid_counter(log_header().tsc_hz);
  store(&counter_traps, 1u);
  sys(__NR_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
}

bool counter_trapped() { return load(&counter_traps); }

void counter_left(const Thread* thread) {
  if (load(&counter_traps)) sys(__NR_prctl, PR_SET_TSC, counter_state(thread));
}

int64_t counter_set(Thread* thread, uint64_t state) {
  if (state != PR_TSC_ENABLE && state != PR_TSC_SIGSEGV) return -EINVAL;
  thread->forbids_counter = state == PR_TSC_SIGSEGV;
  return 0;
}

uint32_t counter_state(const Thread* thread) {
  return thread->forbids_counter ? PR_TSC_SIGSEGV : PR_TSC_ENABLE;
}

bool counter_read(Thread* thread, const Siginfo& info, Context* context) {
  if (!load(&counter_traps) || info.signo != kSigsegv || info.code != kSiKernel ||
      thread->forbids_counter)
    return false;
  Regs& regs = context->regs;
  ValueKind kind;
  if (is_at(regs.rip, kRdtsc, sizeof kRdtsc))
    kind = ValueKind::kCounter;
  else if (is_at(regs.rip, kRdtscp, sizeof kRdtscp))
    kind = ValueKind::kCounterAndProcessor;
  else
    return false;
  uint32_t values[4];
  if (!streaming() && !replaying()) {  // the program reads it by itself from here on
    sys(__NR_prctl, PR_SET_TSC, PR_TSC_ENABLE);
    return true;
  }
  if (replaying()) {
    replay_value(thread, regs, kind, values);
  } else {
    read_values(kind, values);
    stream_value(thread, regs, kind, values);
  }
  regs.rax = values[0];
  regs.rdx = values[3];
  if (kind == ValueKind::kCounterAndProcessor) regs.rcx = values[2];
  regs.rip += kind == ValueKind::kCounter ? sizeof kRdtsc : sizeof kRdtscp;
  return true;
}

}  // namespace shmrec::agent
