#include "agent/signals/faults.h"

#include <linux/mman.h>

#include "agent/access/fast.h"
#include "agent/access/gather.h"
#include "agent/access/routines.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/arch/x86_64/guarded.h"
#include "agent/memory/brake.h"
#include "agent/memory/window.h"
#include "agent/patches/libraries.h"
#include "agent/patches/patch.h"
#include "agent/process/stop.h"
#include "agent/replay/replay.h"
#include "agent/replay/stops.h"
#include "agent/signals/delivery.h"
#include "agent/signals/places.h"
#include "agent/signals/settle.h"
#include "agent/signals/signal_sets.h"
#include "agent/sites/table.h"
#include "agent/stream/processor_reads.h"
#include "agent/stream/stream.h"

namespace shmrec::agent {
namespace {

// The numbers in `context` become those that every frame shows from now on. Only a page fault has a
// new cr2.
void deliver_numbered(Thread* thread, Context* context, const Siginfo& info) {
  thread->shown_fault.trap = context->trap;
  thread->shown_fault.error = context->error;
  if (context->trap == kPageFault) thread->shown_fault.cr2 = context->cr2;
  deliver(thread, context, info);
}

// The program sees the fault of an instruction that was performed for it; its registers are in
// `context`.
void deliver_fault(Thread* thread, Context* context, const Fault& fault) {
  Siginfo raised = {};
  raised.signo = fault.signal;
  raised.code = fault.code;
  raised.fault.addr = fault.address;
  // An address that is none (SI_KERNEL) is a general protection fault.
  context->trap = fault.code == kSiKernel ? kGeneralProtection : kPageFault;
  if (context->trap == kPageFault) context->cr2 = fault.address;
  context->error = fault.error;
  deliver_numbered(thread, context, raised);
}

// ---- In the program -----------------------------------------------------------------------------

// False: it cannot be performed.
bool begin_gather(Thread* thread, Context* context, const Site& site) {
  Fault fault;
  region_use_begin(thread);
  const Gathered how = gather_perform(thread, context, site, &fault);
  region_use_end(thread);
  if (how == Gathered::kNoState) return false;
  if (how == Gathered::kFaulted)
    deliver_fault(thread, context, fault);
  else if (context->regs.eflags & kTrapFlag)
    deliver_step(thread, context);
  return true;
}

// The traced mapping that the fault met. Where user code may not read descriptor tables, the kernel
// stores something for SGDT and its kind, and of up to 10 bytes it names the first one, though it
// could not write those behind it.
constexpr uint64_t kStoredByKernel = 10;
bool region_of_fault(uint64_t address, bool write, Region* region) {
  const uint64_t next = page_up(address + 1);
  return region_find(address, region) ||
         (write && next - address < kStoredByKernel && region_find(next, region));
}

// Does the program want alignment checked, and is this access not aligned?
bool misaligned(const Context& context, const Site& site, uint64_t address) {
  const bool checked = site.bytes == 2 || site.bytes == 4 || site.bytes == 8;
  return (context.regs.eflags & kAlignmentFlag) && checked && address % site.bytes;
}

bool deliver_misaligned(Thread* thread, Context* context) {
  site_leave(thread);
  const Siginfo info = {kSigbus, 0, kBusAlignment, 0, {}};
  context->trap = kAlignmentCheck;
  context->error = 0;
  deliver_numbered(thread, context, info);
  return true;
}

void hold_flags_for_access(Thread* thread, Context* context) {
  if (!(context->regs.eflags & kHeldFlags)) return;
  hold_flags(thread, context);
  thread->deferred |= kDeferredFlags;
  if (thread->held_flags & kTrapFlag) thread->deferred |= kDeferredStep;
}

// Another thread has changed the mapping since: the instruction makes its access when it is
// executed again. Of what the kernel stores for an instruction all bytes count (region_of_fault).
bool accessible_now(const Siginfo& info, bool write) {
  const uint64_t address = info.fault.addr, next = page_up(address + 1);
  Fault fault;
  uint8_t byte;
  if (!write) return safe_copy(&byte, reinterpret_cast<void*>(address), 1, &fault);
  const bool reaches_next = info.code == kSegvMaperr && next - address < kStoredByKernel;
  return safe_writable(address, &fault) && (!reaches_next || safe_writable(next, &fault));
}

// Has the kernel aborted a restartable sequence (rseq) because of this fault? Then rip is at the
// sequence's abort handler, behind the signature, and says nothing of the instruction that faulted:
// the sequence starts again, faults again, and never ends, if its memory stays traced. It touches
// that without being seen instead.
//
// Example: a counter per processor in shared memory is incremented by a sequence. Its `inc` faults,
// the kernel moves the thread to the abort handler, which tries again.
bool sequence_aborted(const Thread* thread, const Context& context) {
  constexpr uint32_t kLibcSignature = 0x53053053;  // libc may have registered before the agent came
  const uint32_t expected = thread->rseq_signature ? thread->rseq_signature : kLibcSignature;
  uint32_t signature = 0;
  Fault fault;
  return safe_copy(&signature, reinterpret_cast<void*>(context.regs.rip - sizeof signature),
                   sizeof signature, &fault) &&
         signature == expected;
}

// Patched by its second fault: code that runs once is not worth it. Nor is what comes to the
// brake's sample, where faults are few. A site that is patched faults where its stub does not look.
void patch_if_due(Thread* thread, Site& site, uint64_t address) {
  const bool outside = !in_window(address);
  Region region;
  if (site.patched == kUnpatchable || (site.patched == kPatched && (!outside || site.outside)))
    return;
  if (region_find(address, &region) && region.braked >= Braked::kSampled) return;
  if (replaying() && stop_is_awaited()) return;
  if (site.faults) {
    // What a routine does as a whole depends on more than is written down of it.
    if (!streaming() && !replaying()) libraries_patch(thread, site.ip, outside);
    patch_site(thread, site, outside);
  } else {
    site.faults = 1;
  }
}

// REQUIRES: the thread holds the instruction's site.
bool perform(Thread* thread, Context* context, uint64_t address) {
  if (misaligned(*context, *thread->site, address)) return deliver_misaligned(thread, context);
  patch_if_due(thread, *thread->site, address);
  hold_flags_for_access(thread, context);
  context->regs.rip = reinterpret_cast<uint64_t>(shmrec_access_enter);
  return true;
}

// A fault at an address of a traced mapping that the program may access: perform the access. Other
// reasons for a SIGSEGV, as a protection key, are the program's.
bool begin_access(Thread* thread, const Siginfo* info, Context* context) {
  if (info->signo != kSigsegv || (info->code != kSegvMaperr && info->code != kSegvAccerr) ||
      regions_unused())
    return false;
  const bool write = context->error & kFaultWrite, fetch = context->error & kFaultFetch;
  Region region;
  if (!region_of_fault(info->fault.addr, write, &region)) {
    regions_await_change();
    if (!region_of_fault(info->fault.addr, write, &region))
      return !fetch && accessible_now(*info, write);
  }
  if (replaying() && replay_before_access(thread, context)) return true;
  const bool allowed = write ? region.protection & PROT_WRITE : region.protection != PROT_NONE;
  if (fetch || !allowed) {
    // The page is there for the program, though not in the kernel's eyes.
    if (region.protection != PROT_NONE) context->error |= kFaultPresent;
    return false;
  }
  if (sequence_aborted(thread, *context)) {
    stop_tracing_range(thread->process, region.begin, region.end,
                       shmlog::DegradedReason::kInstruction,
                       "a restartable sequence (rseq) touches this process's shared memory: the "
                       "mapping is not traced from here on");
    return true;
  }
  brake_fault(thread, region);
  const Site* site = context->cs == kCode64 ? site_for(thread, context->regs.rip) : nullptr;
  // A page that is there and that no access is allowed to is never reported as not mapped.
  thread->stored_by_kernel = info->code == kSegvMaperr;
  if (site && site->form < Form::kGather) return perform(thread, context, info->fault.addr);
  const bool gathered = site && site->form == Form::kGather && begin_gather(thread, context, *site);
  site_leave(thread);
  // The instruction executes again, on memory that is the program's own.
  if (!gathered)
    stop_tracing(thread->process, shmlog::DegradedReason::kInstruction,
                 "an instruction that the agent cannot perform touched traced memory");
  return true;
}

void fault_in_program(Thread* thread, Siginfo* info, Context* context) {
  if (patch_trapped(thread, context)) return;
  if (processor_read(thread, *info, context)) return;
  if (begin_access(thread, info, context)) return;
  deliver_numbered(thread, context, *info);
}

// ---- In the agent -------------------------------------------------------------------------------

// A guarded move goes on elsewhere. Else the agent itself is broken: the program goes on without
// it.
void fault_in_agent(Thread* thread, Siginfo*, Context* context) {
  if (const uint64_t fixup = fixup_of(context->regs.rip)) {
    context->regs.rip = fixup;
    return;
  }
  region_use_end(thread);
  stop_tracing(thread->process, shmlog::DegradedReason::kAgentFault, "a fault inside the agent");
  thread_disarm(thread);
  patches_end_if_free();
  if (thread->outer && thread->outer != context) {  // make the syscall again, natively
    thread->outer->regs.rip = thread->call.pc;
    thread->outer->regs.rax = thread->call.number;
    restore_arguments(thread, thread->outer->regs);
    gs_leave(thread);
    shmrec_return_to(thread->outer);
  }
  context->regs = thread->regs;
  if (thread->regs.rip != thread->call.pc) return;
  restore_arguments(thread, context->regs);  // the call was not made (jumped_call.h)
  context->regs.rax = thread->call.number;
}

// The stub was about to look at the instruction's address: its answer is found here.
void answer_stub(Thread* thread, Context* context, const StubPlace& place) {
  const uint64_t address = effective_address(*place.site, context->regs);
  thread->stored_by_kernel = 0;
  if (access_concerns(*place.site, context->regs) && site_for(thread, place.ip))
    perform(thread, context, address);
  else
    context->regs.rip = place.copy;
}

// A stub itself faults where its thread has no base in gs yet, and is stepped through where the
// program steps, which must not see it. A copy of an instruction faults as the instruction would.
void fault_in_stub(Thread* thread, Siginfo* info, Context* context) {
  StubPlace place;
  const bool names_instruction = info->fault.addr == context->regs.rip;
  patch_place(context->regs.rip, &place);
  patch_leave_stub(thread, &context->regs);
  if (names_instruction) info->fault.addr = context->regs.rip;
  if (place.call) {  // what it comes to traps
    context->regs.rip = place.copy;
    return;
  }
  const bool stepped = context->trap == kDebugException;
  if (place.asks && !(stepped && place.begins)) return answer_stub(thread, context, place);
  if (stepped || !begin_access(thread, info, context)) deliver_numbered(thread, context, *info);
}

void fault_in_safe_copy(Thread* thread, Siginfo* info, Context* context) {
  thread->safe = {info->signo, info->code, info->fault.addr, context->error};
  context->regs.rip = reinterpret_cast<uint64_t>(shmrec_safe_faulted);
}

// The access had begun when its region went, and met the page before it was opened.
bool opened_since(const Fault& fault) {
  Region region;
  if (fault.signal != kSigsegv || fault.code == kSiKernel) return false;
  regions_await_change();
  Siginfo info = {kSigsegv, 0, fault.code, 0, {}};
  info.fault.addr = fault.address;
  return !region_find(fault.address, &region) && accessible_now(info, fault.error & kFaultWrite);
}

void raise_trap(Thread* thread, Siginfo*, Context* context) {
  leave_tail(thread, context);
  if (!opened_since(thread->raise)) deliver_fault(thread, context, thread->raise);
}

// A signal came before the fault that the access met, which comes again; flags alone do not.
void deferred_trap(Thread* thread, Siginfo* info, Context* context) {
  const bool faulted = thread->exit_ip == reinterpret_cast<uint64_t>(shmrec_raise_trap);
  if (faulted && !(thread->deferred & ~uint64_t{kDeferredFlags | kDeferredStep}))
    return raise_trap(thread, info, context);
  leave_tail(thread, context);
  deliver_deferred(thread, context);
}

// The program steps: the trap comes where the tail or the end of a call loads its flags.
void trap_at_end(Thread* thread, Siginfo* info, Context* context) {
  if (info->signo != kSigtrap || !leave_agent(thread, context))
    fault_in_agent(thread, info, context);
}

// The access instruction itself, on the copy of its operands: what it raises is the program's.
void fault_in_access(Thread* thread, Siginfo* info, Context* context) {
  access_abort(thread, &info->fault.addr);
  context->regs = thread->regs;
  give_flags_back(thread, context);
  thread->deferred &= ~uint64_t{kDeferredStep};
  // A deferred signal came first; the access faults again when its handler is done.
  if (thread->deferred) return deliver_deferred(thread, context);
  deliver_numbered(thread, context, *info);
}

// An atomic instruction met a page that has gone: it is executed again, and faults by the other
// way.
void fault_in_holding_stub(Thread* thread, Siginfo*, Context* context) {
  fast_abandon(thread, context);
  if (thread->deferred) deliver_deferred(thread, context);
}

struct FaultRow {
  Place place;
  void (*handle)(Thread* thread, Siginfo* info, Context* context);
};
constexpr FaultRow kFaultRows[] = {
    {Place::kProgram, fault_in_program},          {Place::kStub, fault_in_stub},
    {Place::kHoldingStub, fault_in_holding_stub}, {Place::kSafeCopy, fault_in_safe_copy},
    {Place::kDeferredTrap, deferred_trap},        {Place::kRaiseTrap, raise_trap},
    {Place::kAccessCore, fault_in_access},        {Place::kTail, trap_at_end},
    {Place::kCallReturned, trap_at_end},          {Place::kOldCallReturned, trap_at_end},
};

}  // namespace

void deliver_step(Thread* thread, Context* context) {
  Siginfo stepped = {kSigtrap, 0, kTrapTrace, 0, {}};
  stepped.fault.addr = context->regs.rip;
  context->trap = kDebugException;
  context->error = 0;
  deliver_numbered(thread, context, stepped);
}

void on_fault(Thread* thread, Siginfo* info, Context* context) {
  if (replaying() && replay_trapped(thread, *info, context)) return;
  const Place place = place_of(context->regs.rip);
  for (const FaultRow& row : kFaultRows)
    if (row.place == place) return row.handle(thread, info, context);
  fault_in_agent(thread, info, context);
}

}  // namespace shmrec::agent
