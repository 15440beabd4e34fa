#include "agent/sites/decode.h"

#include <initializer_list>

#include "agent/arch/x86_64/processor.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kMaxSiteBytes = 4096;  // of a fixed length; those that save state have their own
constexpr uint32_t kMaxMasked = 64;

ZydisDecoder decoder;

// Zydis is ordinary compiled code: its stack protector reads %fs:0x28, which is the program's.
struct ForeignCode {
  explicit ForeignCode(Thread* thread) : saved(read_fs_base()) {
    write_fs_base(thread->canary_base);
  }
  ~ForeignCode() { write_fs_base(saved); }
  uint64_t saved;
};

}  // namespace

int8_t register_index(ZydisRegister which) {
  if (which == ZYDIS_REGISTER_NONE) return kNoRegister;
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, which);
  if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return kNoRegister;
  return kFromHardware[whole - ZYDIS_REGISTER_RAX];
}

bool is_memory(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type != ZYDIS_MEMOP_TYPE_AGEN;
}

namespace {

// The memory operand that an address is computed for: the first that is not the stack's own.
const ZydisDecodedOperand* memory_operand(const Decoded& decoded) {
  for (int i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    const bool stack = operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
                       operand.mem.segment == ZYDIS_REGISTER_SS;
    if (is_memory(operand) && !stack) return &operand;
  }
  return nullptr;
}

// ---- Forms --------------------------------------------------------------------------------------

struct MnemonicForm {
  ZydisMnemonic mnemonic;
  Form form;
};
// Instructions that are not told by what they do to their memory operand.
constexpr MnemonicForm kByMnemonic[] = {
    {ZYDIS_MNEMONIC_PUSH, Form::kPush},
    {ZYDIS_MNEMONIC_POP, Form::kPop},
    {ZYDIS_MNEMONIC_CALL, Form::kCall},
    {ZYDIS_MNEMONIC_JMP, Form::kJump},
    {ZYDIS_MNEMONIC_RET, Form::kReturn},
    {ZYDIS_MNEMONIC_ENTER, Form::kEnter},
    {ZYDIS_MNEMONIC_LEAVE, Form::kLeave},
    {ZYDIS_MNEMONIC_PUSHF, Form::kPushFlags},
    {ZYDIS_MNEMONIC_PUSHFQ, Form::kPushFlags},
    {ZYDIS_MNEMONIC_POPF, Form::kPopFlags},
    {ZYDIS_MNEMONIC_POPFQ, Form::kPopFlags},
    {ZYDIS_MNEMONIC_IRET, Form::kInterruptReturn},
    {ZYDIS_MNEMONIC_IRETD, Form::kInterruptReturn},
    {ZYDIS_MNEMONIC_IRETQ, Form::kInterruptReturn},
    {ZYDIS_MNEMONIC_XLAT, Form::kXlat},
    {ZYDIS_MNEMONIC_XCHG, Form::kAtomic},
    {ZYDIS_MNEMONIC_CLFLUSH, Form::kTouch},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, Form::kTouch},
    {ZYDIS_MNEMONIC_CLWB, Form::kTouch},
    {ZYDIS_MNEMONIC_CLDEMOTE, Form::kTouch},
    {ZYDIS_MNEMONIC_MONITORX, Form::kTouch},
    {ZYDIS_MNEMONIC_UMONITOR, Form::kTouch},
    {ZYDIS_MNEMONIC_CLZERO, Form::kStore},
    {ZYDIS_MNEMONIC_MASKMOVDQU, Form::kMaskedStore},
    {ZYDIS_MNEMONIC_VMASKMOVDQU, Form::kMaskedStore},
    {ZYDIS_MNEMONIC_MASKMOVQ, Form::kMaskedStore},
    {ZYDIS_MNEMONIC_FXSAVE, Form::kSaveState},
    {ZYDIS_MNEMONIC_FXSAVE64, Form::kSaveState},
    {ZYDIS_MNEMONIC_XSAVE, Form::kSaveState},
    {ZYDIS_MNEMONIC_XSAVE64, Form::kSaveState},
    {ZYDIS_MNEMONIC_XSAVEOPT, Form::kSaveState},
    {ZYDIS_MNEMONIC_XSAVEOPT64, Form::kSaveState},
    {ZYDIS_MNEMONIC_XSAVEC, Form::kSaveState},
    {ZYDIS_MNEMONIC_XSAVEC64, Form::kSaveState},
    {ZYDIS_MNEMONIC_XRSTOR, Form::kLoadState},
    {ZYDIS_MNEMONIC_XRSTOR64, Form::kLoadState},
    {ZYDIS_MNEMONIC_TILELOADD, Form::kLoadTile},
    {ZYDIS_MNEMONIC_TILELOADDT1, Form::kLoadTile},
    {ZYDIS_MNEMONIC_TILESTORED, Form::kStoreTile},
    {ZYDIS_MNEMONIC_MOVDIR64B, Form::kMoveDirect},
    {ZYDIS_MNEMONIC_ENQCMD, Form::kUnknown},  // their target is a device
    {ZYDIS_MNEMONIC_ENQCMDS, Form::kUnknown},
    {ZYDIS_MNEMONIC_LGS, Form::kUnknown},  // the agent needs gs while it performs them
};
struct StringForm {
  ZydisMnemonic mnemonic;
  Form form;
  uint8_t bytes;
};
constexpr StringForm kStrings[] = {
    {ZYDIS_MNEMONIC_MOVSB, Form::kMovs, 1}, {ZYDIS_MNEMONIC_MOVSW, Form::kMovs, 2},
    {ZYDIS_MNEMONIC_MOVSD, Form::kMovs, 4}, {ZYDIS_MNEMONIC_MOVSQ, Form::kMovs, 8},
    {ZYDIS_MNEMONIC_STOSB, Form::kStos, 1}, {ZYDIS_MNEMONIC_STOSW, Form::kStos, 2},
    {ZYDIS_MNEMONIC_STOSD, Form::kStos, 4}, {ZYDIS_MNEMONIC_STOSQ, Form::kStos, 8},
    {ZYDIS_MNEMONIC_LODSB, Form::kLods, 1}, {ZYDIS_MNEMONIC_LODSW, Form::kLods, 2},
    {ZYDIS_MNEMONIC_LODSD, Form::kLods, 4}, {ZYDIS_MNEMONIC_LODSQ, Form::kLods, 8},
    {ZYDIS_MNEMONIC_CMPSB, Form::kCmps, 1}, {ZYDIS_MNEMONIC_CMPSW, Form::kCmps, 2},
    {ZYDIS_MNEMONIC_CMPSD, Form::kCmps, 4}, {ZYDIS_MNEMONIC_CMPSQ, Form::kCmps, 8},
    {ZYDIS_MNEMONIC_SCASB, Form::kScas, 1}, {ZYDIS_MNEMONIC_SCASW, Form::kScas, 2},
    {ZYDIS_MNEMONIC_SCASD, Form::kScas, 4}, {ZYDIS_MNEMONIC_SCASQ, Form::kScas, 8},
};

bool has_mask(const ZydisDecodedInstruction& instruction) {
  return instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
         instruction.avx.mask.reg != ZYDIS_REGISTER_NONE &&
         instruction.avx.mask.reg != ZYDIS_REGISTER_K0;
}

bool is_load_of_gs(const Decoded& decoded) {
  const ZydisDecodedOperand& to = decoded.operands[0];
  return decoded.instruction.mnemonic == ZYDIS_MNEMONIC_MOV &&
         to.type == ZYDIS_OPERAND_TYPE_REGISTER && to.reg.value == ZYDIS_REGISTER_GS;
}

Form form_by_effect(const Decoded& decoded, const ZydisDecodedOperand& memory) {
  const bool reads = memory.actions & ZYDIS_OPERAND_ACTION_MASK_READ;
  const bool writes = memory.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
  const bool broadcast = decoded.instruction.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID;
  const bool masked = (has_mask(decoded.instruction) && !broadcast) ||
                      vector_mask_store_opcode(decoded.instruction);
  if (!memory.size || memory.size / 8 > kMaxSiteBytes || is_load_of_gs(decoded))
    return Form::kUnknown;
  if (masked && memory.size / 8 <= kMaxMasked)
    return writes ? Form::kMaskedStore : Form::kMaskedLoad;
  if (reads && writes)
    return decoded.instruction.attributes & ZYDIS_ATTRIB_HAS_LOCK ? Form::kAtomic : Form::kModify;
  return writes ? Form::kStore : Form::kLoad;
}

// VPGATHER and VGATHER 90..93, VPSCATTER and VSCATTER A0..A3; not their prefetches, which never
// fault.
bool is_gather(const ZydisDecodedInstruction& instruction) {
  return instruction.opcode_map == ZYDIS_OPCODE_MAP_0F38 &&
         ((instruction.opcode & 0xFC) == 0x90 || (instruction.opcode & 0xFC) == 0xA0);
}

Form far_form(Form near) {
  return near == Form::kCall   ? Form::kFarCall
         : near == Form::kJump ? Form::kFarJump
                               : Form::kFarReturn;
}

// Pushes and pops of fs and gs.
Form segment_form(const Decoded& decoded, Form form) {
  const ZydisRegister which = decoded.operands[0].reg.value;
  if (form == Form::kPush) return form;
  return which == ZYDIS_REGISTER_FS ? Form::kPopSegment : Form::kUnknown;
}

bool is_segment(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
         (operand.reg.value == ZYDIS_REGISTER_FS || operand.reg.value == ZYDIS_REGISTER_GS);
}

Form form_of(const Decoded& decoded, const ZydisDecodedOperand* memory) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  if (instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX) return Form::kUnknown;
  if (instruction.meta.category == ZYDIS_CATEGORY_STRINGOP) {
    for (const StringForm& known : kStrings)
      if (known.mnemonic == instruction.mnemonic) return known.form;
    return Form::kUnknown;
  }
  for (const MnemonicForm& known : kByMnemonic) {
    if (known.mnemonic != instruction.mnemonic) continue;
    if (instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR &&
        known.form != Form::kInterruptReturn)
      return far_form(known.form);
    const bool stack = known.form == Form::kPush || known.form == Form::kPop;
    return stack && is_segment(decoded.operands[0]) ? segment_form(decoded, known.form)
                                                    : known.form;
  }
  if (!memory) return Form::kUnknown;
  if (memory->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
    return is_gather(instruction) ? Form::kGather : Form::kUnknown;
  return form_by_effect(decoded, *memory);
}

// Registers that the instruction neither reads nor writes, from those that need no SIB byte, no
// displacement and no REX bit as a base.
struct FreeRegisters {
  int8_t first = kNoRegister, second = kNoRegister;
};
FreeRegisters free_registers(const Decoded& decoded) {
  uint32_t used = 0;
  for (int i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    const int8_t index = register_index(operand.reg.value);
    if (index != kNoRegister) used |= 1u << index;
  }
  FreeRegisters found;
  for (int hardware : {kRsi, kRdi, kRbx, kRdx, kRcx, kRax}) {
    const int8_t index = kFromHardware[hardware];
    if (used & 1u << index) continue;
    (found.first == kNoRegister ? found.first : found.second) = index;
    if (found.second != kNoRegister) break;
  }
  return found;
}

// ---- Describing ---------------------------------------------------------------------------------

// Of two operands of a string instruction only the source has one that can be chosen.
Segment segment_of(const Decoded& decoded, const ZydisDecodedOperand& memory) {
  const bool string = decoded.instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
  const ZydisInstructionAttributes prefixes = string ? decoded.instruction.attributes : 0;
  if (memory.mem.segment == ZYDIS_REGISTER_FS || (prefixes & ZYDIS_ATTRIB_HAS_SEGMENT_FS))
    return Segment::kFs;
  if (memory.mem.segment == ZYDIS_REGISTER_GS || (prefixes & ZYDIS_ATTRIB_HAS_SEGMENT_GS))
    return Segment::kGs;
  return Segment::kNone;
}

bool one_of(ZydisMnemonic mnemonic, std::initializer_list<ZydisMnemonic> list) {
  for (ZydisMnemonic known : list)
    if (known == mnemonic) return true;
  return false;
}

bool is_expand(ZydisMnemonic mnemonic) {
  return one_of(mnemonic,
                {ZYDIS_MNEMONIC_VEXPANDPS, ZYDIS_MNEMONIC_VEXPANDPD, ZYDIS_MNEMONIC_VPEXPANDB,
                 ZYDIS_MNEMONIC_VPEXPANDW, ZYDIS_MNEMONIC_VPEXPANDD, ZYDIS_MNEMONIC_VPEXPANDQ});
}

// A far pointer in memory: REX.W makes its offset 64 bits wide, but not on AMD's processors.
uint32_t bytes_of(const Decoded& decoded, const ZydisDecodedOperand& memory) {
  constexpr uint32_t kWide = 10, kNarrow = 6;
  const bool far = decoded.instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
                   one_of(decoded.instruction.mnemonic, {ZYDIS_MNEMONIC_LSS, ZYDIS_MNEMONIC_LFS});
  const uint32_t bytes = memory.size / 8;
  return far && bytes == kWide && made_by_amd() ? kNarrow : bytes;
}

void describe_memory(Site& site, const Decoded& decoded, const ZydisDecodedOperand& memory) {
  site.bytes = bytes_of(decoded, memory);
  site.rip_relative =
      memory.mem.base == ZYDIS_REGISTER_RIP || memory.mem.base == ZYDIS_REGISTER_EIP;
  site.base = site.rip_relative ? kNoRegister : register_index(memory.mem.base);
  site.index =
      memory.mem.type == ZYDIS_MEMOP_TYPE_VSIB ? kNoRegister : register_index(memory.mem.index);
  site.scale = memory.mem.scale;
  site.displacement = memory.mem.disp.has_displacement ? memory.mem.disp.value : 0;
  site.segment = segment_of(decoded, memory);
  site.packed = is_expand(decoded.instruction.mnemonic);
}

void describe_string(Site& site, const Decoded& decoded) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  for (const StringForm& known : kStrings)
    if (known.mnemonic == instruction.mnemonic && known.form == site.form) site.bytes = known.bytes;
  if (instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
    site.repeat = Repeat::kWhileEqual;
  if (instruction.attributes & ZYDIS_ATTRIB_HAS_REPNE) site.repeat = Repeat::kWhileNotEqual;
}

bool is_far(Form form) {
  return form == Form::kFarJump || form == Form::kFarCall || form == Form::kFarReturn ||
         form == Form::kInterruptReturn;
}

bool is_near(Form form) {
  return form == Form::kCall || form == Form::kJump || form == Form::kReturn;
}

// Far transfers alone have 32 bits as their default; REX.W makes it 64. Near ones have 64, whatever
// prefix they have, but for AMD's processors.
uint8_t value_bytes(Form form, const ZydisDecodedInstruction& instruction) {
  bool prefix = false;
  for (int i = 0; i < instruction.raw.prefix_count; ++i)
    prefix |= instruction.raw.prefixes[i].value == 0x66;
  const bool narrow = prefix && !instruction.raw.rex.W;
  if (is_near(form)) return narrow && made_by_amd() ? 2 : 8;
  if (is_far(form)) return instruction.raw.rex.W ? 8 : narrow ? 2 : 4;
  return instruction.operand_width == 16 ? 2 : 8;
}

// What goes to the stack or comes from it, and control transfers.
void describe_stack(Site& site, const Decoded& decoded) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  site.value_bytes = value_bytes(site.form, instruction);
  const ZydisDecodedOperand& first = decoded.operands[0];
  if (site.form == Form::kEnter) {
    site.immediate = first.imm.value.u & 0xFFFF;
    site.levels = decoded.operands[1].imm.value.u % 32;
    return;
  }
  if (instruction.operand_count_visible == 0) return;
  site.value_is_memory = is_memory(first);
  if (site.value_is_memory && is_near(site.form)) site.bytes = site.value_bytes;
  if (is_segment(first)) site.value_segment = first.reg.value == ZYDIS_REGISTER_FS ? 1 : 2;
  if (first.type == ZYDIS_OPERAND_TYPE_REGISTER)
    site.value_register = register_index(first.reg.value);
  if (first.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) site.immediate = first.imm.value.s;
}

// BT, BTS, BTR, BTC with a register: the bit may lie far from the operand.
void describe_bit_test(Site& site, const Decoded& decoded) {
  const ZydisMnemonic m = decoded.instruction.mnemonic;
  const bool bit_test = m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS ||
                        m == ZYDIS_MNEMONIC_BTR || m == ZYDIS_MNEMONIC_BTC;
  if (bit_test && decoded.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
    site.bit_register = register_index(decoded.operands[1].reg.value);
}

uint8_t register_number(ZydisRegister which) {
  return static_cast<uint8_t>(ZydisRegisterGetId(which));
}

// The register operand at `index` among the visible ones.
uint8_t visible_register(const Decoded& decoded, int index) {
  return register_number(decoded.operands[index].reg.value);
}

// The opcode's lowest bit is the size of the indices, W that of the elements; the vector length
// holds as many as there is room for of the larger of the two. Operands of a VEX gather: data,
// memory, mask; of an EVEX gather: data, opmask, memory; of a scatter: memory, opmask, data.
void describe_gather(Site& site, const Decoded& decoded, const ZydisDecodedOperand& memory) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  const bool evex = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
  const bool wide = evex ? instruction.raw.evex.W : instruction.raw.vex.W;
  Gather& gather = site.gather;
  gather.opmask = evex;
  gather.scatter = (instruction.opcode & 0xFC) == 0xA0;
  gather.index_bytes = instruction.opcode & 1 ? 8 : 4;
  gather.element_bytes = wide ? 8 : 4;
  gather.elements = static_cast<uint8_t>(instruction.avx.vector_length / 8 /
                                         max(gather.index_bytes, gather.element_bytes));
  gather.data = visible_register(decoded, gather.scatter ? 2 : 0);
  gather.mask = evex ? register_number(instruction.avx.mask.reg) : visible_register(decoded, 2);
  gather.index = register_number(memory.mem.index);
  site.bytes = gather.element_bytes;
}

void describe_state(Site& site, const Decoded& decoded) {
  const ZydisMnemonic m = decoded.instruction.mnemonic;
  site.state.extended = !one_of(m, {ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXSAVE64});
  site.state.compacted = one_of(m, {ZYDIS_MNEMONIC_XSAVEC, ZYDIS_MNEMONIC_XSAVEC64});
  site.state.merges = site.state.extended && !site.state.compacted;
}

// x87 instructions with a memory operand, but for those that load and store the environment, the
// control word and the status word (D9 /4../7, DD /4, /6, /7).
bool sets_x87_pointers(const ZydisDecodedInstruction& instruction) {
  if (instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
      instruction.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || (instruction.opcode & 0xF8) != 0xD8)
    return false;
  const uint8_t extension = instruction.raw.modrm.reg;
  if (instruction.opcode == 0xD9) return extension < 4;
  return instruction.opcode != 0xDD || extension < 4 || extension == 5;
}

// The register that holds the address by itself, or kNoRegister.
int8_t implied_address(const Decoded& decoded) {
  switch (decoded.instruction.mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_MASKMOVQ:
      return kFromHardware[kRdi];
    case ZYDIS_MNEMONIC_CLZERO:
    case ZYDIS_MNEMONIC_MONITORX:
      return kFromHardware[kRax];
    case ZYDIS_MNEMONIC_UMONITOR:
      return register_index(decoded.operands[0].reg.value);
    default:
      return kNoRegister;
  }
}

// Those whose address is in a register that Zydis does not call a memory operand.
void describe_implied(Site& site, const Decoded& decoded, const ZydisDecodedOperand* memory) {
  site.scratch = implied_address(decoded);
  if (memory) return;
  site.base = site.scratch;
  site.bytes = 1;
  const ZydisInstructionAttributes prefixes = decoded.instruction.attributes;
  if (prefixes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) site.segment = Segment::kFs;
  if (prefixes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) site.segment = Segment::kGs;
  if (decoded.instruction.mnemonic != ZYDIS_MNEMONIC_CLZERO) return;
  site.line = 1;
  site.bytes = 64;
}

void choose_scratch(Site& site, const Decoded& decoded) {
  const bool two = site.form == Form::kLoadTile || site.form == Form::kStoreTile;
  const FreeRegisters found = free_registers(decoded);
  site.scratch = found.first;
  if (two) site.second_scratch = found.second;
  if (site.scratch == kNoRegister || (two && site.second_scratch == kNoRegister))
    site.form = Form::kUnknown;
}

// ---- Instructions newer than Zydis --------------------------------------------------------------

// Each is decoded as one that it knows and that has operands in the same places and of the same
// size. What is executed are the instruction's own bytes.
bool decode_as(const uint8_t* code, Decoded& decoded) {
  return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, kMaxInstruction, &decoded.instruction,
                                             decoded.operands));
}

// CMPccXADD: VEX.128.66.0F38 E0..EF, as SHLX. It is atomic without a LOCK.
bool decode_compare_add(const uint8_t* code, Decoded& decoded) {
  if (code[0] != 0xC4 || (code[1] & 0x1F) != 2 || (code[2] & 7) != 1 || (code[3] & 0xF0) != 0xE0)
    return false;
  uint8_t as[kMaxInstruction];
  memcpy(as, code, sizeof as);
  as[3] = 0xF7;
  return decode_as(as, decoded);
}

// AADD, AAND, AXOR, AOR: none, 66, F3 or F2, then 0F 38 FC; as instructions of a register and
// memory with the same prefix: MOVDIRI, ADCX, ADOX, CRC32. They are atomic without a LOCK.
bool decode_remote_atomic(const uint8_t* code, Decoded& decoded) {
  uint8_t as[kMaxInstruction];
  memcpy(as, code, sizeof as);
  uint8_t like = 0xF9;
  for (uint32_t at = 0; at + 3 < kMaxInstruction; ++at) {
    if (code[at] == 0x0F) {
      if (code[at + 1] != 0x38 || code[at + 2] != 0xFC) return false;
      as[at + 2] = like;
      return decode_as(as, decoded);
    }
    const bool prefix = code[at] == 0x64 || code[at] == 0x65 || code[at] == 0x67;
    const bool rex = (code[at] & 0xF0) == 0x40;
    if (code[at] == 0x66 || code[at] == 0xF3)
      like = 0xF6;
    else if (code[at] == 0xF2)
      like = 0xF1;
    else if (!prefix && !rex)
      return false;
  }
  return false;
}

// Can another address be put into the instruction? Not into OUTS and INS, and not into one between
// registers, as XCHG may be: that one has not faulted, it was written over what has.
bool names_its_memory(const Decoded& decoded, Form form) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  const bool in_modrm =
      instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM && instruction.raw.modrm.mod != 3;
  return in_modrm || is_moffs(instruction) || address_is_implied(decoded) ||
         form == Form::kPopSegment;
}

bool decode(const uint8_t* code, Decoded& decoded, bool* atomic) {
  if (decode_as(code, decoded)) return true;
  *atomic = decode_compare_add(code, decoded) || decode_remote_atomic(code, decoded);
  return *atomic;
}

}  // namespace

bool is_moffs(const ZydisDecodedInstruction& instruction) {
  return instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
         instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && instruction.opcode >= 0xA0 &&
         instruction.opcode <= 0xA3;
}

uint8_t vector_mask_store_opcode(const ZydisDecodedInstruction& instruction) {
  if (instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX ||
      instruction.opcode_map != ZYDIS_OPCODE_MAP_0F38)
    return 0;
  switch (instruction.opcode) {
    case 0x2C:
    case 0x2E:
      return 0x2E;
    case 0x2D:
    case 0x2F:
      return 0x2F;
    case 0x8C:
    case 0x8E:
      return 0x8E;
    default:
      return 0;
  }
}

bool address_is_implied(const Decoded& decoded) { return implied_address(decoded) != kNoRegister; }

namespace {

// Of the moves that demand it, and of SSE's other instructions, an operand of 16 bytes and more has
// to be aligned.
bool takes_unaligned(const ZydisDecodedInstruction& instruction) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_LDDQU:
      return true;
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVDQA32:
    case ZYDIS_MNEMONIC_VMOVDQA64:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
      return false;
    default:
      return instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ||
             instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
  }
}

}  // namespace

bool describe(Thread* thread, Site& site, Decoded& decoded) {
  ForeignCode foreign(thread);
  bool atomic = false;
  if (!decode(site.code, decoded, &atomic)) return false;
  const ZydisDecodedOperand* memory = memory_operand(decoded);
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  site.length = instruction.length;
  site.base = site.index = site.scratch = site.second_scratch = kNoRegister;
  site.bit_register = site.value_register = kNoRegister;
  site.address32 = instruction.address_width == 32;
  site.form = atomic ? Form::kAtomic : form_of(decoded, memory);
  if (runs_core(site.form) && !names_its_memory(decoded, site.form)) site.form = Form::kUnknown;
  site.x87 = sets_x87_pointers(instruction);
  site.unaligned = takes_unaligned(instruction);
  site.converts =
      site.form == Form::kMaskedStore && instruction.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH;
  if (memory) describe_memory(site, decoded, *memory);
  if (site.form == Form::kGather) describe_gather(site, decoded, *memory);
  if (site.form == Form::kSaveState || site.form == Form::kLoadState) describe_state(site, decoded);
  if (instruction.meta.category == ZYDIS_CATEGORY_STRINGOP) describe_string(site, decoded);
  describe_stack(site, decoded);
  describe_bit_test(site, decoded);
  if (site.form == Form::kLoadTile || site.form == Form::kStoreTile)
    site.tile = instruction.raw.modrm.reg;
  if (address_is_implied(decoded))
    describe_implied(site, decoded, memory);
  else if (runs_core(site.form))
    choose_scratch(site, decoded);
  return true;
}

bool decode_plain(Thread* thread, const uint8_t code[kMaxInstruction], Decoded* decoded) {
  ForeignCode foreign(thread);
  bool atomic;
  return decode(code, *decoded, &atomic);
}

uint64_t segment_base(const Site& site) {
  if (site.segment == Segment::kNone) return 0;
  return site.segment == Segment::kFs ? read_fs_base() : current_thread()->program_gs;
}

uint64_t effective_address(const Site& site, const Regs& regs, uint64_t vector_index) {
  uint64_t address = static_cast<uint64_t>(site.displacement) + vector_index * site.scale;
  if (site.rip_relative) address += site.ip + site.length;
  if (site.base != kNoRegister) address += reg(regs, site.base);
  if (site.index != kNoRegister) address += reg(regs, site.index) * site.scale;
  address = address_in(site, address) + segment_base(site);
  if (site.line) address &= ~uint64_t{63};
  if (site.bit_register != kNoRegister) {
    const int bits = static_cast<int>(site.bytes * 8);
    const int64_t value =
        static_cast<int64_t>(reg(regs, site.bit_register) << (64 - bits)) >> (64 - bits);
    const int shift = site.bytes == 2 ? 4 : site.bytes == 4 ? 5 : 6;
    address += static_cast<uint64_t>((value >> shift) * site.bytes);
  }
  return address;
}

void decode_start(Thread* thread) {
  ForeignCode foreign(thread);
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  // A 66 prefix makes near branches have 16 bits on AMD's processors, and nothing on others'.
  ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, made_by_amd());
}

}  // namespace shmrec::agent
