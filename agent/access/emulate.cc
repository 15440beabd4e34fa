#include "agent/access/emulate.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/process/stop.h"
#include "agent/signals/signal_numbers.h"

namespace shmrec::agent {

int raise(Thread* thread, const Site& site, const Fault& fault) {
  thread->raise = fault;
  thread->regs.rip = site.ip;
  thread->exit_ip = reinterpret_cast<uint64_t>(shmrec_raise_trap);
  return kTail;
}

int give_up(Thread* thread, const Site& site, const char* why) {
  region_use_end(thread);  // who changes regions waits for those who use them
  stop_tracing(thread->process, shmlog::DegradedReason::kInstruction, why);
  thread->exit_ip = site.ip;
  thread->deferred &= ~uint64_t{kDeferredStep};  // it comes when it has executed
  return kTail;
}

int emulate_xlat(Thread* thread, const Site& site) {
  Fault fault;
  const uint64_t address =
      segment_base(site) + address_in(site, thread->regs.rbx + (thread->regs.rax & 0xFF));
  if (!traced_read(thread, origin_of(thread, site), &thread->regs.rax, address, 1, &fault))
    return raise(thread, site, fault);
  return kTail;
}

int emulate_move_direct(Thread* thread, const Site& site) {
  constexpr uint32_t kBytes = 64;
  Fault fault;
  uint8_t value[kBytes];
  const uint64_t target = address_in(site, reg(thread->regs, site.value_register));
  if (target % kBytes) {  // a general protection fault
    fault.signal = kSigsegv;
    fault.code = kSiKernel;
    return raise(thread, site, fault);
  }
  if (!traced_read(thread, origin_of(thread, site), value, thread->ea, kBytes, &fault) ||
      !traced_writable(target, kBytes, &fault) ||
      !traced_write(thread, origin_of(thread, site), target, value, kBytes, &fault))
    return raise(thread, site, fault);
  return kTail;
}

}  // namespace shmrec::agent
