#include "agent/sites/emit.h"

extern "C" void shmrec_access_leave();

namespace shmrec::agent {
namespace {

// ---- The encodings that are taken apart and put together ----------------------------------------

constexpr uint8_t kRexMask = 0xF0, kRex = 0x40;  // REX: 0100WRXB
constexpr uint8_t kRexXB = 3;                    // extend index and base
constexpr uint8_t kRexRXB = 7;                   // and the register operand
constexpr uint8_t kVexXB = 0x60;                 // the same in VEX, XOP and EVEX, inverted
constexpr uint8_t kModrmReg = 0x38;              // the register operand in ModRM
constexpr uint8_t kModrmSib = 4;                 // r/m: a SIB byte follows
constexpr uint8_t kSibNothing = 0x25;            // neither base nor index: 32 bits follow
constexpr uint8_t kByGs = 0x65;
constexpr uint8_t kOperandSize = 0x66;

// Does the prefix at `at` have a part in the instruction on another address? fs, gs and 32-bit
// addresses have none, nor has a REX with another prefix behind it: the processor ignores it there,
// and would not any more if what is behind it were left out.
bool stays(const ZydisDecodedInstruction& instruction, int at) {
  const uint8_t prefix = instruction.raw.prefixes[at].value;
  if ((prefix & kRexMask) == kRex)
    return instruction.attributes & ZYDIS_ATTRIB_HAS_REX && at == instruction.raw.rex.offset;
  return prefix != 0x64 && prefix != 0x65 && prefix != 0x67;
}

struct Emitter {
  uint8_t* at;
  void byte(uint8_t value) { *at++ = value; }
  void leave() {
    byte(0xE9);
    const uint64_t next = reinterpret_cast<uint64_t>(at) + 4;
    const uint32_t distance =
        static_cast<uint32_t>(reinterpret_cast<uint64_t>(shmrec_access_leave) - next);
    memcpy(at, &distance, 4);
    at += 4;
  }
};

// What the access is made on: (%hardware), or a place in the Thread, by gs.
struct Target {
  int hardware;
  uint32_t place = 0;  // 0: there is none

  uint8_t modrm(uint8_t reg) const {
    return static_cast<uint8_t>((reg & kModrmReg) | (place ? kModrmSib : hardware));
  }
  void emit_rest(Emitter& out) const {
    if (!place) return;
    out.byte(kSibNothing);
    memcpy(out.at, &place, 4);
    out.at += 4;
  }
};

// The same move with a ModRM.
bool emit_moffs(Emitter& out, const ZydisDecodedInstruction& instruction, const Target& target) {
  if (!is_moffs(instruction)) return false;
  static constexpr uint8_t kWithModrm[4] = {0x8A, 0x8B, 0x88, 0x89};
  for (int i = 0; i < instruction.raw.prefix_count; ++i) {
    if (!stays(instruction, i)) continue;
    const uint8_t prefix = instruction.raw.prefixes[i].value;
    // Of REX only W means something without a ModRM.
    const bool rex = (prefix & kRexMask) == kRex;
    if (prefix == kOperandSize || rex) out.byte(rex ? prefix & ~kRexRXB : prefix);
  }
  out.byte(kWithModrm[instruction.opcode - 0xA0]);
  out.byte(target.modrm(0));
  target.emit_rest(out);
  return true;
}

// A byte before ModRM as it is when base and index are among the low eight registers.
uint8_t low_registers(const ZydisDecodedInstruction& instruction, int at, uint8_t value) {
  switch (instruction.encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
    case ZYDIS_INSTRUCTION_ENCODING_3DNOW:
      return at < instruction.raw.prefix_count && (value & kRexMask) == kRex
                 ? static_cast<uint8_t>(value & ~kRexXB)
                 : value;
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
      return instruction.raw.vex.size == 3 && at == instruction.raw.vex.offset + 1 ? value | kVexXB
                                                                                   : value;
    case ZYDIS_INSTRUCTION_ENCODING_XOP:
      return at == instruction.raw.xop.offset + 1 ? value | kVexXB : value;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX:
      return at == instruction.raw.evex.offset + 1 ? value | kVexXB : value;
    default:
      return value;
  }
}

// What stands before ModRM. `opcode`: another opcode, 0: its own.
void emit_head(Emitter& out, const Site& site, const ZydisDecodedInstruction& instruction,
               uint8_t opcode) {
  const int modrm_at = instruction.raw.modrm.offset;
  for (int i = 0; i < modrm_at; ++i) {
    const uint8_t value = site.code[i];
    if (i < instruction.raw.prefix_count && !stays(instruction, i)) continue;
    out.byte(opcode && i == modrm_at - 1 ? opcode : low_registers(instruction, i, value));
  }
}

// The instruction with its memory operand replaced by `target`.
void emit_on(Emitter& out, const Site& site, const ZydisDecodedInstruction& instruction,
             const Target& target, uint8_t opcode = 0) {
  if (emit_moffs(out, instruction, target)) return;
  emit_head(out, site, instruction, opcode);
  const uint8_t modrm_at = instruction.raw.modrm.offset;
  out.byte(target.modrm(site.code[modrm_at]));
  target.emit_rest(out);
  const uint8_t skip =
      modrm_at + 1 + (instruction.raw.sib.offset ? 1 : 0) + instruction.raw.disp.size / 8;
  for (int i = skip; i < site.length; ++i) out.byte(site.code[i]);
}

// A tile's with (%scratch,%second_scratch,1): rows as far apart as the second one says.
void emit_tile(Emitter& out, const Site& site, const ZydisDecodedInstruction& instruction) {
  emit_head(out, site, instruction, 0);
  const uint8_t modrm = site.code[instruction.raw.modrm.offset];
  out.byte(static_cast<uint8_t>((modrm & kModrmReg) | kModrmSib));
  out.byte(static_cast<uint8_t>(hardware_of(site.second_scratch) << 3 | hardware_of(site.scratch)));
}

// The instruction as it is: it finds the address in an implied register.
void emit_whole(Emitter& out, const Site& site, const ZydisDecodedInstruction& instruction) {
  for (int i = 0; i < site.length; ++i)
    if (i >= instruction.raw.prefix_count || stays(instruction, i)) out.byte(site.code[i]);
}

// mov (%hardware), %fs or %gs, whatever `pop` of it is.
void emit_segment_load(Emitter& out, const Site& site, int hardware) {
  out.byte(0x8E);
  out.byte(static_cast<uint8_t>((site.value_segment == 1 ? 4 : 5) << 3 | hardware));
}

// vmovdqu{8,16,32,64} %zmm0, (%hardware){%k}: stores exactly the elements that the mask selects.
void emit_mask_probe(Emitter& out, const ZydisDecodedInstruction& instruction,
                     uint32_t element_bits, int hardware) {
  static constexpr uint8_t kP1[4] = {0x7F, 0xFF, 0x7E, 0xFE};
  const int width = element_bits == 8 ? 0 : element_bits == 16 ? 1 : element_bits == 32 ? 2 : 3;
  out.byte(0x62), out.byte(0xF1), out.byte(kP1[width]);
  out.byte(static_cast<uint8_t>(0x48 | (instruction.avx.mask.reg - ZYDIS_REGISTER_K0)));
  out.byte(0x7F);
  out.byte(static_cast<uint8_t>(hardware));
}

uint32_t element_bits(const Decoded& decoded) {
  for (int i = 0; i < decoded.instruction.operand_count; ++i)
    if (decoded.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
      return decoded.operands[i].element_size;
  return 0;
}

void emit_core(Emitter& out, const Site& site, const Decoded& decoded, int hardware) {
  if (site.form == Form::kPopSegment) return emit_segment_load(out, site, hardware);
  if (site.form == Form::kLoadTile || site.form == Form::kStoreTile)
    return emit_tile(out, site, decoded.instruction);
  if (address_is_implied(decoded)) return emit_whole(out, site, decoded.instruction);
  emit_on(out, site, decoded.instruction, {hardware});
}

void emit_probe(Emitter& out, const Site& site, const Decoded& decoded, int hardware) {
  const uint8_t store = vector_mask_store_opcode(decoded.instruction);
  if (store) return emit_on(out, site, decoded.instruction, {hardware}, store);
  emit_mask_probe(out, decoded.instruction, element_bits(decoded), hardware);
}

void emit_valued(Emitter& out, Site& site, const Decoded& decoded) {
  const bool plain =
      site.form == Form::kLoad || site.form == Form::kStore || site.form == Form::kModify;
  if (!plain || address_is_implied(decoded)) return;
  uint8_t* const begin = out.at;
  out.byte(kByGs);
  emit_on(out, site, decoded.instruction, {0, offsetof(Thread, value)});
  const uint64_t length = static_cast<uint64_t>(out.at - begin);
  if (length > kMaxInstruction) return;
  site.valued = reinterpret_cast<uint64_t>(begin);
  site.valued_length = static_cast<uint8_t>(length);
}

}  // namespace

void emit(Site& site, const Decoded& decoded, uint8_t* code) {
  if (!runs_core(site.form)) return;
  Emitter out{code};
  const int hardware = hardware_of(site.scratch);
  site.core = reinterpret_cast<uint64_t>(out.at);
  emit_core(out, site, decoded, hardware);
  site.core_length = static_cast<uint8_t>(out.at - code);
  out.leave();
  emit_valued(out, site, decoded);
  if (site.form != Form::kMaskedLoad) return;
  site.probe = reinterpret_cast<uint64_t>(out.at);
  emit_probe(out, site, decoded, hardware);
  out.leave();
}

}  // namespace shmrec::agent
