#include "agent/replay/threads.h"

#include <linux/mman.h>

#include "agent/replay/kept.h"
#include "agent/replay/outcome.h"

namespace shmrec::agent {

using stream::TurnKind;

namespace {

constexpr int32_t kNoAltStack = 2;  // SS_DISABLE
constexpr uint64_t kPlaceBytes = 32 * 1024;
static_assert(sizeof(KeptThread) <= kPlaceBytes);
static_assert(kReplayThreadsOffset + kMaxThreads * kPlaceBytes <= kThreadOffset);

uint64_t places = 0;  // that are mapped
int32_t now = 0;      // which thread is followed
uint32_t others = 0;
KeptThread* newborn = nullptr;  // its number is not known yet

KeptThread* place(uint64_t number) {
  return reinterpret_cast<KeptThread*>(agent_base() + kReplayThreadsOffset + number * kPlaceBytes);
}

KeptThread* find(int32_t tid) {
  for (uint64_t i = 0; i < places; ++i)
    if (place(i)->tid == tid) return place(i);
  return nullptr;
}

KeptThread* free_place() {
  if (KeptThread* unused = find(0)) return unused;
  if (places == kMaxThreads) refuse("it has more threads than there can be");
  const int64_t at = sys(__NR_mmap, place(places), kPlaceBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (failed(at)) refuse("there is no memory for its threads");
  return place(places++);
}

}  // namespace

void threads_start(int32_t tid) {
  for (uint64_t i = 0; i < places; ++i) place(i)->tid = 0;
  now = tid;
  others = 0;
  newborn = nullptr;
}

bool others_there() { return others; }

void thread_begins(const Thread* thread, const Context& context,
                   const stream::ChildRecord& record) {
  newborn = free_place();
  keep_thread(thread, context, newborn);
  memcpy(&newborn->context, record.regs, sizeof record.regs);
  newborn->regs = newborn->context;
  newborn->fs_base = record.fs_base;
  newborn->in_call = false;
  newborn->left_swapped = 0;
  newborn->altstack = {0, kNoAltStack, 0, 0};
  newborn->robust_head = newborn->clear_tid = 0;
}

void thread_made(int64_t result) {
  if (!newborn) return;
  if (!failed(result)) newborn->tid = static_cast<int32_t>(result), ++others;
  newborn = nullptr;
}

bool threads_turn(Thread* thread, Context* context, int32_t tid, TurnKind kind) {
  KeptThread* next = find(tid);
  if (!tid || !next) refuse("the recording is damaged: a thread goes on that is not there");
  if (kind == TurnKind::kAtEnd) {
    --others;
  } else {
    KeptThread* kept = free_place();
    keep_thread(thread, *context, kept);
    kept->tid = now;
    kept->in_call = kind == TurnKind::kInCall;
  }
  become_thread(thread, context, *next);
  next->tid = 0;
  now = tid;
  return next->in_call;
}

}  // namespace shmrec::agent
