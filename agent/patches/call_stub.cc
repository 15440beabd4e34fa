#include "agent/patches/call_stub.h"

#include "agent/patches/moved.h"
#include "agent/sites/table.h"

namespace shmrec::agent {
namespace {

bool is_syscall(const uint8_t* code) { return code[0] == 0x0F && code[1] == 0x05; }

bool is_padding(const uint8_t* code, const ZydisDecodedInstruction& instruction) {
  constexpr uint8_t kPadding = 0xCC;
  return code[0] == kPadding || instruction.mnemonic == ZYDIS_MNEMONIC_NOP;
}

// Has something been covered that never goes on behind itself?
bool has_ended(const CoveredCode& covered) {
  for (uint32_t i = 1; i < covered.count; ++i)
    if (ends_path(covered.instructions[i].move)) return true;
  return false;
}

// What is behind the call in its routine, or never executed.
bool may_follow(const CoveredCode& covered, const uint8_t* code, const Decoded& decoded,
                Move move) {
  if (has_ended(covered)) return is_padding(code, decoded.instruction);
  return move != Move::kNot && move != Move::kCall && move != Move::kJumpIndirect;
}

// The call itself; what is behind it in the stub follows.
void emit_call(StubCode& out, uint64_t behind, PartLayout* part) {
  constexpr uint32_t kToEntry = 10;
  out.bytes(0x48, 0xB9), out.word(behind, 8);       // movabs $BEHIND, %rcx
  out.bytes(0x4C, 0x8D, 0x1D), out.word(kToEntry);  // lea NEXT(%rip), %r11
  out.bytes(0x65, 0xFF, 0x24, 0x25);                // jmp *%gs:call_entry
  out.word(offsetof(Thread, call_entry));
  part->saved = part->copy = out.offset();
  out.bytes(0x0F, 0x05);
}

}  // namespace

bool call_cover_next(Thread* thread, CoveredCode* covered) {
  Decoded decoded;
  uint8_t bytes[kMaxInstruction] = {};
  if (!code_copy(covered->ip + covered->bytes, bytes) || !decode_plain(thread, bytes, &decoded))
    return false;
  const Move move = move_of(bytes, decoded);
  const bool fits = covered->count ? may_follow(*covered, bytes, decoded, move) : is_syscall(bytes);
  return fits && cover(covered, bytes, decoded, move);
}

bool call_stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout) {
  StubCode out = {code, code, at};
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
      out.moved(instruction, behind);
  }
  layout->back = out.offset();
  out.jump_to(behind);
  layout->bytes = out.offset();
  for (uint32_t i = 0; i < covered.count; ++i)
    layout->parts[i].hit = layout->parts[i].enter = layout->parts[i].end = layout->bytes;
  return out.reaches;
}

}  // namespace shmrec::agent
