#include "agent/stream/turns.h"

#include "agent/process/event.h"
#include "agent/signals/pending.h"
#include "agent/signals/places.h"
#include "agent/stream/stops.h"
#include "agent/stream/stream.h"
#include "agent/stream/writer.h"

namespace shmrec::agent {

using stream::TurnKind;

namespace {

constexpr uint64_t kSliceNs = 5'000'000, kStopNs = 20'000'000, kPatienceNs = 500'000'000;

// As tickets: whose number is `serving` has the turn.
struct Turns {
  uint32_t begun;    // 1: there are or were several threads
  uint32_t over;     // 1: everybody goes on at once
  uint32_t tickets;  // how many were given out
  uint32_t serving;
  uint32_t wanted;  // 1: somebody has waited for a slice, 2: so long that the holder is to stop
  uint32_t busy;    // 1: the agent is at work for the one who has the turn
  int32_t leaving;  // the thread that ends, until the kernel clears it; 0: none
  int32_t holder;   // who has the turn
  // Written by who has the turn: who had it last, and how it was given away.
  int32_t last;
  TurnKind kind;
  uint64_t event;
  uint64_t event_before_over;
};
Turns turns = {};

uint64_t bit_of(uint32_t ticket) { return 1u << ticket % 32; }

constexpr uint64_t kNsPerSecond = 1'000'000'000;

uint64_t monotonic_ns() {
  uint64_t time[2] = {};
  sys(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, time);
  return time[0] * kNsPerSecond + time[1];
}

void wait_until(uint64_t ns, uint32_t seen, uint32_t ticket) {
  constexpr uint64_t kWaitBitset = 9 | 128;  // FUTEX_WAIT_BITSET, FUTEX_PRIVATE_FLAG; absolute time
  const uint64_t until[2] = {ns / kNsPerSecond, ns % kNsPerSecond};
  sys(__NR_futex, &turns.serving, kWaitBitset, seen, until, 0, bit_of(ticket));
}

// The kernel wakes one that waits for any process.
void wait_for_end(int32_t leaving) {
  const uint64_t slice[2] = {0, kSliceNs};
  sys(__NR_futex, &turns.leaving, 0 /* FUTEX_WAIT */, leaving, slice);
}

void wake(uint64_t bits) {
  constexpr uint64_t kWakeBitset = 10 | 128;
  sys(__NR_futex, &turns.serving, kWakeBitset, INT32_MAX, 0, 0, bits);
}

void serve_next() {
  const uint32_t next = turns.serving + 1;
  store(&turns.wanted, 0u);
  store(&turns.serving, next);
  if (load(&turns.tickets) != next) wake(bit_of(next));
}

// Who only accesses traced memory comes by no call.
void ask_holder(const Thread* thread, bool to_stop) {
  store(&turns.wanted, to_stop ? 2u : 1u);
  call_to_look(thread->process, load(&turns.holder));
}

// Whoever computes for so long without an event cannot be interrupted.
void lose_patience(const Thread* thread) {
  const uint64_t event = load(&thread->process->entry->events);
  if (!compare_exchange(&turns.event_before_over, uint64_t{0}, event)) return;
  store(&turns.over, 1u);
  stream_say_ended(thread->process, event, kOutOfPatience);
  wake(UINT32_MAX);
}

// Returns whether it has the turn.
bool wait_for(const Thread* thread, uint32_t ticket) {
  uint32_t before = load(&turns.serving);
  uint64_t since = monotonic_ns();
  while (true) {
    const uint32_t serving = load(&turns.serving);
    if (load(&turns.over)) return false;
    const int32_t leaving = load(&turns.leaving);
    if (serving == ticket && !leaving) return true;
    const uint64_t now = monotonic_ns();
    if (serving != before || load(&turns.busy)) before = serving, since = now;
    if (now - since >= kSliceNs && serving != ticket) ask_holder(thread, now - since >= kStopNs);
    if (now - since >= kPatienceNs) lose_patience(thread);
    if (serving == ticket)
      wait_for_end(leaving);
    else
      wait_until(now + kSliceNs, serving, ticket);
  }
}

void write_turn(const Thread* thread) {
  using stream::TurnRecord;
  TurnRecord* record = static_cast<TurnRecord*>(writer_begin(
      stream::Type::kTurn, static_cast<uint16_t>(turns.kind), turns.event, sizeof(TurnRecord)));
  if (!record) return stream_end(thread->process, kNoRoom);
  *record = {thread->tid, 0};
  writer_commit();
}

// `event`: its last one.
void give(Thread* thread, TurnKind kind, uint64_t event) {
  turns.last = thread->tid;
  turns.kind = kind;
  turns.event = event;
  thread->turn = kind == TurnKind::kInCall ? Turn::kInCall : Turn::kNone;
  serve_next();
}

}  // namespace

void turns_begin(Thread* thread) {
  if (load(&turns.begun) || !streaming()) return;
  turns.tickets = 1;
  turns.holder = thread->tid;
  thread->turn = Turn::kHas;
  store(&turns.begun, 1u);
}

void turns_after_fork(Thread* thread) {
  turns = {};
  thread->turn = Turn::kNone;
}

bool turns_taken() { return load(&turns.begun) && !load(&turns.over); }
bool turns_are_over() { return load(&turns.over); }
uint64_t turns_last_event() { return turns.event_before_over; }

void turns_end() {
  if (!load(&turns.begun)) return;
  store(&turns.over, 1u);
  wake(UINT32_MAX);
}

bool turn_take(Thread* thread) {
  if (!load(&turns.begun) || thread->turn == Turn::kOfParent) return true;
  if (load(&turns.over)) return thread->turn == Turn::kHas;
  if (thread->turn == Turn::kHas) return true;
  const bool in_call = thread->turn == Turn::kInCall;
  if (!wait_for(thread, fetch_add(&turns.tickets, 1u))) return false;
  thread->turn = Turn::kHas;
  store(&turns.holder, thread->tid);
  if (turns.last == thread->tid) return true;
  write_turn(thread);
  if (in_call) thread->call.event = next_event(thread);  // behind all that others did meanwhile
  return true;
}

void turns_pause(bool busy) { store(&turns.busy, busy ? 1u : 0u); }

void turn_give_in_call(Thread* thread) {
  if (!load(&turns.begun) || thread->turn != Turn::kHas) return;
  give(thread, TurnKind::kInCall, thread->call.event);
}

void turn_offer(Thread* thread, bool yields) {
  if (!load(&turns.begun) || thread->turn != Turn::kHas) return;
  const bool wanted = yields ? load(&turns.tickets) != turns.serving + 1 : load(&turns.wanted);
  if (!wanted) return;
  give(thread, TurnKind::kBehindEvent, thread->call.event);
  turn_take(thread);
}

namespace {

bool computes(const Thread* thread, const Context& context) {
  return !in_agent(&context) && !thread->holds_signal && !thread->deferred;
}

// The thread is interrupted where it computes.
void give_at_stop(Thread* thread, Context* context) {
  Context program = *context;
  if (!leave_agent(thread, &program) || !stop_is_possible(thread, program)) return;
  *context = program;
  if (!stop_is_prepared(thread)) return stop_prepare(thread, program);
  if (!stop_write(thread, program)) return stream_end(thread->process, kNoRoom);
  thread->offers_turn = 0;
  give(thread, TurnKind::kAtStop, load(&thread->process->entry->events));
  turn_take(thread);
}

}  // namespace

void turn_asked(Thread* thread, Context* context) {
  const uint32_t wanted = load(&turns.wanted);
  if (!wanted || thread->turn != Turn::kHas) return;
  thread->offers_turn = 1;
  thread->quick_end = nullptr;  // not by quick.S
  if (wanted > 1 && thread->outer == context && streaming() && turns_taken() &&
      computes(thread, *context))
    give_at_stop(thread, context);
}

void turn_offer_at_access(Thread* thread) {
  thread->offers_turn = 0;
  if (!turns_taken() || !load(&turns.wanted) || thread->turn != Turn::kHas) return;
  give(thread, TurnKind::kAtAccess, load(&thread->process->entry->events));
  turn_take(thread);
}

bool turn_ends_with(Thread* thread) {
  store(&turns.leaving, thread->tid);
  if (!failed(sys(__NR_set_tid_address, &turns.leaving))) return true;
  store(&turns.leaving, 0);
  return false;
}

void turn_leave(Thread* thread) {
  if (load(&turns.begun) && thread->turn == Turn::kHas)
    give(thread, TurnKind::kAtEnd, thread->call.event);
}

}  // namespace shmrec::agent
