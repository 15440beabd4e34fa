#include "agent/patches/call_stub.h"

#include "agent/patches/tactics.h"
#include "agent/sites/table.h"

namespace shmrec::agent {
namespace {

// ---- What moves ---------------------------------------------------------------------------------

constexpr uint8_t kReturn = 0xC3, kJumpShort = 0xEB, kJumpNear = 0xE9, kPadding = 0xCC;

bool is_syscall(const uint8_t* code) { return code[0] == 0x0F && code[1] == 0x05; }
bool jumps_if_short(const uint8_t* code) { return (code[0] & 0xF0) == 0x70; }
bool jumps_if_near(const uint8_t* code) { return code[0] == 0x0F && (code[1] & 0xF0) == 0x80; }
bool jumps(const uint8_t* code) { return code[0] == kJumpShort || code[0] == kJumpNear; }
bool ends(const uint8_t* code) { return code[0] == kReturn || jumps(code); }

bool is_padding(const uint8_t* code, const ZydisDecodedInstruction& instruction) {
  return code[0] == kPadding || instruction.mnemonic == ZYDIS_MNEMONIC_NOP;
}

// Has something been covered that never goes on behind itself?
bool has_ended(const CoveredCode& covered) {
  for (uint32_t i = 0; i < covered.count; ++i)
    if (ends(covered.instructions[i].code)) return true;
  return false;
}

bool moves(const uint8_t* code, const ZydisDecodedInstruction& instruction) {
  return jumps_if_short(code) || jumps_if_near(code) || ends(code) || movable(instruction);
}

bool may_follow(const CoveredCode& covered, const uint8_t* code,
                const ZydisDecodedInstruction& instruction) {
  if (!covered.count) return is_syscall(code);
  return has_ended(covered) ? is_padding(code, instruction) : moves(code, instruction);
}

// ---- The code -----------------------------------------------------------------------------------

struct Emitter {
  uint8_t* begin;
  uint8_t* at;
  uint64_t address;  // of `begin` when it runs
  bool reaches = true;

  template <typename... Bytes>
  void bytes(Bytes... values) {
    ((*at++ = static_cast<uint8_t>(values)), ...);
  }
  void word(uint64_t value, size_t count = 4) {
    memcpy(at, &value, count);
    at += count;
  }
  // As a distance from behind itself.
  void distance_to(uint64_t target) {
    const int64_t distance = static_cast<int64_t>(target - (here() + 4));
    reaches = reaches && distance == static_cast<int32_t>(distance);
    word(static_cast<uint64_t>(distance));
  }
  uint16_t offset() const { return static_cast<uint16_t>(at - begin); }
  uint64_t here() const { return address + offset(); }
};

// The call itself; what is behind it in the stub follows.
void emit_call(Emitter& out, uint64_t behind, PartLayout* part) {
  constexpr uint32_t kToEntry = 10;
  out.bytes(0x48, 0xB9), out.word(behind, 8);       // movabs $BEHIND, %rcx
  out.bytes(0x4C, 0x8D, 0x1D), out.word(kToEntry);  // lea NEXT(%rip), %r11
  out.bytes(0x65, 0xFF, 0x24, 0x25);                // jmp *%gs:call_entry
  out.word(offsetof(Thread, call_entry));
  part->saved = part->copy = out.offset();
  out.bytes(0x0F, 0x05);
}

// A jump to where it led.
void emit_jump(Emitter& out, const Covered& instruction, uint64_t behind) {
  const uint8_t* code = instruction.code;
  const bool is_short = jumps_if_short(code) || code[0] == kJumpShort;
  int32_t distance = static_cast<int8_t>(code[1]);
  if (!is_short) memcpy(&distance, code + instruction.length - 4, 4);
  if (jumps(code))
    out.bytes(kJumpNear);
  else
    out.bytes(0x0F, 0x80 | (code[is_short ? 0 : 1] & 0x0F));
  out.distance_to(behind + static_cast<uint64_t>(static_cast<int64_t>(distance)));
}

void emit_copy(Emitter& out, const Covered& instruction, uint64_t behind) {
  uint8_t* const to = out.at;
  memcpy(to, instruction.code, instruction.length);
  out.at += instruction.length;
  if (!instruction.rip_displacement) return;
  int32_t displacement;
  memcpy(&displacement, to + instruction.rip_displacement, 4);
  const int64_t moved = displacement + static_cast<int64_t>(behind - out.here());
  out.reaches = out.reaches && moved == static_cast<int32_t>(moved);
  memcpy(to + instruction.rip_displacement, &moved, 4);
}

void emit_moved(Emitter& out, const Covered& instruction, uint64_t behind) {
  const uint8_t* code = instruction.code;
  if (jumps_if_short(code) || jumps_if_near(code) || jumps(code))
    emit_jump(out, instruction, behind);
  else
    emit_copy(out, instruction, behind);
}

}  // namespace

bool call_cover_next(Thread* thread, CoveredCode* covered) {
  if (covered->count == kMaxCovered) return false;
  Covered& next = covered->instructions[covered->count];
  Decoded decoded;
  uint8_t bytes[kMaxInstruction] = {};
  if (!code_copy(covered->ip + covered->bytes, bytes) || !decode_plain(thread, bytes, &decoded) ||
      !may_follow(*covered, bytes, decoded.instruction))
    return false;
  const bool jump = jumps_if_short(bytes) || jumps_if_near(bytes) || jumps(bytes);
  const bool relative = !jump && (decoded.instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE);
  if (relative && decoded.instruction.raw.disp.size != 32) return false;
  next.length = decoded.instruction.length;
  next.rip_displacement = relative ? decoded.instruction.raw.disp.offset : 0;
  next.site = nullptr;
  memcpy(next.code, bytes, next.length);
  covered->bytes += next.length;
  ++covered->count;
  return true;
}

bool call_stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout) {
  Emitter out = {code, code, at};
  uint64_t behind = covered.ip;
  *layout = {};
  for (uint32_t i = 0; i < covered.count; ++i) {
    const Covered& instruction = covered.instructions[i];
    PartLayout& part = layout->parts[i];
    behind += instruction.length;
    part.begin = part.saved = part.copy = out.offset();
    if (i == 0)
      emit_call(out, behind, &part);
    else
      emit_moved(out, instruction, behind);
  }
  layout->back = out.offset();
  out.bytes(kJumpNear), out.distance_to(behind);
  layout->bytes = out.offset();
  for (uint32_t i = 0; i < covered.count; ++i)
    layout->parts[i].hit = layout->parts[i].enter = layout->parts[i].end = layout->bytes;
  return out.reaches;
}

}  // namespace shmrec::agent
