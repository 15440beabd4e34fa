#include "agent/stream/processor_reads.h"

#include <asm/prctl.h>
#include <linux/prctl.h>

#include "agent/kernel/bounce.h"
#include "agent/log/log.h"
#include "agent/replay/replay.h"
#include "agent/signals/signal_numbers.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {

using stream::ValueKind;

namespace {

uint32_t reads_trap = 0, cpuid_traps = 0;  // 1: the agent has asked for it

struct Instruction {
  ValueKind kind;
  uint8_t bytes;
  uint8_t code[3];
};
constexpr Instruction kInstructions[] = {
    {ValueKind::kCounter, 2, {0x0F, 0x31}},
    {ValueKind::kCounterAndProcessor, 3, {0x0F, 0x01, 0xF9}},
    {ValueKind::kCpuid, 2, {0x0F, 0xA2}},
};

// Null: it is none of them.
const Instruction* instruction_at(uint64_t ip) {
  uint8_t found[3] = {};
  peek(found, ip, sizeof found);
  for (const Instruction& each : kInstructions)
    if (memcmp(found, each.code, each.bytes) == 0) return &each;
  return nullptr;
}

bool forbids(const Thread* thread, ValueKind kind) {
  return kind == ValueKind::kCpuid ? thread->forbids_cpuid : thread->forbids_counter;
}

// The program executes such instructions by itself from here on. False: that is refused.
bool let_pass(ValueKind kind) {
  const int64_t result = kind == ValueKind::kCpuid ? sys(__NR_arch_prctl, ARCH_SET_CPUID, 1)
                                                   : sys(__NR_prctl, PR_SET_TSC, PR_TSC_ENABLE);
  return result == 0;
}

void read_cpuid(const Regs& regs, uint32_t values[4]) {
  sys(__NR_arch_prctl, ARCH_SET_CPUID, 1);
  asm volatile("cpuid"
               : "=a"(values[0]), "=b"(values[1]), "=c"(values[2]), "=d"(values[3])
               : "a"(static_cast<uint32_t>(regs.rax)), "c"(static_cast<uint32_t>(regs.rcx)));
  sys(__NR_arch_prctl, ARCH_SET_CPUID, 0);
}

void read_counter(ValueKind kind, uint32_t values[4]) {
  const uint64_t counter = rdtsc();
  uint32_t processor = 0;
  if (kind == ValueKind::kCounterAndProcessor) sys(__NR_getcpu, &processor, 0, 0);
  values[0] = static_cast<uint32_t>(counter);
  values[1] = 0;
  values[2] = processor;
  values[3] = static_cast<uint32_t>(counter >> 32);
}

// As the processor does. `values`: eax, ebx, ecx, edx.
void set_registers(ValueKind kind, const uint32_t values[4], Regs* regs) {
  regs->rax = values[0];
  regs->rdx = values[3];
  if (kind != ValueKind::kCounter) regs->rcx = values[2];
  if (kind == ValueKind::kCpuid) regs->rbx = values[1];
}

}  // namespace

void let_reads_trap(Thread* thread, bool cpuid) {
  int32_t state = PR_TSC_ENABLE;
  if (!load(&reads_trap)) {
    sys(__NR_prctl, PR_GET_TSC, &state);
    thread->forbids_cpuid = cpuid && sys(__NR_arch_prctl, ARCH_GET_CPUID) == 0;
  }
  if (state == PR_TSC_SIGSEGV) thread->forbids_counter = 1;
  forbid_counter(log_header().tsc_hz);
  store(&reads_trap, 1u);
  sys(__NR_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
  if (cpuid && !failed(sys(__NR_arch_prctl, ARCH_SET_CPUID, 0))) store(&cpuid_traps, 1u);
}

bool reads_trapped() { return load(&reads_trap); }
bool cpuid_trapped() { return load(&cpuid_traps); }

void reads_left(const Thread* thread) {
  if (load(&reads_trap)) sys(__NR_prctl, PR_SET_TSC, counter_state(thread));
  if (load(&cpuid_traps)) sys(__NR_arch_prctl, ARCH_SET_CPUID, cpuid_allowed(thread));
}

void leave_cpuid(Thread* thread) {
  if (!load(&cpuid_traps)) return;
  sys(__NR_arch_prctl, ARCH_SET_CPUID, cpuid_allowed(thread));
  store(&cpuid_traps, 0u);
  stream_end(thread->process, "a seccomp filter that refuses what recording of cpuid needs");
}

int64_t counter_set(Thread* thread, uint64_t state) {
  if (state != PR_TSC_ENABLE && state != PR_TSC_SIGSEGV) return -EINVAL;
  thread->forbids_counter = state == PR_TSC_SIGSEGV;
  return 0;
}

uint32_t counter_state(const Thread* thread) {
  return thread->forbids_counter ? PR_TSC_SIGSEGV : PR_TSC_ENABLE;
}

int64_t cpuid_set(Thread* thread, uint64_t allowed) {
  thread->forbids_cpuid = !allowed;
  return 0;
}

int64_t cpuid_allowed(const Thread* thread) { return !thread->forbids_cpuid; }

bool processor_read(Thread* thread, const Siginfo& info, Context* context) {
  if (!load(&reads_trap) || info.signo != kSigsegv || info.code != kSiKernel) return false;
  Regs& regs = context->regs;
  const Instruction* instruction = instruction_at(regs.rip);
  if (!instruction || forbids(thread, instruction->kind)) return false;
  const ValueKind kind = instruction->kind;
  if (kind == ValueKind::kCpuid && !load(&cpuid_traps)) return false;
  uint32_t values[4];
  if (replaying()) {
    replay_value(thread, regs, kind, values);
  } else {
    if (!streaming() && let_pass(kind)) return true;
    kind == ValueKind::kCpuid ? read_cpuid(regs, values) : read_counter(kind, values);
    stream_value(thread, regs, kind, values);
  }
  set_registers(kind, values, &regs);
  regs.rip += instruction->bytes;
  return true;
}

// ---- Staying on a processor ---------------------------------------------------------------------

namespace {

using CpuSet = uint64_t[128];  // as many as the kernel can be built for

CpuSet may_run_on;            // as it was
int64_t may_run_on_size = 0;  // in bytes; 0: nobody stays

int64_t read_cpus(CpuSet set) { return sys(__NR_sched_getaffinity, 0, sizeof(CpuSet), set); }

}  // namespace

// A set of its own would not follow a container whose processors change.
void may_move() {
  if (!may_run_on_size) return;
  CpuSet set;
  memset(set, 0xFF, sizeof set);
  sys(__NR_sched_setaffinity, 0, may_run_on_size, set);
  if (read_cpus(set) != may_run_on_size || memcmp(set, may_run_on, may_run_on_size) != 0)
    sys(__NR_sched_setaffinity, 0, may_run_on_size, may_run_on);
  may_run_on_size = 0;
}

uint32_t stay_on_processor() {
  uint32_t processor = 0;
  sys(__NR_getcpu, &processor, 0, 0);
  if (cpuid_trapped()) return processor;
  const int64_t bytes = read_cpus(may_run_on);
  if (failed(bytes) || processor / 8 >= static_cast<uint64_t>(bytes)) return processor;
  CpuSet one = {};
  one[processor / 64] = 1ull << processor % 64;
  if (!failed(sys(__NR_sched_setaffinity, 0, bytes, one))) may_run_on_size = bytes;
  return processor;
}

void may_move_at(uint64_t call) {
  if (call != __NR_brk && call != __NR_arch_prctl) may_move();
}

}  // namespace shmrec::agent
