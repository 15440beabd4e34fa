// What an instruction does to memory, found out by Zydis: fills in a Site.
//
// Context: any thread; Zydis allocates nothing and keeps no state but the decoder, set up once.
#pragma once

#include <Zydis/Zydis.h>

#include "agent/sites/site.h"

namespace shmrec::agent {

struct Decoded {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

// Registers by hardware number (rax rcx rdx rbx rsp rbp rsi rdi r8..r15) as an index into Regs.
constexpr int8_t kFromHardware[16] = {13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7};
// And back. REQUIRES: index >= 0.
inline int hardware_of(int8_t index) {
  int hardware = 0;
  while (kFromHardware[hardware] != index) ++hardware;
  return hardware;
}
// Those that the agent names, by hardware number.
enum Hardware : int { kRax = 0, kRcx = 1, kRdx = 2, kRbx = 3, kRsp = 4, kRsi = 6, kRdi = 7 };

// The index into Regs of the general register that `which` is a part of; kNoRegister: of none.
int8_t register_index(ZydisRegister which);
// Is it memory that is read or written?
bool is_memory(const ZydisDecodedOperand& operand);

// Does this register of the hardware hold the address by itself, with no ModRM that names it
// (maskmov: rdi; clzero, monitorx: rax)? Then `core` is the instruction as it is.
bool address_is_implied(const Decoded& decoded);
// The forms A0..A3 of MOV, whose address stands in the instruction without a ModRM.
bool is_moffs(const ZydisDecodedInstruction& instruction);
// VMASKMOVPS/PD and VPMASKMOVD/Q: opcode of the store form for a load's, 0 if it is neither.
uint8_t vector_mask_store_opcode(const ZydisDecodedInstruction& instruction);

// Describes the instruction in site.code; site.ip is set, the rest is zero. False: its bytes are no
// instruction that is known.
bool describe(Thread* thread, Site& site, Decoded& decoded);

// Decodes an instruction for its own sake.
bool decode_plain(Thread* thread, const uint8_t code[kMaxInstruction], Decoded* decoded);

void decode_start(Thread* thread);

}  // namespace shmrec::agent
