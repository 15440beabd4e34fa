#include "agent/replay/stops.h"

#include "agent/arch/x86_64/vector_state.h"
#include "agent/kernel/bounce.h"
#include "agent/patches/patch.h"
#include "agent/patches/stop_stub.h"
#include "agent/replay/accesses.h"
#include "agent/replay/child.h"
#include "agent/replay/code_guard.h"
#include "agent/replay/outcome.h"
#include "agent/replay/reader.h"
#include "agent/signals/signal_numbers.h"
#include "agent/stream/sketch.h"
#include "agent/stream/stops.h"

namespace shmrec::agent {

using namespace stream;

namespace {

struct Awaited {
  const StopRecord* record;  // null: none
  bool repeats;
};
Awaited awaited = {};

const StopWord* words_of(const StopRecord& stop) {
  return reinterpret_cast<const StopWord*>(&stop + 1);
}
const Range* ranges_of(const StopRecord& stop) {
  return reinterpret_cast<const Range*>(words_of(stop) + stop.words);
}

const StopRecord& checked(const RecordHeader* record) {
  const StopRecord* stop = payload<StopRecord>(record);
  const uint64_t room = stop ? record->bytes - sizeof *record - sizeof *stop : 0;
  if (!stop || stop->words > kMaxStopWords || stop->ranges > kMaxRanges ||
      stop->words * sizeof(StopWord) + stop->ranges * sizeof(Range) > room)
    refuse("the recording is damaged: a stop");
  return *stop;
}

// ---- Is this visit the one? ---------------------------------------------------------------------

// Of an instruction that repeats itself the registers that count are another matter.
bool registers_equal(const Regs& regs, const StopRecord& stop) {
  Regs found = regs;
  found.eflags = stop_flags(found.eflags);
  if (awaited.repeats) {
    const Regs* then = reinterpret_cast<const Regs*>(stop.regs);
    found.rcx = then->rcx, found.rsi = then->rsi, found.rdi = then->rdi;
  }
  return memcmp(&found, stop.regs, sizeof stop.regs) == 0;
}

bool differs(uint64_t address) {
  outcome().search.differs = address;
  return false;
}

bool memory_equal(const StopRecord& stop) {
  for (uint32_t i = 0; i < stop.words; ++i) {
    uint64_t value = 0;
    const StopWord& word = words_of(stop)[i];
    if (peek(&value, word.address, sizeof value) != sizeof value || value != word.value)
      return differs(word.address);
  }
  return true;
}

bool reach_equal(const Regs& regs, const StopRecord& stop) {
  if (!stop.memory) return true;
  sketch_draw(regs, {regs.rip, regs.rsp, ranges_of(stop), stop.ranges});
  return sketch_hash() == stop.memory || differs(kReachDiffers);
}

bool counters_equal(const Regs& regs, const StopRecord& stop) {
  const Regs* then = reinterpret_cast<const Regs*>(stop.regs);
  return regs.rcx == then->rcx && regs.rsi == then->rsi && regs.rdi == then->rdi;
}

StopVisit miss(Context* context) {
  context->regs.rip = patch_stop_missed();
  return StopVisit::kMissed;
}

// The instruction is executed as often as it was up to the stop.
StopVisit repeat(Context* context, const StopRecord& stop) {
  const uint64_t left = reinterpret_cast<const Regs*>(stop.regs)->rcx;
  if (context->regs.rcx <= left) return miss(context);
  context->regs.rcx -= left;
  context->regs.rip = patch_stop_repeat();
  return StopVisit::kMissed;
}

// ---- Looking for it -----------------------------------------------------------------------------

// The next record, if it is a stop that is not looked for yet.
const RecordHeader* next_stop() {
  const RecordHeader* record = reader_peek();
  const bool stops = record && record->type == static_cast<uint16_t>(Type::kStop);
  return stops && !awaited.record ? record : nullptr;
}

// What is not there yet may be nothing that a jump can replace. Where an instruction that repeats
// itself begins, it has not written what it had written at the stop.
void put_jump(Thread* thread) {
  constexpr uint32_t kInline = 12;
  const StopRecord& stop = *awaited.record;
  const uint32_t words = awaited.repeats ? 0 : min<uint32_t>(stop.words, kInline);
  const StopTest test = {stop.regs[kInstructionPointer],
                         stop.regs,
                         stop.changing,
                         awaited.repeats,
                         words_of(stop),
                         words};
  if (!patch_stop(thread, test) && !code_guarded()) refuse("there is no room to look for a stop");
}

void look(Thread* thread, const RecordHeader* record) {
  const StopRecord& stop = checked(record);
  awaited = {&stop, record->detail == static_cast<uint16_t>(StopKind::kRepeating)};
  outcome().search = {stop.regs[kInstructionPointer], 0, 0, 0};
  code_guard(stop.regs[kInstructionPointer]);
  put_jump(thread);
}

}  // namespace

void stops_look(Thread* thread, Context* context) {
  const RecordHeader* record = next_stop();
  if (!record || (!in_child() && access_before(record->event))) return;
  // All stubs but that of the stop go.
  if (context) patch_leave_stub(thread, &context->regs);
  look(thread, record);
}

bool stop_is_behind_access() {
  const RecordHeader* record = next_stop();
  return record && !in_child() && access_is_last_before(record->event);
}

bool stops_look_at_access(Thread* thread, Context* context) {
  if (!stop_is_behind_access()) return false;
  if (!patch_leave_stub(thread, &context->regs)) {
    look(thread, next_stop());
    return false;
  }
  if (!patches_vacate(0, ~0ull)) refuse("a patched site cannot be put back");
  return true;
}

bool stop_is_awaited() { return awaited.record; }

bool stop_code_changes(Thread* thread, const Siginfo& info, Context* context) {
  if (code_meets_guard(info, *context)) {
    patch_leave_stub(thread, &context->regs);
    patch_stop_end();
    code_let_write(context);
    return true;
  }
  const CodeWrite write = code_written(info, context);
  if (write == CodeWrite::kWritten) put_jump(thread);
  return write != CodeWrite::kNone;
}

StopVisit stop_visit(const Siginfo& info, Context* context) {
  if (!awaited.record || info.signo != kSigtrap) return StopVisit::kNone;
  const StopRecord& stop = *awaited.record;
  const StopTrap trap = patch_stop_trap(&context->regs);
  if (trap == StopTrap::kNone) return StopVisit::kNone;
  ++outcome().visits;
  ++outcome().search.visits;
  if (trap == StopTrap::kRepeated)
    context->regs.rcx += reinterpret_cast<const Regs*>(stop.regs)->rcx;
  if (!registers_equal(context->regs, stop)) return miss(context);
  if (!counters_equal(context->regs, stop))
    return trap == StopTrap::kMet ? repeat(context, stop) : miss(context);
  ++outcome().search.near;
  const bool equal = memory_equal(stop) &&
                     (fp_hash(context->fpstate) == stop.vectors || differs(kVectorsDiffer)) &&
                     reach_equal(context->regs, stop);
  if (!equal) return miss(context);
  outcome().search = {};
  patch_stop_end();
  code_unguard();
  awaited.record = nullptr;
  ++outcome().stops;
  reader_advance();
  return StopVisit::kReached;
}

}  // namespace shmrec::agent
