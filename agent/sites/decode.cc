#include "agent/sites/decode.h"

#include <Zydis/Zydis.h>
#include <linux/mman.h>

#include <initializer_list>

#include "agent/agent_abi.h"

extern "C" {
void shmrec_access_enter();
void shmrec_access_leave();
}

namespace shmrec::agent {
namespace {

constexpr uint32_t kMaxSites = 1 << 16;
constexpr uint32_t kBuckets = 1 << 14;
constexpr uint32_t kSiteCodeBytes = 128;
constexpr uint32_t kMaxSiteBytes = 4096;  // longer operands (XSAVE with AMX) take the slow path

Site sites[kMaxSites];  // .bss: untouched pages cost nothing
Site* buckets[kBuckets];
uint32_t site_count = 1;
uint8_t* code_next = nullptr;  // set by decode_start
SpinLock sites_lock;
ZydisDecoder decoder;

// Zydis is ordinary compiled code: its stack protector reads %fs:0x28, which is the program's.
struct ForeignCode {
  explicit ForeignCode(Thread* thread) : saved(read_fs_base()) {
    write_fs_base(thread->canary_base);
  }
  ~ForeignCode() { write_fs_base(saved); }
  uint64_t saved;
};

// Registers by hardware number (rax rcx rdx rbx rsp rbp rsi rdi r8..r15) as an index into Regs.
constexpr int8_t kFromHardware[16] = {13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7};

int8_t register_index(ZydisRegister which) {
  if (which == ZYDIS_REGISTER_NONE) return kNoRegister;
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, which);
  if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return kNoRegister;
  return kFromHardware[whole - ZYDIS_REGISTER_RAX];
}

struct Decoded {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

bool is_memory(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type != ZYDIS_MEMOP_TYPE_AGEN;
}

// The memory operand that an address is computed for: the first that is not the stack's own.
const ZydisDecodedOperand* memory_operand(const Decoded& decoded) {
  for (int i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    const bool stack = operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
                       operand.mem.base == ZYDIS_REGISTER_RSP;
    if (is_memory(operand) && !stack) return &operand;
  }
  return nullptr;
}

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
    {ZYDIS_MNEMONIC_LEAVE, Form::kLeave},
    {ZYDIS_MNEMONIC_PUSHFQ, Form::kPushFlags},
    {ZYDIS_MNEMONIC_POPFQ, Form::kPopFlags},
    {ZYDIS_MNEMONIC_XLAT, Form::kXlat},
    {ZYDIS_MNEMONIC_XCHG, Form::kAtomic},
    {ZYDIS_MNEMONIC_CLFLUSH, Form::kTouch},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, Form::kTouch},
    {ZYDIS_MNEMONIC_CLWB, Form::kTouch},
    {ZYDIS_MNEMONIC_CLDEMOTE, Form::kTouch},
    {ZYDIS_MNEMONIC_MASKMOVDQU, Form::kMaskedStore},
    {ZYDIS_MNEMONIC_VMASKMOVDQU, Form::kMaskedStore},
    {ZYDIS_MNEMONIC_MASKMOVQ, Form::kMaskedStore},
    {ZYDIS_MNEMONIC_FXSAVE, Form::kModify},
    {ZYDIS_MNEMONIC_FXSAVE64, Form::kModify},
    {ZYDIS_MNEMONIC_ENTER, Form::kStep},
    {ZYDIS_MNEMONIC_MOVDIR64B, Form::kStep},
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

// VMASKMOVPS/PD and VPMASKMOVD/Q: opcode of the store form for a load's, 0 if it is neither.
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

Form form_by_effect(const Decoded& decoded, const ZydisDecodedOperand& memory) {
  const bool reads = memory.actions & ZYDIS_OPERAND_ACTION_MASK_READ;
  const bool writes = memory.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
  const bool broadcast = decoded.instruction.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID;
  const bool masked = (has_mask(decoded.instruction) && !broadcast) ||
                      vector_mask_store_opcode(decoded.instruction);
  if (!memory.size || memory.size / 8 > kMaxSiteBytes) return Form::kStep;
  if (masked && memory.size / 8 <= 64) return writes ? Form::kMaskedStore : Form::kMaskedLoad;
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

Form form_of(const Decoded& decoded, const ZydisDecodedOperand* memory) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  if (instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
      instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX)
    return Form::kStep;
  if (instruction.meta.category == ZYDIS_CATEGORY_STRINGOP) {
    for (const StringForm& known : kStrings)
      if (known.mnemonic == instruction.mnemonic) return known.form;
    return Form::kStep;
  }
  for (const MnemonicForm& known : kByMnemonic)
    if (known.mnemonic == instruction.mnemonic) return known.form;
  if (!memory) return Form::kStep;
  if (memory->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
    return is_gather(instruction) ? Form::kGather : Form::kStep;
  return form_by_effect(decoded, *memory);
}

// A register that the instruction neither reads nor writes, from those that need no SIB byte, no
// displacement and no REX bit as a base.
int8_t free_register(const Decoded& decoded) {
  uint32_t used = 0;
  for (int i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    const int8_t index = register_index(operand.reg.value);
    if (index != kNoRegister) used |= 1u << index;
  }
  for (int hardware : {6, 7, 3, 2, 1, 0})
    if (!(used & 1u << kFromHardware[hardware])) return static_cast<int8_t>(hardware);
  return kNoRegister;
}

// ---- Emitting -----------------------------------------------------------------------------------

struct Emitter {
  uint8_t* at;
  void byte(uint8_t value) { *at++ = value; }
  void word32(uint32_t value) {
    memcpy(at, &value, 4);
    at += 4;
  }
  void jump(void (*target)()) {
    byte(0xE9);
    word32(static_cast<uint32_t>(reinterpret_cast<uint64_t>(target) -
                                 reinterpret_cast<uint64_t>(at) - 4));
  }
  // movq $value, %gs:offset
  void store_thread(uint32_t offset, uint32_t value) {
    for (uint8_t b : {0x65, 0x48, 0xC7, 0x04, 0x25}) byte(b);
    word32(offset);
    word32(value);
  }
  // movq %gs:offset, %hardware (one of the low eight)
  void load_thread(int hardware, uint32_t offset) {
    byte(0x65), byte(0x48), byte(0x8B);
    byte(static_cast<uint8_t>(0x04 | hardware << 3));
    byte(0x25);
    word32(offset);
  }
};

// The moffs forms A0..A3 have no ModRM: the same move with one.
bool emit_moffs(Emitter& out, const Site& site, const ZydisDecodedInstruction& instruction,
                int hardware) {
  if (instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
      instruction.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || instruction.opcode < 0xA0 ||
      instruction.opcode > 0xA3)
    return false;
  static constexpr uint8_t kWithModrm[4] = {0x8A, 0x8B, 0x88, 0x89};
  for (int i = 0; i < instruction.raw.prefix_count; ++i) {
    const uint8_t prefix = instruction.raw.prefixes[i].value;
    if (prefix == 0x66 || (prefix & 0xF0) == 0x40) out.byte(prefix);
  }
  out.byte(kWithModrm[instruction.opcode - 0xA0]);
  out.byte(static_cast<uint8_t>(hardware));
  (void)site;
  return true;
}

// Prefixes that have no part in an instruction on another address: fs, gs, 32-bit addresses.
bool changes_address(uint8_t prefix) { return prefix == 0x64 || prefix == 0x65 || prefix == 0x67; }

// The instruction with its memory operand replaced by (%hardware). `opcode`: another opcode, 0: its
// own.
void emit_on(Emitter& out, const Site& site, const ZydisDecodedInstruction& instruction,
             int hardware, uint8_t opcode = 0) {
  if (emit_moffs(out, site, instruction, hardware)) return;
  const uint8_t modrm_at = instruction.raw.modrm.offset;
  for (int i = 0; i < modrm_at; ++i) {
    uint8_t value = site.code[i];
    const bool prefix = i < instruction.raw.prefix_count;
    if (prefix && changes_address(value)) continue;
    const bool rex = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && prefix &&
                     (value & 0xF0) == 0x40;
    if (rex) value &= 0xFC;  // X and B
    if (instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && instruction.raw.vex.size == 3 &&
        i == instruction.raw.vex.offset + 1)
      value |= 0x60;
    if (instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
        i == instruction.raw.evex.offset + 1)
      value |= 0x60;
    if (opcode && i == modrm_at - 1) value = opcode;
    out.byte(value);
  }
  out.byte(static_cast<uint8_t>((site.code[modrm_at] & 0x38) | hardware));
  const uint8_t skip =
      modrm_at + 1 + (instruction.raw.sib.offset ? 1 : 0) + instruction.raw.disp.size / 8;
  for (int i = skip; i < site.length; ++i) out.byte(site.code[i]);
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

bool runs_core(Form form) { return form <= Form::kTouch; }

void emit_twice(Emitter& out, const Site& site, const Decoded& decoded, bool probe, int hardware,
                uint32_t element_bits) {
  const uint8_t vector_store = vector_mask_store_opcode(decoded.instruction);
  for (int round = 0; round < 2; ++round) {
    if (round) out.load_thread(hardware, offsetof(Thread, second_target));
    if (!site.rip_relative && site.form == Form::kMaskedStore && site.bit_register == -2) {
      for (int i = 0; i < site.length; ++i)
        if (i >= decoded.instruction.raw.prefix_count || !changes_address(site.code[i]))
          out.byte(site.code[i]);  // maskmovdqu: (%rdi) is implied
    } else if (probe && !vector_store) {
      emit_mask_probe(out, decoded.instruction, element_bits, hardware);
    } else {
      emit_on(out, site, decoded.instruction, hardware, vector_store);
    }
  }
  out.jump(shmrec_access_leave);
}

void emit(Site& site, const Decoded& decoded, const ZydisDecodedOperand* memory) {
  Emitter out{code_next};
  site.entry = reinterpret_cast<uint64_t>(out.at);
  out.store_thread(offsetof(Thread, site_index), site.index_in_table);
  out.jump(shmrec_access_enter);
  if (runs_core(site.form)) {
    int hardware = 0;
    while (kFromHardware[hardware] != site.scratch) ++hardware;
    const uint32_t element_bits = memory ? memory->element_size : 0;
    if (site.form == Form::kMaskedLoad) {
      site.probe = reinterpret_cast<uint64_t>(out.at);
      emit_twice(out, site, decoded, true, hardware, element_bits);
    }
    site.core = reinterpret_cast<uint64_t>(out.at);
    if (site.form == Form::kMaskedStore) {
      emit_twice(out, site, decoded, false, hardware, element_bits);
    } else {
      emit_on(out, site, decoded.instruction, hardware);
      out.jump(shmrec_access_leave);
    }
  }
  code_next += kSiteCodeBytes;
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

void describe_memory(Site& site, const Decoded& decoded, const ZydisDecodedOperand& memory) {
  site.bytes = memory.size / 8;
  site.rip_relative =
      memory.mem.base == ZYDIS_REGISTER_RIP || memory.mem.base == ZYDIS_REGISTER_EIP;
  site.base = site.rip_relative ? kNoRegister : register_index(memory.mem.base);
  site.index =
      memory.mem.type == ZYDIS_MEMOP_TYPE_VSIB ? kNoRegister : register_index(memory.mem.index);
  site.scale = memory.mem.scale;
  site.displacement = memory.mem.disp.has_displacement ? memory.mem.disp.value : 0;
  site.segment = segment_of(decoded, memory);
  site.address32 = decoded.instruction.address_width == 32;
  const ZydisMnemonic m = decoded.instruction.mnemonic;
  site.packed = m == ZYDIS_MNEMONIC_VEXPANDPS || m == ZYDIS_MNEMONIC_VEXPANDPD ||
                m == ZYDIS_MNEMONIC_VPEXPANDB || m == ZYDIS_MNEMONIC_VPEXPANDW ||
                m == ZYDIS_MNEMONIC_VPEXPANDD || m == ZYDIS_MNEMONIC_VPEXPANDQ;
}

void describe_special(Site& site, const Decoded& decoded) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  for (const StringForm& known : kStrings)
    if (known.mnemonic == instruction.mnemonic && known.form == site.form) site.bytes = known.bytes;
  if (instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) site.repeat = 1;
  if (instruction.attributes & ZYDIS_ATTRIB_HAS_REPNE) site.repeat = 2;
  site.value_bytes = instruction.operand_width == 16 ? 2 : 8;
  const ZydisDecodedOperand& first = decoded.operands[0];
  if (instruction.operand_count_visible == 0) return;
  site.value_is_memory = is_memory(first);
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

bool describe(Thread* thread, Site& site) {
  ForeignCode foreign(thread);
  Decoded decoded;
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, site.code, sizeof site.code,
                                           &decoded.instruction, decoded.operands)))
    return false;
  const ZydisDecodedOperand* memory = memory_operand(decoded);
  site.length = decoded.instruction.length;
  site.base = site.index = site.scratch = site.bit_register = site.value_register = kNoRegister;
  site.form = form_of(decoded, memory);
  if (memory) describe_memory(site, decoded, *memory);
  if (site.form == Form::kGather) describe_gather(site, decoded, *memory);
  describe_special(site, decoded);
  describe_bit_test(site, decoded);
  const bool implied_rdi = decoded.instruction.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
                           decoded.instruction.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU ||
                           decoded.instruction.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
  if (implied_rdi) {
    site.bit_register = -2;
    site.scratch = kFromHardware[7];
  } else if (runs_core(site.form)) {
    const int8_t hardware = free_register(decoded);
    if (hardware == kNoRegister)
      site.form = Form::kStep;
    else
      site.scratch = kFromHardware[hardware];
  }
  emit(site, decoded, memory);
  return true;
}

Site* find(uint64_t ip, const uint8_t* code, size_t bytes) {
  for (Site* site = load(&buckets[(ip ^ ip >> 14) % kBuckets]); site; site = site->next)
    if (site->ip == ip && site->length <= bytes && memcmp(site->code, code, site->length) == 0)
      return site;
  return nullptr;
}

// The instruction's bytes; those behind the end of its page count only if they are there.
size_t read_code(uint64_t ip, uint8_t* code) {
  const size_t here = min<size_t>(15, page_up(ip + 1) - ip);
  memset(code, 0, 15);
  if (!safe_copy(code, reinterpret_cast<const void*>(ip), here)) return 0;
  if (here < 15 && safe_copy(code + here, reinterpret_cast<const void*>(ip + here), 15 - here))
    return 15;
  return here;
}

}  // namespace

Site& site_at(uint64_t index) { return sites[index]; }

Site* site_for(Thread* thread, uint64_t ip) {
  uint8_t code[15];
  const size_t bytes = read_code(ip, code);
  if (!bytes) return nullptr;
  if (Site* known = find(ip, code, bytes)) return known;
  Locked lock(sites_lock);
  if (Site* known = find(ip, code, bytes)) return known;
  if (site_count == kMaxSites) return nullptr;
  Site& site = sites[site_count];
  memset(&site, 0, sizeof site);
  site.ip = ip;
  site.index_in_table = site_count;
  memcpy(site.code, code, sizeof code);
  if (!describe(thread, site) || site.length > bytes) return nullptr;
  ++site_count;
  Site** bucket = &buckets[(ip ^ ip >> 14) % kBuckets];
  site.next = *bucket;
  store(bucket, &site);
  return &site;
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
  if (site.address32) address = static_cast<uint32_t>(address);
  address += segment_base(site);
  if (site.bit_register >= 0) {
    const int bits = site.bytes * 8;
    const int64_t value =
        static_cast<int64_t>(reg(regs, site.bit_register) << (64 - bits)) >> (64 - bits);
    const int shift = site.bytes == 2 ? 4 : site.bytes == 4 ? 5 : 6;
    address += static_cast<uint64_t>((value >> shift) * site.bytes);
  }
  return address;
}

void decode_start(Thread* thread) {
  ForeignCode foreign(thread);
  code_next = reinterpret_cast<uint8_t*>(code_base());
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
}

void decode_after_fork() { sites_lock.reset(); }

}  // namespace shmrec::agent
