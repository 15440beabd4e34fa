#include "agent/signals/jumped_call.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/kernel/bounce.h"
#include "agent/kernel/descriptors.h"
#include "agent/kernel/kernel_access.h"
#include "agent/kernel/names.h"
#include "agent/log/records.h"
#include "agent/memory/brake.h"
#include "agent/memory/native.h"
#include "agent/memory/pointers.h"
#include "agent/replay/replay.h"
#include "agent/signals/places.h"
#include "agent/signals/signal_sets.h"
#include "agent/signals/syscall_entry.h"
#include "agent/stream/stream.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using syscalls::FileUse;
using syscalls::Handler;
using syscalls::Knowledge;

namespace {

enum class Way : uint8_t {
  kBySignal,
  kMask,  // ...unless it is about signals only that the agent does not need
  kWhole,
  kFiles,     // made at once if it reaches no segment...
  kPointers,  // ...and no pointer leads to traced memory
  kCommands,  // fcntl: the same; by descriptor -1 libshmrec asks
  kPlain,     // ...always
};

constexpr uint64_t kNumbers = 512;
constexpr uint64_t kLookEvery = 16;  // calls: a look at the clock takes as long as half of the rest
Way ways[kNumbers];
uint32_t ways_known = 0;

// Of those that are answered by a function of their own. What is not here needs its signal.
struct HandlerWay {
  Handler handler;
  Way way;
};
constexpr HandlerWay kHandlerWays[] = {
    {Handler::kFutex, Way::kPointers},   {Handler::kOpen, Way::kWhole},
    {Handler::kFcntl, Way::kCommands},   {Handler::kWait4, Way::kWhole},
    {Handler::kWaitid, Way::kWhole},     {Handler::kGetppid, Way::kWhole},
    {Handler::kMmap, Way::kWhole},       {Handler::kMunmap, Way::kWhole},
    {Handler::kMremap, Way::kWhole},     {Handler::kMprotect, Way::kWhole},
    {Handler::kMadvise, Way::kWhole},    {Handler::kBrk, Way::kWhole},
    {Handler::kMaskedWait, Way::kWhole}, {Handler::kSigtimedwait, Way::kWhole},
    {Handler::kIoSubmit, Way::kWhole},   {Handler::kSigprocmask, Way::kMask},
};

// There is more to do for them than their pointers say, or these lead to others.
constexpr uint32_t kFutexWaitv = 449, kFutexRequeue = 456;  // newer than some kernel headers
constexpr uint32_t kMoreThanPointers[] = {__NR_io_getevents, kFutexWaitv, kFutexRequeue};

Way way_by_memory(const syscalls::SyscallRule& rule) {
  const syscalls::FileRule* file = syscalls::file_rule(rule.number);
  if (file && file->use >= FileUse::kRemoteRead) return Way::kWhole;
  if (file || syscalls::name_rule(rule.number)) return Way::kFiles;
  return rule.knowledge == Knowledge::kNoPointers ? Way::kPlain : Way::kPointers;
}

Way find_way(uint32_t number) {
  const syscalls::SyscallRule* rule = syscalls::syscall_rule(number);
  if (!rule) return Way::kBySignal;
  for (uint32_t each : kMoreThanPointers)
    if (each == number) return Way::kWhole;
  if (rule->handler == Handler::kMemory) return way_by_memory(*rule);
  for (const HandlerWay& row : kHandlerWays)
    if (row.handler == rule->handler) return row.way;
  return Way::kBySignal;
}

Way way_of(uint64_t number) { return number < kNumbers ? ways[number] : Way::kBySignal; }

// rt_sigprocmask: is the kernel's mask the program's, and will it be?
bool mask_is_plain(const Thread* thread) {
  const Regs& regs = thread->regs;
  const uint64_t set_at = regs.rsi, old_at = regs.rdx;
  uint64_t set = 0;
  if (thread->virtual_mask || filtered || regs.r10 != kSetBytes) return false;
  if (set_at && peek(&set, set_at, sizeof set) != sizeof set) return false;
  return !(set & kNeeded) && !region_overlaps(set_at, kSetBytes) &&
         !region_overlaps(old_at, kSetBytes);
}

bool goes_by_signal(const Thread* thread, Way way) {
  const bool own_flags = thread->regs.eflags & (kHeldFlags | kDirectionFlag);
  if (way == Way::kBySignal || own_flags || thread->undispatched || thread->holds_signal)
    return true;
  return way == Way::kMask && (streaming() || !mask_is_plain(thread));
}

// A call that the program left by longjmp has left something.
bool left_over(const PendingSyscall& call) {
  return call.bounce || call.transfer || call.names || call.uses_native;
}

// Is there nothing to do but to make it?
bool is_plain(Thread* thread, Way way) {
  if (way == Way::kWhole || filtered || streaming() || left_over(thread->call) || !native_empty() ||
      brake_waits())
    return false;
  if (way == Way::kFiles && (descriptors_concerned(thread) || names_concerned(thread)))
    return false;
  if (way == Way::kCommands && static_cast<int32_t>(arg(thread, 0)) == -1) return false;
  return way == Way::kPlain || regions_empty() || !kernel_access_concerned(thread);
}

// The gs base is as the program is to have it, mostly.
void set_exit(Thread* thread) {
  gs_choose(thread);
  const bool stays = thread->register_gs == reinterpret_cast<uint64_t>(thread);
  thread->call_exit = stays ? thread->exit_ip : thread->exit_page;
}

}  // namespace

bool call_needs_signal(uint64_t number) {
  if (!load(&ways_known)) {
    for (uint32_t i = 0; i < kNumbers; ++i) ways[i] = find_way(i);
    store(&ways_known, 1u);
  }
  return way_of(number) == Way::kBySignal;
}

extern "C" uint64_t call_jumped(Thread* thread) {
  Regs& regs = thread->regs;
  regs.rip = regs.rcx - kSyscallBytes;
  const Way way = way_of(regs.rax);
  if (goes_by_signal(thread, way)) {
    thread->call_made = regs.r11 - kSyscallBytes;
    return 0;
  }
  record_rest(thread);
  thread->exit_ip = regs.r11;
  thread->call_behind = regs.rip = regs.rcx;
  thread->call_made = reinterpret_cast<uint64_t>(shmrec_syscall_plain);
  set_exit(thread);
  take_call(thread, regs.rax);
  regs.rip = thread->call.pc;  // so far it is not made
  if (thread->call.event % kLookEvery == 0) pointers_if_due(thread);
  return way == Way::kMask || is_plain(thread, way) ? 0 : 1;
}

extern "C" uint64_t call_begin(Thread* thread) {
  kernel_access_cancel(thread);
  thread->regs.r11 = thread->regs.eflags;
  const Answer answer = dispatch_syscall(thread, nullptr);
  set_exit(thread);
  if (answer == Answer::kPost) thread->call_made = reinterpret_cast<uint64_t>(shmrec_syscall_post);
  return answer == Answer::kDone ? 0 : 1;
}

// What happens behind the call that is not its result needs a handler, and so do calls of which
// more follows than what is in their record.
extern "C" uint64_t call_replayed(Thread* thread) {
  Regs& regs = thread->regs;
  regs.rip = regs.rcx - kSyscallBytes;
  if (goes_by_signal(thread, way_of(regs.rax)) || !replay_is_plain(regs.rax)) {
    thread->call_made = regs.r11 - kSyscallBytes;
    return 0;
  }
  record_rest(thread);
  thread->exit_ip = regs.r11;
  thread->call_behind = regs.rip = regs.rcx;
  take_call(thread, regs.rax);
  regs.r11 = regs.eflags;
  replay_call(thread, nullptr);
  set_exit(thread);
  return 1;
}

extern "C" void call_not_begun(Thread* thread) {
  Regs& regs = thread->regs;
  regs.r11 = regs.eflags;
  thread->exit_ip = regs.rcx - kSyscallBytes;
}

extern "C" void call_not_made(Thread* thread) {
  Regs& regs = thread->regs;
  kernel_access_cancel(thread);
  thread->call.post = nullptr;
  thread->call.waits_for = 0;
  restore_arguments(thread, regs);
  regs.rax = thread->call.number;
  regs.rcx = thread->call_behind;
  regs.r11 = regs.eflags;
  regs.rip = thread->exit_ip = thread->call.pc;
}

}  // namespace shmrec::agent
