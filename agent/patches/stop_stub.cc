#include "agent/patches/stop_stub.h"

#include "agent/patches/arena.h"
#include "agent/patches/moved.h"
#include "agent/sites/table.h"

namespace shmrec::agent {
namespace {

constexpr uint8_t kTrap = 0xCC;
constexpr uint32_t kMostMisses = stream::kRegisters + stream::kMaxStopWords;

struct Comparison {
  StubCode out;
  uint64_t saved;  // where rcx is saved, and rax behind it
  uint8_t* misses[kMostMisses];
  uint32_t count;

  // mov %REGISTER, PLACE(%rip), or the other way
  void move(uint8_t opcode, int hardware) {
    out.bytes(0x48, opcode, hardware << 3 | 5);
    out.distance_to(hardware == kRcx ? saved : saved + sizeof(uint64_t));
  }
  void save(int hardware) { move(0x89, hardware); }
  void load(int hardware) { move(0x8B, hardware); }
  // movabs $VALUE, %REGISTER
  void set(int hardware, uint64_t value) {
    out.bytes(0x48, 0xB8 | (hardware & 7)), out.word(value, 8);
  }
  // lea (%rcx,%REGISTER), %rcx
  void add_to_rcx(int hardware) {
    out.bytes(0x48 | hardware >> 3, 0x8D, 0x4C, 1 << 3 | (hardware & 7), 0x00);
  }
  // Goes on if rcx is 0.
  void miss_unless_zero() {
    constexpr uint8_t kJumpBytes = 5;
    out.bytes(0xE3, kJumpBytes, 0xE9);  // jrcxz; jmp missed
    misses[count++] = out.at;
    out.word(0);
  }
  void compare_register(int hardware, uint64_t value) {
    set(kRcx, 0 - value);
    add_to_rcx(hardware);
    miss_unless_zero();
  }
  // What is in rcx.
  void compare_rcx(uint64_t value) {
    save(kRax);
    set(kRax, 0 - value);
    add_to_rcx(kRax);
    load(kRax);
    miss_unless_zero();
  }
  void compare_word(const stream::StopWord& word) {
    set(kRcx, word.address);
    out.bytes(0x48, 0x8B, 0x09);  // mov (%rcx), %rcx
    compare_rcx(word.value);
  }
  void end_misses() {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t distance = static_cast<uint32_t>(out.at - (misses[i] + 4));
      memcpy(misses[i], &distance, sizeof distance);
    }
  }
};

constexpr int kHardwareRegisters = 16;

// Does the instruction itself count it?
bool counts(int hardware) { return hardware == kRcx || hardware == kRsi || hardware == kRdi; }

void compare_registers(Comparison& code, const StopTest& test, bool changing) {
  for (int hardware = 0; hardware < kHardwareRegisters; ++hardware) {
    const int8_t index = kFromHardware[hardware];
    if ((test.changing >> index & 1) != changing || (test.repeats && counts(hardware))) continue;
    if (hardware != kRcx) {
      code.compare_register(hardware, test.regs[index]);
    } else {
      code.load(kRcx);
      code.compare_rcx(test.regs[index]);
    }
  }
}

// What tells most visits apart comes first.
void compare(Comparison& code, const StopTest& test) {
  code.save(kRcx);
  compare_registers(code, test, true);
  for (uint32_t i = 0; i < test.word_count; ++i) code.compare_word(test.words[i]);
  compare_registers(code, test, false);
  code.load(kRcx);
}

// rep movs and its kind, and a loop of one instruction.
bool repeats_itself(const uint8_t* code, const Decoded& decoded) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  constexpr uint64_t kRepeats =
      ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
  constexpr uint8_t kLoopNotEqual = 0xE0, kLoop = 0xE2, kToItself = 0xFE;
  const bool loop = code[0] >= kLoopNotEqual && code[0] <= kLoop && code[1] == kToItself;
  return loop || (instruction.attributes & kRepeats);
}

Move move_at_stop(const uint8_t* code, const Decoded& decoded) {
  return repeats_itself(code, decoded) ? Move::kCopy : move_of(code, decoded);
}

}  // namespace

bool stop_possible(Thread* thread, uint64_t ip, bool* repeats) {
  Decoded decoded;
  uint8_t bytes[kMaxInstruction] = {};
  if (!code_copy(ip, bytes) || !decode_plain(thread, bytes, &decoded)) return false;
  *repeats = repeats_itself(bytes, decoded);
  return move_at_stop(bytes, decoded) != Move::kNot;
}

bool stop_cover_next(Thread* thread, CoveredCode* covered) {
  Decoded decoded;
  uint8_t bytes[kMaxInstruction] = {};
  if (!code_copy(covered->ip + covered->bytes, bytes) || !decode_plain(thread, bytes, &decoded))
    return false;
  const Move move = covered->count ? move_of(bytes, decoded) : move_at_stop(bytes, decoded);
  return move != Move::kNot && cover(covered, bytes, decoded, move);
}

namespace {

// In the arena, where nothing else is in replay, but far from the code: to write beside what is
// executed is slow.
uint64_t place_to_save(uint64_t stub) {
  constexpr uint64_t kSavedBytes = 2 * sizeof(uint64_t);
  const uint64_t arena = stub & ~(kArenaBytes - 1);
  return stub - arena < kArenaBytes / 2 ? arena + kArenaBytes - kSavedBytes : arena;
}

}  // namespace

bool stop_stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout) {
  Comparison comparison = {{code, code, at}, place_to_save(at), {}, 0};
  StubCode& out = comparison.out;
  StopLayout& stop = layout->stop;
  uint64_t behind = covered.ip;
  *layout = {};
  compare(comparison, *covered.stop);
  out.bytes(kTrap);
  stop.met = out.offset();
  comparison.end_misses();
  comparison.load(kRcx);
  for (uint32_t i = 0; i < covered.count; ++i) {
    PartLayout& part = layout->parts[i];
    behind += covered.instructions[i].length;
    part.begin = i ? out.offset() : 0;
    part.saved = part.copy = out.offset();
    out.moved(covered.instructions[i], behind);
  }
  stop.missed = layout->parts[0].copy;
  layout->back = out.offset();
  out.jump_to(behind);
  stop.repeat = out.offset();
  out.moved(covered.instructions[0], covered.ip + covered.instructions[0].length);
  out.bytes(kTrap);
  stop.repeated = layout->bytes = out.offset();
  for (uint32_t i = 0; i < covered.count; ++i)
    layout->parts[i].hit = layout->parts[i].enter = layout->parts[i].end = layout->bytes;
  return out.reaches;
}

}  // namespace shmrec::agent
