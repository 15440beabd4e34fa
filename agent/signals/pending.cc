#include "agent/signals/pending.h"

#include "agent/signals/signal_sets.h"

namespace shmrec::agent {
namespace {

enum State : uint32_t { kEmpty, kFilling, kFull, kEmptying };

constexpr int kSlots[] = {kSigill, kSigtrap, kSigbus, kSigfpe, kSigsegv, kSigsys};
static_assert(sizeof kSlots / sizeof kSlots[0] == kNeededSignals);

int slot_of(int signal) {
  int slot = 0;
  while (kSlots[slot] != signal) ++slot;
  return slot;
}

// One that waits already is not stored twice: these signals do not queue.
void put_in(PendingSignals& pending, const Siginfo& info) {
  auto& slot = pending.slots[slot_of(info.signo)];
  if (!compare_exchange<uint32_t>(&slot.state, kEmpty, kFilling)) return;
  __atomic_fetch_or(&pending.set, bit(info.signo), __ATOMIC_SEQ_CST);
  slot.info = info;
  __atomic_store_n(&slot.state, kFull, __ATOMIC_SEQ_CST);
}

bool take_out(PendingSignals& pending, uint64_t set, Siginfo* info) {
  for (int i = 0; i < kNeededSignals; ++i) {
    auto& slot = pending.slots[i];
    if (!(set & bit(kSlots[i])) || !compare_exchange<uint32_t>(&slot.state, kFull, kEmptying))
      continue;
    *info = slot.info;
    __atomic_fetch_and(&pending.set, ~bit(kSlots[i]), __ATOMIC_SEQ_CST);
    store<uint32_t>(&slot.state, kEmpty);
    return true;
  }
  return false;
}

// The kernel lets a thread send a siginfo of kill or tgkill to nobody but itself, so the signal is
// put there and the thread called to look.
bool hand_over(Thread* to, const Siginfo& info) {
  put_in(to->pending, info);
  return call_to_look(to->process, to->tid);
}

struct Search {
  uint64_t signal;
  Thread* found;
};

void note_taker(Thread* thread, void* raw) {
  Search& search = *static_cast<Search*>(raw);
  if ((search.signal & ~load(&thread->virtual_mask)) ||
      (search.signal & load(&thread->call.waits_for)))
    search.found = thread;
}

// The signal was sent to the process: another thread may take it.
bool pass_on(const Thread* thread, const Siginfo& info) {
  Search search = {bit(info.signo), nullptr};
  for_each_thread(thread->process, note_taker, &search);
  return search.found && search.found != thread && hand_over(search.found, info);
}

}  // namespace

bool call_to_look(const Process* process, int32_t tid) {
  Siginfo call = {};
  call.signo = kSigsys;
  call.code = kSiQueue;
  call.words[0] = static_cast<uint64_t>(process->pid);
  call.words[1] = kLookValue;
  return !failed(sys(__NR_rt_tgsigqueueinfo, process->pid, tid, kSigsys, &call));
}

void pending_note(Thread* thread, const Siginfo& info, uint64_t blocked) {
  const uint64_t signal = bit(info.signo);
  const bool waited_for = thread->call.waits_for & signal,
             waits = (blocked & signal) && !waited_for;
  if (!waits && !waited_for && thread->process->actions[info.signo].handler == kIgnore) return;
  if (!waits || info.code == kSiTkill) return put_in(thread->pending, info);
  if (pass_on(thread, info)) return;
  put_in(thread->process->pending, info);
  Siginfo back;
  Search search = {signal, nullptr};
  for_each_thread(thread->process, note_taker, &search);
  if (search.found && take_out(thread->process->pending, signal, &back))
    hand_over(search.found, back);
}

uint64_t pending_set(const Thread* thread) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // after the change of virtual_mask or waits_for
  return load(&thread->pending.set) | load(&thread->process->pending.set);
}

bool pending_take(Thread* thread, uint64_t set, Siginfo* info) {
  return take_out(thread->pending, set, info) || take_out(thread->process->pending, set, info);
}

void pending_forget(Process* process, int signal) {
  uint64_t forgotten = bit(signal);
  Siginfo info;
  take_out(process->pending, forgotten, &info);
  for_each_thread(
      process,
      [](Thread* thread, void* raw) {
        Siginfo unused;
        take_out(thread->pending, *static_cast<uint64_t*>(raw), &unused);
      },
      &forgotten);
}

void pending_after_fork(Thread* thread) {
  memset(&thread->pending, 0, sizeof thread->pending);
  memset(&thread->process->pending, 0, sizeof thread->process->pending);
}

void pending_to_kernel(Thread* thread) {
  Siginfo info;
  while (pending_take(thread, kNeeded, &info))
    sys(__NR_rt_tgsigqueueinfo, thread->process->pid, thread->tid, info.signo, &info);
}

}  // namespace shmrec::agent
