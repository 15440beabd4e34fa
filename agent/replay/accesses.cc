#include "agent/replay/accesses.h"

#include <linux/mman.h>

#include <initializer_list>

#include "agent/access/access.h"
#include "agent/kernel/bounce.h"
#include "agent/memory/maps.h"
#include "agent/patches/patch.h"
#include "agent/replay/child.h"
#include "agent/replay/outcome.h"
#include "agent/replay/reader.h"
#include "agent/replay/replay.h"
#include "agent/signals/signal_numbers.h"

namespace shmrec::agent {
namespace {

struct Accesses {
  const uint8_t* base = nullptr;
  uint64_t bytes = 0, at = 0;
};
Accesses accesses;

const ReplayAccess* next() {
  const uint64_t left = accesses.bytes - accesses.at;
  const auto* entry = reinterpret_cast<const ReplayAccess*>(accesses.base + accesses.at);
  if (left < sizeof *entry || entry->length > left - sizeof *entry) return nullptr;
  return entry;
}

void skip(const ReplayAccess* entry) {
  accesses.at += min(accesses.bytes - accesses.at, sizeof *entry + stream::aligned(entry->length));
}

void put_value(const ReplayAccess* entry) {
  const uint64_t alias = alias_of(entry->address, entry->length);
  if (!alias) diverge("an access leads to no traced memory", entry->address, entry->event);
  if (!safe_copy(reinterpret_cast<void*>(alias), entry + 1, entry->length))
    diverge("an access leads to no memory", entry->address, entry->event);
}

}  // namespace

void accesses_start() {
  const int fd = reader_stage().accesses;
  if (accesses.base) sys(__NR_munmap, accesses.base, accesses.bytes);
  accesses = {};
  const int64_t bytes = fd < 0 ? 0 : sys(__NR_lseek, fd, 0, 2 /* SEEK_END */);
  if (bytes <= 0) return;
  const uint64_t place = agent_base() + kReplayAccessOffset;
  const int64_t at = sys(__NR_mmap, place, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
  if (failed(at)) refuse("its accesses have no room here");
  accesses.base = reinterpret_cast<const uint8_t*>(at);
  accesses.bytes = static_cast<uint64_t>(bytes);
}

void accesses_skip(uint64_t event) {
  const ReplayAccess* entry;
  for (; (entry = next()) && entry->event <= event; skip(entry))
    if (entry->event < event) diverge("an access is not made", entry->pc, entry->event);
}

bool access_before(uint64_t event) {
  const ReplayAccess* entry = next();
  return entry && entry->event <= event;
}

bool access_is_last_before(uint64_t event) {
  const ReplayAccess* entry = next();
  if (!entry || entry->event > event) return false;
  const uint64_t first = entry->event, at = accesses.at;
  for (; entry && entry->event == first; entry = next()) skip(entry);
  accesses.at = at;
  return !entry || entry->event > event;
}

namespace {

// Does the stream have something that was before the entry? The log loses the oldest first.
bool before(const ReplayAccess* entry) {
  const stream::RecordHeader* record = reader_peek();
  return record && record->event < entry->event;
}

// Has a string instruction that has come `elements` further moved this register with them?
bool moved_along(uint64_t before, uint64_t after, uint64_t elements) {
  const uint64_t bytes = before < after ? after - before : before - after;
  for (const uint64_t each : {0, 1, 2, 4, 8})
    if (bytes == each * elements) return true;
  return false;
}

// Is it this execution of the instruction that faults? It may as well be its next one: then other
// registers have come to differ than those of a string instruction that is half done.
bool faults_with(const Regs& regs, const stream::SignalRecord& signal) {
  Regs then;
  memcpy(&then, signal.regs, sizeof signal.regs);
  const uint64_t elements = regs.rcx - then.rcx;
  if (!moved_along(regs.rsi, then.rsi, elements) || !moved_along(regs.rdi, then.rdi, elements))
    return false;
  then.rcx = regs.rcx, then.rsi = regs.rsi, then.rdi = regs.rdi;
  then.rip = regs.rip, then.eflags = regs.eflags;
  return memcmp(&then, &regs, sizeof regs) == 0;
}

// Does the stream say that this instruction faults next?
const stream::SignalRecord* fault_at(const Regs& regs, uint64_t pc, const ReplayAccess* entry) {
  const stream::RecordHeader* record = reader_peek();
  const auto* signal = record ? payload<stream::SignalRecord>(record) : nullptr;
  const bool faults = signal && record->type == static_cast<uint16_t>(stream::Type::kSignal) &&
                      signal->place == static_cast<uint64_t>(stream::SignalPlace::kFault) &&
                      signal->regs[stream::kInstructionPointer] == pc && faults_with(regs, *signal);
  return faults && (!entry || record->event <= entry->event) ? signal : nullptr;
}

// Of others the values decide: the instruction will raise them again.
bool raised_by_memory(const Fault& fault) {
  return (fault.signal == kSigsegv && fault.code != kSiKernel) || fault.signal == kSigbus;
}

Fault fault_of(const stream::SignalRecord& signal) {
  Siginfo info;
  memcpy(&info, signal.info, sizeof info);
  return {info.signo, info.code, info.fault.addr, signal.error};
}

// Is `pc` the instruction of the entry? Where a program jumps over its lock prefix into what a
// patch has put there, and the patch cannot be taken back, the agent made it with the prefix.
bool is_instruction(uint64_t pc, const ReplayAccess* entry) {
  constexpr uint8_t kLock = 0xF0;
  uint8_t prefix = 0;
  return entry->pc == pc ||
         (entry->pc + 1 == pc && peek(&prefix, entry->pc, 1) == 1 && prefix == kLock);
}

// What the pending event read, or all that it did.
void follow_accesses(uint64_t event, bool writes) {
  for (const ReplayAccess* entry; (entry = next()) && entry->event == event; skip(entry))
    if (writes || entry->kind == static_cast<uint32_t>(ReplayAccessKind::kRead)) put_value(entry);
}

}  // namespace

// An access that faulted, or found nothing to do (a mask that selects nothing), is in no log: then
// what comes next is something else. One that faulted half way has done a part; its registers are
// in the stream.
bool replay_access(Thread* thread, const Regs& regs, uint64_t pc, Fault* fault) {
  if (in_child()) return true;
  const ReplayAccess* entry = next();
  const stream::SignalRecord* signal = fault_at(regs, pc, entry);
  finish_if_over(entry ? entry->event : 0);
  const bool is_lost = entry ? !accesses.at && before(entry) : !reader_peek();
  if (is_lost) finish(ReplayEnd::kAccessesGone, outcome().event);
  if (entry && is_instruction(pc, entry) && (!signal || reader_peek()->event == entry->event)) {
    const uint64_t event = entry->event;
    follow_accesses(event, signal);
    thread->event = event;
    store(&thread->process->entry->events, event);
    outcome().event = event;
  }
  if (!signal || !raised_by_memory(fault_of(*signal))) return true;
  *fault = fault_of(*signal);
  memcpy(&thread->regs, signal->regs, sizeof signal->regs);
  return false;
}

// A program may make more mappings than a log has segments: those of one object are one segment, in
// which each byte has its address for a place, so that no two mappings share any.
void map_traced(Thread* thread, uint64_t address, uint64_t bytes, uint32_t protection,
                uint64_t object) {
  if (!patches_vacate(address, address + bytes)) refuse("a patched site cannot be put back");
  const int64_t at = sys(__NR_mmap, address, bytes, protection,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  if (at != static_cast<int64_t>(address))
    diverge("a mapping cannot be made", address, static_cast<uint64_t>(at));
  MapsLock lock;
  maps_forget(thread->process, address, address + bytes);
  maps_settle(thread);
  SegmentIdentity identity = {};
  identity.kind = shmlog::SegmentKind::kAnonymous;
  identity.inode = object;
  identity.generation = 1;
  maps_admit(thread, address, bytes, address, protection, identity, false);
  Region region;
  if (!region_find(address, &region)) refuse("a traced mapping cannot be traced here");
}

}  // namespace shmrec::agent
