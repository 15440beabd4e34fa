// See futex.h. The one difficulty is the death of a robust mutex's owner while others wait:
// natively the kernel wakes one of them. Here nobody would, so a wait for such a mutex is cut into
// slices of 50 ms: the kernel is given our own deadline if the program's is later. When it passes,
// the syscall is made again from its instruction; the agent then looks whether the owner still
// lives, and if it does the wait goes on. The program sees one wait.
#include "agent/kernel/futex.h"

#include <linux/futex.h>
#include <linux/time.h>

#include "agent/kernel/bounce.h"
#include "agent/kernel/kernel_access.h"
#include "agent/kernel/robust.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kSliceNs = 50'000'000;
constexpr uint64_t kNever = ~0ull;
constexpr uint64_t kSecondNs = 1'000'000'000;

enum class Effect : uint8_t {
  kNone,
  kCompare,       // reads the first word
  kAtomicFirst,   // changes the first word, without waiting
  kAtomicSecond,  // changes the second word, without waiting
  kLock,          // changes the first word, perhaps after waiting
};

struct Operation {
  Effect effect;
  bool second;   // the fifth argument is a futex too
  bool timeout;  // the fourth argument is a struct timespec
  bool sliceable;
};
// By operation number.
constexpr Operation kOperations[] = {
    {Effect::kCompare, false, true, true},        // FUTEX_WAIT
    {Effect::kNone, false, false, false},         // FUTEX_WAKE
    {Effect::kNone, false, false, false},         // FUTEX_FD
    {Effect::kNone, true, false, false},          // FUTEX_REQUEUE
    {Effect::kCompare, true, false, false},       // FUTEX_CMP_REQUEUE
    {Effect::kAtomicSecond, true, false, false},  // FUTEX_WAKE_OP
    {Effect::kLock, false, true, false},          // FUTEX_LOCK_PI
    {Effect::kAtomicFirst, false, false, false},  // FUTEX_UNLOCK_PI
    {Effect::kAtomicFirst, false, false, false},  // FUTEX_TRYLOCK_PI
    {Effect::kCompare, false, true, true},        // FUTEX_WAIT_BITSET
    {Effect::kNone, false, false, false},         // FUTEX_WAKE_BITSET
    {Effect::kCompare, true, true, false},        // FUTEX_WAIT_REQUEUE_PI
    {Effect::kCompare, true, false, false},       // FUTEX_CMP_REQUEUE_PI
    {Effect::kLock, false, true, false},          // FUTEX_LOCK_PI2
};
constexpr Operation kNoOperation = {Effect::kNone, false, false, false};

// What a wait keeps in call.scratch, also over the repetitions of its syscall.
struct Wait {
  uint64_t repeating;  // the word, while the syscall is on its way to be made again; else 0
  uint64_t pc;
  uint64_t deadline;    // on the wait's clock, kNever if the program gave none
  uint32_t value;       // of the word before the wait
  uint32_t sliced : 1;  // the kernel was given our deadline
  uint32_t repeated : 1;
  uint64_t seconds, nanoseconds;
};
static_assert(sizeof(Wait) <= sizeof(PendingSyscall::scratch));

Wait& wait_of(Thread* thread) { return *reinterpret_cast<Wait*>(thread->call.scratch); }

uint32_t operation_of(const Thread* thread) { return static_cast<uint32_t>(arg(thread, 1)); }

const Operation& description(uint32_t operation) {
  const uint32_t index = operation & FUTEX_CMD_MASK;
  return index < sizeof kOperations / sizeof kOperations[0] ? kOperations[index] : kNoOperation;
}

// The address for the kernel. What the program may not read, or is misaligned, the kernel refuses.
uint64_t word_for_kernel(uint64_t address) {
  Region region;
  if (address % 4 || !region_find(address, &region) || region.protection == 0) return address;
  return region.alias + (address - region.begin);
}

bool replace(Thread* thread, int position, uint64_t value) {
  if (value == arg(thread, position)) return false;
  set_arg(thread, position, value);
  return true;
}

bool replace_timeout(Thread* thread, int position) {
  const uint64_t address = arg(thread, position);
  return address && replace(thread, position, stand_in(thread, Direction::kIn, address, 16, {}));
}

// Logs the kernel's look at a word.
uint32_t log_comparison(Thread* thread, uint64_t address) {
  uint32_t value = 0;
  Fault fault;
  traced_read(thread, call_origin(thread), &value, address, sizeof value, &fault);
  return value;
}

// The call was made here: what was prepared for the kernel goes.
Answer answered(Thread* thread, int64_t result) {
  bounce_free(thread);
  restore_arguments(thread);
  return done(thread, result);
}

Answer post(Thread* thread, void (*step)(Thread*) = kernel_access_post) {
  thread->call.post = step;
  return Answer::kPost;
}

// ---- Atomic operations --------------------------------------------------------------------------

struct Atomic {
  uint64_t args[6];  // as the kernel gets them
  uint32_t before, after;
};

int64_t perform(uint32_t* word, void* context) {
  Atomic* atomic = static_cast<Atomic*>(context);
  const uint64_t* a = atomic->args;
  atomic->before = load(word);
  const int64_t result = syscall6(__NR_futex, a[0], a[1], a[2], a[3], a[4], a[5]);
  atomic->after = load(word);
  return result;
}

// Runs an operation that does not wait, on the word at `address`, and logs it as an atomic access.
int64_t perform_logged(Thread* thread, uint64_t address, uint32_t operation) {
  const Regs& regs = thread->regs;
  Atomic atomic = {{regs.rdi, operation, regs.rdx, regs.r10, regs.r8, regs.r9}, 0, 0};
  Fault fault;
  Region region;
  const bool known = region_find(address, &region);
  if (known) robust_note_ahead(thread, region, address);
  const int64_t result =
      traced_atomic(thread, call_origin(thread), address, perform, &atomic, &fault);
  if (known) robust_note_atomic(thread, region, address, atomic.before, atomic.after);
  return result;
}

int64_t look(uint32_t* word, void* context) {
  *static_cast<uint32_t*>(context) = load(word);
  return 0;
}

// The kernel gave us the lock some time ago: the log shows the word as it is now.
void post_lock(Thread* thread) {
  const uint64_t address = arg(thread, 0);
  Region region;
  if (thread->regs.rax == 0 && region_find(address, &region)) {
    uint32_t value = 0;
    Fault fault;
    traced_atomic(thread, call_origin(thread), address, look, &value, &fault);
    robust_note_atomic(thread, region, address, 0, value);
  }
  kernel_access_post(thread);
}

Answer lock(Thread* thread, uint64_t address) {
  const uint32_t attempt = FUTEX_TRYLOCK_PI | (operation_of(thread) & FUTEX_PRIVATE_FLAG);
  const int64_t result = perform_logged(thread, address, attempt);
  return result == 0 ? answered(thread, 0) : post(thread, post_lock);
}

// ---- Waits --------------------------------------------------------------------------------------

int clock_of(uint32_t operation) {
  return operation & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
}

uint64_t now_ns(int clock) {
  uint64_t time[2] = {};
  sys(__NR_clock_gettime, clock, time);
  return time[0] * kSecondNs + time[1];
}

// When the program's wait ends. False: it gave a time that the kernel will refuse.
bool program_deadline(const Thread* thread, uint32_t operation, uint64_t* deadline) {
  *deadline = kNever;
  if (!arg(thread, 3)) return true;
  int64_t time[2];
  if (peek(time, arg(thread, 3), sizeof time) < sizeof time) return false;
  if (time[0] < 0 || time[1] < 0 || time[1] >= static_cast<int64_t>(kSecondNs)) return false;
  if (time[0] > 1'000'000'000'000'000) return true;  // longer than the kernel counts
  const bool relative = (operation & FUTEX_CMD_MASK) == FUTEX_WAIT;
  const uint64_t ns =
      min<uint64_t>(static_cast<uint64_t>(time[0]), kNever / 2 / kSecondNs) * kSecondNs +
      static_cast<uint64_t>(time[1]);
  *deadline = ns + (relative ? now_ns(clock_of(operation)) : 0);
  return true;
}

// Gives the kernel a deadline of our own: an absolute one, which FUTEX_WAIT_BITSET takes.
void slice(Thread* thread, uint32_t operation) {
  Wait& wait = wait_of(thread);
  const uint64_t end = now_ns(clock_of(operation)) + kSliceNs;
  wait.sliced = end < wait.deadline;
  const uint64_t until = min(end, wait.deadline);
  wait.seconds = until / kSecondNs;
  wait.nanoseconds = until % kSecondNs;
  const bool plain = (operation & FUTEX_CMD_MASK) == FUTEX_WAIT;
  set_arg(thread, 1, (operation & ~static_cast<uint32_t>(FUTEX_CMD_MASK)) | FUTEX_WAIT_BITSET);
  set_arg(thread, 3, reinterpret_cast<uint64_t>(&wait.seconds));
  if (plain) set_arg(thread, 5, FUTEX_BITSET_MATCH_ANY);
}

// The syscall is made again from its instruction.
void repeat(Thread* thread) {
  Wait& wait = wait_of(thread);
  wait.repeating = arg(thread, 0);
  wait.repeated = 1;
  thread->call.repeats = 1;
  thread->regs.rax = thread->call.number;
  thread->exit_ip = thread->call.pc;
}

void post_wait(Thread* thread) {
  const Wait& wait = wait_of(thread);
  const int64_t result = static_cast<int64_t>(thread->regs.rax);
  kernel_access_post(thread);
  if (wait.sliced && result == -ETIMEDOUT) return repeat(thread);
  if (result != -EAGAIN) return;
  // While it was not asleep the word was changed: whoever did that would have woken it.
  if (wait.repeated)
    thread->regs.rax = 0;
  else if (wait.value == static_cast<uint32_t>(arg(thread, 2)))
    log_comparison(thread, arg(thread, 0));
}

bool can_slice(Thread* thread, const Operation& what, const Region& region, uint64_t address) {
  const uint32_t operation = operation_of(thread);
  Wait& wait = wait_of(thread);
  const bool refused =
      (operation & FUTEX_CMD_MASK) == FUTEX_WAIT && (operation & FUTEX_CLOCK_REALTIME);
  return what.sliceable && !refused && robust_owner_may_die(thread, region, address, wait.value) &&
         program_deadline(thread, operation, &wait.deadline);
}

Answer compare(Thread* thread, const Operation& what, const Region& region, uint64_t address) {
  Wait& wait = wait_of(thread);
  const bool again = wait.repeating == address && wait.pc == thread->call.pc;
  wait.repeating = 0;
  const bool died = robust_check_dead(thread, region, address);
  if (again && died) return answered(thread, 0);  // what the kernel's wake-up would have given
  if (!again) wait = {0, thread->call.pc, kNever, log_comparison(thread, address), 0, 0, 0, 0};
  if (again || can_slice(thread, what, region, address)) slice(thread, operation_of(thread));
  return post(thread, post_wait);
}

// ---- The old syscall ----------------------------------------------------------------------------

Answer futex_call(Thread* thread) {
  const uint32_t operation = operation_of(thread);
  const Operation& what = description(operation);
  const uint64_t address = arg(thread, 0);
  const bool first = replace(thread, 0, word_for_kernel(address));
  const bool second = what.second && replace(thread, 4, word_for_kernel(arg(thread, 4)));
  const bool timeout = what.timeout && replace_timeout(thread, 3);
  Region region;
  if (first && region_find(address, &region)) {
    if (what.effect == Effect::kCompare) return compare(thread, what, region, address);
    if (what.effect == Effect::kLock || what.effect == Effect::kAtomicFirst)
      robust_check_dead(thread, region, address);
    if (what.effect == Effect::kLock) return lock(thread, address);
    if (what.effect == Effect::kAtomicFirst)
      return answered(thread, perform_logged(thread, address, operation));
  }
  if (second && what.effect == Effect::kAtomicSecond)
    return answered(thread, perform_logged(thread, arg(thread, 4), operation));
  return first || second || timeout ? post(thread) : Answer::kNative;
}

// ---- The newer ones -----------------------------------------------------------------------------

struct WaitEntry {  // struct futex_waitv
  uint64_t value, address;
  uint32_t flags, reserved;
};

bool entries_traced(uint64_t array, uint64_t count) {
  if (region_overlaps(array, count * sizeof(WaitEntry))) return true;
  for (uint64_t i = 0; i < count; ++i) {
    WaitEntry entry;
    if (peek(&entry, array + i * sizeof entry, sizeof entry) < sizeof entry) return false;
    if (region_overlaps(entry.address, 4)) return true;
  }
  return false;
}

// Replaces the words of an array; those that the kernel compares are logged.
bool replace_entries(Thread* thread, uint64_t count, uint64_t compared) {
  const uint64_t array = arg(thread, 0);
  if (!count || count > FUTEX_WAITV_MAX || !entries_traced(array, count)) return false;
  WaitEntry* copy = static_cast<WaitEntry*>(copy_in(thread, array, count * sizeof(WaitEntry)));
  if (!copy) return false;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t alias = word_for_kernel(copy[i].address);
    if (alias != copy[i].address && i < compared) log_comparison(thread, copy[i].address);
    copy[i].address = alias;
  }
  return replace(thread, 0, reinterpret_cast<uint64_t>(copy));
}

Answer futex_waitv(Thread* thread) {
  const uint64_t count = static_cast<uint32_t>(arg(thread, 1));
  const bool words = replace_entries(thread, count, count);
  const bool timeout = replace_timeout(thread, 3);
  return words || timeout ? post(thread) : Answer::kNative;
}

Answer futex_requeue(Thread* thread) {
  return replace_entries(thread, 2, 1) ? post(thread) : Answer::kNative;
}

Answer futex_wake(Thread* thread) {
  return replace(thread, 0, word_for_kernel(arg(thread, 0))) ? post(thread) : Answer::kNative;
}

Answer futex_wait(Thread* thread) {
  const bool word = replace(thread, 0, word_for_kernel(arg(thread, 0)));
  if (word) log_comparison(thread, arg(thread, 0));
  const bool timeout = replace_timeout(thread, 4);
  return word || timeout ? post(thread) : Answer::kNative;
}

}  // namespace

Answer do_futex(Thread* thread, void*) {
  if (regions_empty()) return Answer::kNative;
  constexpr uint64_t kWaitv = 449, kWake = 454, kWait = 455, kRequeue = 456;
  switch (thread->call.number) {
    case kWaitv:
      return futex_waitv(thread);
    case kWake:
      return futex_wake(thread);
    case kWait:
      return futex_wait(thread);
    case kRequeue:
      return futex_requeue(thread);
    default:
      return futex_call(thread);
  }
}

}  // namespace shmrec::agent
