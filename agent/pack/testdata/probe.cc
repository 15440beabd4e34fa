// The smallest agent: injected, it goes on at once; called with BootInfo::mode 0 it decodes one
// instruction with the Zydis it was packed with. Flags and packing are the agent's own.
//
// Context: as the agent's (agent/runtime.h).
#include "agent/pack/testdata/probe.h"

#include <stddef.h>

#include "agent/agent_abi.h"

#define EXPORT __attribute__((visibility("default")))

shmrec::agent::ImageLayout shmrec_image_layout;

namespace {
unsigned char bss[3 * 4096];
}

extern "C" {

EXPORT shmrec::agent::BootInfo shmrec_boot_info = {};

EXPORT void* memcpy(void* to, const void* from, size_t bytes) {
  void* const result = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
  return result;
}

EXPORT void* memset(void* to, int value, size_t bytes) {
  void* const result = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return result;
}

EXPORT size_t strlen(const char* text) {
  size_t bytes = 0;
  while (text[bytes] != '\0') ++bytes;
  return bytes;
}

EXPORT void __stack_chk_fail() { __builtin_trap(); }
EXPORT void __assert_fail(const char*, const char*, unsigned, const char*) { __builtin_trap(); }

ZyanStatus probe_decode(ProbeCall* call) {
  for (unsigned char byte : bss) call->nonzero_bss_bytes += byte != 0;
  memset(bss, 1, sizeof bss);
  call->layout = shmrec_image_layout;
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  return ZydisDecoderDecodeFull(&decoder, call->code, call->code_bytes, &call->instruction,
                                call->operands);
}

}  // extern "C"

// BootInfo: mode at 4, resume_address at 8.
asm(R"(
  .text
  .globl shmrec_agent_entry
  .type shmrec_agent_entry, @function
shmrec_agent_entry:
  cmpl $0, 4+shmrec_boot_info(%rip)
  je probe_decode
  jmp *8+shmrec_boot_info(%rip)
)");
