#include "agent/patches/moved.h"

#include "agent/patches/tactics.h"

namespace shmrec::agent {
namespace {

constexpr uint8_t kReturn = 0xC3, kJumpShort = 0xEB, kJumpNear = 0xE9, kCallNear = 0xE8;

bool jumps_if_short(const uint8_t* code) { return (code[0] & 0xF0) == 0x70; }
bool jumps_if_near(const uint8_t* code) { return code[0] == 0x0F && (code[1] & 0xF0) == 0x80; }

// The distance that ends an instruction.
uint64_t distance_in(const Covered& instruction, bool is_short) {
  int32_t distance = static_cast<int8_t>(instruction.code[instruction.length - 1]);
  if (!is_short) memcpy(&distance, instruction.code + instruction.length - 4, 4);
  return static_cast<uint64_t>(static_cast<int64_t>(distance));
}

void emit_jump(StubCode& out, const Covered& instruction, uint64_t behind) {
  const uint8_t* code = instruction.code;
  const bool conditional = instruction.move == Move::kJumpIf;
  const bool is_short = conditional ? jumps_if_short(code) : code[0] == kJumpShort;
  if (conditional)
    out.bytes(0x0F, 0x80 | (code[is_short ? 0 : 1] & 0x0F));
  else
    out.bytes(kJumpNear);
  out.distance_to(behind + distance_in(instruction, is_short));
}

void emit_call(StubCode& out, const Covered& instruction, uint64_t behind) {
  out.bytes(0x68), out.word(behind);                          // push $LOW
  out.bytes(0xC7, 0x44, 0x24, 0x04), out.word(behind >> 32);  // movl $HIGH, 4(%rsp)
  out.jump_to(behind + distance_in(instruction, false));
}

void emit_copy(StubCode& out, const Covered& instruction, uint64_t behind) {
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

}  // namespace

void StubCode::jump_to(uint64_t target) { bytes(kJumpNear), distance_to(target); }

void StubCode::moved(const Covered& instruction, uint64_t behind) {
  switch (instruction.move) {
    case Move::kJump:
    case Move::kJumpIf:
      return emit_jump(*this, instruction, behind);
    case Move::kCall:
      return emit_call(*this, instruction, behind);
    default:
      return emit_copy(*this, instruction, behind);
  }
}

Move move_of(const uint8_t* code, const Decoded& decoded) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  const bool relative = instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE;
  if (jumps_if_short(code) || jumps_if_near(code)) return Move::kJumpIf;
  if (code[0] == kJumpShort || code[0] == kJumpNear) return Move::kJump;
  if (code[0] == kCallNear) return Move::kCall;
  if (code[0] == kReturn) return Move::kReturn;
  const bool indirect = instruction.mnemonic == ZYDIS_MNEMONIC_JMP &&
                        instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR;
  if (!indirect && !movable(instruction)) return Move::kNot;
  if (relative && instruction.raw.disp.size != 32) return Move::kNot;
  return indirect ? Move::kJumpIndirect : Move::kCopy;
}

bool ends_path(Move move) {
  return move == Move::kJump || move == Move::kJumpIndirect || move == Move::kReturn;
}

bool cover(CoveredCode* covered, const uint8_t* code, const Decoded& decoded, Move move) {
  if (covered->count == kMaxCovered) return false;
  Covered& next = covered->instructions[covered->count++];
  const bool copied = move == Move::kCopy || move == Move::kJumpIndirect;
  const bool relative = copied && (decoded.instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE);
  next.length = decoded.instruction.length;
  next.rip_displacement = relative ? decoded.instruction.raw.disp.offset : 0;
  next.move = move;
  next.site = nullptr;
  memcpy(next.code, code, next.length);
  covered->bytes += next.length;
  return true;
}

}  // namespace shmrec::agent
