#include "agent/access/step.h"

#include <linux/mman.h>

#include "agent/process/stop.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kTrapFlag = 0x100;
constexpr int kMaxPages = 4;

// One step at a time in a process: opened pages are open to all its threads.
struct Step {
  Thread* owner;
  uint64_t ip;
  uint64_t fault_address;
  uint32_t bytes;
  int pages;
  uint64_t page[kMaxPages];
  uint64_t mask;       // the program's, restored afterwards
  uint64_t trap_flag;  // the program's own
  alignas(64) uint8_t before[kMaxPages][kPage];
} step;
SpinLock step_lock;

uint32_t hold_number = 0;  // of the newest hold
uint32_t holding = 0;      // futex: 1 while the other threads stand still

constexpr uint64_t kAnswerTsc = 1 << 28;  // a thread that does not answer sleeps in the kernel

void tell(Thread* thread, void* self) {
  if (thread == self) return;
  Siginfo info = {};
  info.signo = 31;  // SIGSYS
  info.code = -1;   // SI_QUEUE
  info.words[0] = static_cast<uint64_t>(thread->process->pid);
  info.words[1] = kHoldValue;
  sys(__NR_rt_tgsigqueueinfo, thread->process->pid, thread->tid, 31, &info);
}

void await_answer(Thread* thread, void* self) {
  if (thread == self) return;
  const uint64_t since = rdtsc();
  while (load(&thread->hold_answered) != hold_number && rdtsc() - since < kAnswerTsc) {
    if (sys(__NR_tgkill, thread->process->pid, thread->tid, 0) < 0) return;
    sys(__NR_sched_yield);
  }
}

void hold_others(Thread* self) {
  if (threads_of(self->process) < 2) return;
  ++hold_number;
  store(&holding, 1u);
  for_each_thread(self->process, tell, self);
  for_each_thread(self->process, await_answer, self);
}

void release_others() {
  if (!load(&holding)) return;
  store(&holding, 0u);
  sys(__NR_futex, &holding, 129 /* FUTEX_WAKE_PRIVATE */, 0x7FFFFFFF);
}

void open_page(Thread* thread, uint64_t address, const Region& region) {
  const uint64_t page = page_down(address);
  const uint64_t alias = region.alias + (page - region.begin);
  safe_copy(step.before[step.pages], reinterpret_cast<void*>(alias), kPage);
  step.page[step.pages++] = page;
  thread->step_page = page;
  sys(__NR_mprotect, page, kPage, region.protection);
}

// Logs the runs of bytes that the instruction changed; writing them once more puts them in order.
bool log_changes(Thread* thread, const Origin& origin, int index) {
  const uint64_t page = step.page[index];
  const uint64_t alias = alias_of(page, kPage);
  bool changed = false;
  Fault fault;
  for (uint64_t at = 0; alias && at < kPage;) {
    uint8_t now[64];
    if (!safe_copy(now, reinterpret_cast<void*>(alias + at), sizeof now)) break;
    const uint8_t* before = step.before[index] + at;
    uint64_t first = 0, end = sizeof now;
    while (first < end && now[first] == before[first]) ++first;
    while (end > first && now[end - 1] == before[end - 1]) --end;
    if (first < end) {
      changed = true;
      traced_write(thread, origin, page + at + first, now + first, end - first, &fault);
    }
    at += sizeof now;
  }
  return changed;
}

}  // namespace

void step_begin(Thread* thread, Context* context, const Site* site) {
  Region region;
  if (!region_find(context->cr2, &region)) return;
  if (!thread->step_page) {
    step_lock.lock();
    step.owner = thread;
    step.ip = context->regs.rip;
    step.fault_address = context->cr2;
    step.bytes = site && site->bytes && site->bytes <= 64 ? site->bytes : 1;
    step.pages = 0;
    step.mask = context->mask;
    step.trap_flag = context->regs.eflags & kTrapFlag;
    hold_others(thread);
  }
  if (step.pages == kMaxPages) {
    stop_tracing(thread->process, shmlog::DegradedReason::kAgentFault,
                 "an instruction touched more pages of traced memory than can be followed");
    return;
  }
  open_page(thread, context->cr2, region);
  context->mask =
      ~0ull & ~(1ull << 4 | 1ull << 10 | 1ull << 6 | 1ull << 30 | 1ull << 7 | 1ull << 3);
  context->regs.eflags |= kTrapFlag;
}

void step_hold(Thread* thread) {
  store(&thread->hold_answered, load(&hold_number));
  while (load(&holding)) sys(__NR_futex, &holding, 128 /* FUTEX_WAIT_PRIVATE */, 1, 0);
}

void step_hold_later(Thread* thread) {
  thread->deferred |= kDeferredHold;
  store(&thread->hold_answered, load(&hold_number));
}

bool step_end(Thread* thread, Context* context) {
  if (!thread->step_page || step.owner != thread) return false;
  thread->step_page = 0;
  context->regs.eflags = (context->regs.eflags & ~kTrapFlag) | step.trap_flag;
  context->mask = step.mask;
  for (int i = 0; i < step.pages; ++i) sys(__NR_mprotect, step.page[i], kPage, PROT_NONE);
  const Origin origin = {step.ip, next_event(thread), 0};
  bool changed = false;
  for (int i = 0; i < step.pages; ++i) changed |= log_changes(thread, origin, i);
  uint8_t value[64];
  Fault fault;
  if (!changed) traced_read(thread, origin, value, step.fault_address, step.bytes, &fault);
  step.owner = nullptr;
  release_others();
  step_lock.unlock();
  return true;
}

}  // namespace shmrec::agent
