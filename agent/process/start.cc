// How the agent begins in a process: everything is prepared before the first trap can happen, and
// if anything is missing the program runs on as if nothing had been tried.
#include <linux/mman.h>
#include <linux/prctl.h>

#include "agent/agent_abi.h"
#include "agent/arch/x86_64/processor.h"
#include "agent/arch/x86_64/vector_state.h"
#include "agent/image_layout.h"
#include "agent/log/log.h"
#include "agent/memory/maps.h"
#include "agent/patches/text.h"
#include "agent/process/leave.h"
#include "agent/process/stop.h"
#include "agent/process/tracer.h"
#include "agent/replay/replay.h"
#include "agent/signals/signals.h"
#include "agent/signals/unwind.h"
#include "agent/sites/decode.h"
#include "agent/sites/table.h"
#include "agent/stream/stream.h"

extern "C" {
__attribute__((visibility("default"), section(".data")))
shmrec::agent::BootInfo shmrec_boot_info = {};
}
__attribute__((visibility("default"), section(".data")))
shmrec::agent::ImageLayout shmrec_image_layout = {};

namespace shmrec::agent {
namespace {

void protect_image() {
  for (uint32_t i = 0; i < shmrec_image_layout.range_count; ++i) {
    const ImageRange& range = shmrec_image_layout.ranges[i];
    sys(__NR_mprotect, range.begin, range.end - range.begin, range.protection);
  }
}

bool map_code() {
  const int64_t at = sys(__NR_mmap, code_base(), kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  return at == static_cast<int64_t>(code_base());
}

// What is missing is mostly room for mappings (RLIMIT_AS): the program gets back what was taken of
// it, and the launcher notes that this image is not recorded.
int64_t give_up(const BootInfo& boot, int64_t error) {
  sys(__NR_munmap, agent_base() + kLogOffset, boot.log_bytes);
  if (boot.mode == static_cast<uint32_t>(BootMode::kInjected))
    sys(__NR_fcntl, -1, kCallCommand, kCallHello, error);
  return error;
}

int64_t attach(const BootInfo& boot) {
  if (boot.mode != static_cast<uint32_t>(BootMode::kInjected))
    return log_attach(boot.log_fd, boot.log_bytes, boot.launcher);
  const int64_t fd = sys(__NR_fcntl, -1, kCallCommand, kCallHello);
  if (failed(fd)) return fd;
  const int64_t result = log_attach(static_cast<int>(fd), boot.log_bytes, boot.launcher);
  sys(__NR_close, fd);
  return failed(result) ? give_up(boot, result) : result;
}

bool still_live(const shmlog::ProcessEntry& entry) {
  return load(&entry.state) == static_cast<uint32_t>(shmlog::EntryState::kLive);
}

// The image that made this one by exec has the same pid and is the newest that says so.
uint32_t predecessor() {
  const shmlog::Header& header = log_header();
  const int32_t pid = static_cast<int32_t>(sys(__NR_getpid)),
                parent = static_cast<int32_t>(sys(__NR_getppid));
  const uint32_t newest = load(&header.next_process);
  uint32_t by_parent = 0;
  for (uint32_t age = 1; age < header.processes.count && age < newest; ++age) {
    const shmlog::ProcessEntry* entry = process_entry(newest - age);
    if (!entry || entry->pid_namespace != pid_namespace()) continue;  // of another container
    if (entry->pid == pid && entry->exit_known == 2 && still_live(*entry)) return newest - age;
    if (entry->pid == parent && !by_parent) by_parent = newest - age;
  }
  return by_parent;
}

// The image before this one may have forbidden the counter.
void read_counter_first() {
  int32_t state = PR_TSC_ENABLE;
  if (failed(sys(__NR_prctl, PR_GET_TSC, &state)) || state != PR_TSC_SIGSEGV) return;
  sys(__NR_prctl, PR_SET_TSC, PR_TSC_ENABLE);
  forbid_counter(log_header().tsc_hz);
  sys(__NR_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
}

// A program that records itself may have made cpuid fault.
void start_vector_state() {
  constexpr uint64_t kGetCpuid = 0x1011, kSetCpuid = 0x1012;
  const bool faults = sys(__NR_arch_prctl, kGetCpuid) == 0;
  if (faults) sys(__NR_arch_prctl, kSetCpuid, 1);
  vector_state_start();
  if (faults) sys(__NR_arch_prctl, kSetCpuid, 0);
}

// Those that the program starts with (entry.S).
Regs first_registers(const BootInfo& boot, uint64_t stack) {
  constexpr uint64_t kInterrupts = 0x200;
  Regs regs = {};
  regs.rip = boot.resume_address;
  regs.rsp = stack;
  regs.eflags = kInterrupts;
  return regs;
}

}  // namespace

// Runs on the boot stack, once. `stack`: the program's. 0 or -errno.
extern "C" int64_t shmrec_agent_start(uint64_t stack) {
  const BootInfo& boot = shmrec_boot_info;
  const bool api = boot.mode == static_cast<uint32_t>(BootMode::kApi);
  const bool replays = boot.mode == static_cast<uint32_t>(BootMode::kReplay);
  if (boot.abi_version != kAbiVersion) return -22;
  if (const int64_t error = attach(boot); failed(error)) return error;
  protect_image();
  read_counter_first();
  if (!map_code()) return give_up(boot, -ENOMEM);
  Process* process = process_allocate();
  Thread* thread = thread_allocate();
  if (!process || !thread) return give_up(boot, -ENOMEM);
  thread->process = process;
  process->many_threads = api;
  unwind_start();
  processor_start();
  decode_start(thread);
  start_vector_state();
  const uint32_t before = replays ? 0 : predecessor();
  process_enter(process, before, static_cast<shmlog::StartKind>(boot.start_kind));
  if (!replays) process_replaced(process, before);
  if (!replays) maps_start(thread, api);
  if (!api && !replays && is_traced()) {
    stop_tracing(process, shmlog::DegradedReason::kTraced, kTracedWhy);
    return 0;
  }
  // Handlers only where forks are seen: a child that inherited one unseen would take itself for its
  // parent when a signal comes.
  const int64_t error = thread_arm(thread);
  if (failed(error)) {
    stop_tracing(process, shmlog::DegradedReason::kNoDispatch,
                 "syscall user dispatch is refused here");
  } else {
    signals_start(process);
    signals_take_mask(thread);
    text_start();
    region_use_start();
    if (replays)
      replay_start(thread);
    else if (!api)
      stream_start(thread, first_registers(boot, stack));
  }
  return error;
}

}  // namespace shmrec::agent
