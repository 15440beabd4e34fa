#include "agent/stream/stops.h"

#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/vector_state.h"
#include "agent/kernel/bounce.h"
#include "agent/patches/stop_stub.h"
#include "agent/sites/table.h"
#include "agent/stream/outputs.h"
#include "agent/stream/sketch.h"
#include "agent/stream/turns.h"
#include "agent/stream/writer.h"

namespace shmrec::agent {

using namespace stream;

namespace {

constexpr uint64_t kWord = sizeof(uint64_t);

// ---- What the code near by uses -----------------------------------------------------------------

constexpr uint32_t kLookAhead = 32;  // instructions
constexpr uint32_t kMostNearby = 24;

struct Nearby {
  uint32_t changing;  // registers that it writes, as StopRecord
  const SketchLimits* limits;
  uint32_t count;    // of words
  uint32_t written;  // so many of them, the first ones, are written
  StopWord words[kMaxStopWords];
};

bool has_word(const Nearby& nearby, uint64_t address) {
  for (uint32_t i = 0; i < nearby.count; ++i)
    if (nearby.words[i].address == address) return true;
  return false;
}

// What cannot be read is traced, or not there.
void add_word(Nearby* nearby, uint64_t address, bool written) {
  StopWord word = {address & ~(kWord - 1), 0};
  if (nearby->count == kMostNearby || has_word(*nearby, word.address) ||
      !sketch_compares(word.address, *nearby->limits) ||
      peek(&word.value, word.address, kWord) != kWord)
    return;
  nearby->words[nearby->count++] = word;
  if (!written) return;
  const StopWord read = nearby->words[nearby->written];
  nearby->words[nearby->written++] = word;
  nearby->words[nearby->count - 1] = read;
}

// As far as the registers say it now: what changes them in between makes it another word.
uint64_t address_of(const ZydisDecodedOperand& operand, const Regs& regs, uint64_t behind) {
  const uint64_t* values = reinterpret_cast<const uint64_t*>(&regs);
  const int8_t base = register_index(operand.mem.base), index = register_index(operand.mem.index);
  uint64_t address = static_cast<uint64_t>(operand.mem.disp.value);
  if (operand.mem.base == ZYDIS_REGISTER_RIP) address += behind;
  if (base != kNoRegister) address += values[base];
  if (index != kNoRegister) address += values[index] * operand.mem.scale;
  return address;
}

bool has_base(const ZydisDecodedOperand& operand) {
  return operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS;
}

void look_at(Nearby* nearby, const Decoded& decoded, const Regs& regs, uint64_t behind) {
  for (int i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    const bool written = operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    const int8_t which = operand.type == ZYDIS_OPERAND_TYPE_REGISTER
                             ? register_index(operand.reg.value)
                             : kNoRegister;
    if (written && which != kNoRegister) nearby->changing |= 1u << which;
    if (is_memory(operand) && !has_base(operand))
      add_word(nearby, address_of(operand, regs, behind), written);
  }
}

// The instructions behind `regs`, along jumps that are always taken or lead back to before them, up
// to where that is not known any more or the loop comes round.
void look_ahead(Thread* thread, const Regs& regs, Nearby* nearby) {
  uint64_t ip = regs.rip;
  for (uint32_t i = 0; i < kLookAhead; ++i) {
    Decoded decoded;
    uint8_t code[kMaxInstruction] = {};
    if (!code_copy(ip, code) || !decode_plain(thread, code, &decoded)) return;
    const ZydisDecodedInstruction& instruction = decoded.instruction;
    const uint64_t behind = ip + instruction.length;
    look_at(nearby, decoded, regs, behind);
    const bool known = decoded.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    const uint64_t target = behind + (known ? decoded.operands[0].imm.value.u : 0);
    const bool jumps = instruction.meta.category == ZYDIS_CATEGORY_UNCOND_BR;
    if ((jumps && !known) || instruction.meta.category == ZYDIS_CATEGORY_RET) return;
    const bool closes =
        instruction.meta.category == ZYDIS_CATEGORY_COND_BR && target <= regs.rip && regs.rip <= ip;
    ip = jumps || closes ? target : behind;
    if (ip == regs.rip) return;
  }
}

// ---- The record ---------------------------------------------------------------------------------

// Whose sketch was drawn, and behind which event.
const Thread* drawn_of = nullptr;
uint64_t drawn_behind = 0;

uint64_t last_event(const Thread* thread) { return load(&thread->process->entry->events); }

struct Found {
  Range ranges[kMaxRanges];
  StopWord words[kMaxStopWords];
  uint32_t range_count, word_count;
};

void add_words(Found* found, const StopWord* words, uint32_t count) {
  for (uint32_t i = 0; i < count && found->word_count < kMaxStopWords; ++i)
    found->words[found->word_count++] = words[i];
}

// What the code writes itself, what has changed lately, what the code reads: in this order they
// tell visits apart.
void find_words(const Thread* thread, const Nearby& nearby, Found* found) {
  constexpr uint32_t kMostChanges = 24;
  StopWord changes[kMostChanges];
  add_words(found, nearby.words, nearby.written);
  if (drawn_of == thread) {
    const uint32_t count = sketch_changes(changes, kMostChanges);
    for (uint32_t i = 0; i < count; ++i)
      if (sketch_compares(changes[i].address, *nearby.limits)) add_words(found, &changes[i], 1);
  }
  add_words(found, nearby.words + nearby.written, nearby.count - nearby.written);
}

}  // namespace

uint64_t stop_flags(uint64_t eflags) {
  constexpr uint64_t kResume = 1 << 16;
  return eflags & ~(kResume | kTrapFlag);
}

bool stop_is_possible(Thread* thread, const Context& context) {
  bool repeats;
  return context.cs == kCode64 && !(context.regs.eflags & kTrapFlag) &&
         stop_possible(thread, context.regs.rip, &repeats);
}

bool stop_is_prepared(const Thread* thread) {
  return drawn_of == thread && drawn_behind == last_event(thread);
}

void stop_prepare(const Thread* thread, const Context& context) {
  sketch_draw(context.regs, {context.regs.rip, context.regs.rsp, nullptr, 0});
  drawn_of = thread;
  drawn_behind = last_event(thread);
}

bool stop_write(Thread* thread, const Context& context) {
  static_assert(sizeof(Found) <= sizeof thread->bounce);
  Found& found = *reinterpret_cast<Found*>(thread->bounce);
  found.word_count = 0;
  const bool known = find_pending_outputs(thread, found.ranges, &found.range_count);
  const SketchLimits limits = {context.regs.rip, context.regs.rsp, found.ranges, found.range_count};
  Nearby nearby = {};
  nearby.limits = &limits;
  bool repeats = false;
  stop_possible(thread, context.regs.rip, &repeats);
  look_ahead(thread, context.regs, &nearby);
  find_words(thread, nearby, &found);
  drawn_of = nullptr;
  if (known) sketch_draw(context.regs, limits);
  const uint64_t word_bytes = found.word_count * sizeof(StopWord),
                 range_bytes = found.range_count * sizeof(Range);
  const StopKind kind = repeats ? StopKind::kRepeating : StopKind::kPlain;
  StopRecord* record = static_cast<StopRecord*>(
      writer_begin(Type::kStop, static_cast<uint16_t>(kind), last_event(thread),
                   sizeof(StopRecord) + word_bytes + range_bytes));
  if (!record) return false;
  memcpy(record->regs, &context.regs, sizeof record->regs);
  record->regs[kFlags] = stop_flags(context.regs.eflags);
  record->vectors = fp_hash(context.fpstate);
  record->memory = known ? sketch_hash() : 0;
  record->changing = nearby.changing;
  record->words = static_cast<uint16_t>(found.word_count);
  record->ranges = static_cast<uint16_t>(found.range_count);
  uint8_t* const behind = reinterpret_cast<uint8_t*>(record + 1);
  memcpy(behind, found.words, word_bytes);
  memcpy(behind + word_bytes, found.ranges, range_bytes);
  writer_commit();
  return true;
}

}  // namespace shmrec::agent
