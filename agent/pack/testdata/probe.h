// What tests ask of the probe, a stand-in for the agent: see probe.cc.
#pragma once

#include <Zydis/Zydis.h>

#include "agent/image_layout.h"

struct ProbeCall {
  const unsigned char* code;
  uint64_t code_bytes;
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  shmrec::agent::ImageLayout layout;  // as the probe sees it
  uint64_t nonzero_bss_bytes;         // found in its .bss, which it then fills
};

// The image's entry while BootInfo::mode is 0. Returns the ZyanStatus of the decoder.
using ProbeEntry = ZyanStatus (*)(ProbeCall*);
