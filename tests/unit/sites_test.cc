// What the agent finds out about instructions, and the code that it makes to perform them
// elsewhere: for encodings of every kind, also those that the processor at hand does not have. What
// the code does is tried by the victims insn_*.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "agent/sites/emit.h"

extern "C" void shmrec_access_leave() {}

namespace shmrec::agent {

namespace {
bool amd = false;
}
bool made_by_amd() { return amd; }

namespace {

using Bytes = std::vector<uint8_t>;

struct Made {
  bool known;
  Site site;
  Bytes core, probe;
};

Made make(const Bytes& instruction, bool on_amd = false) {
  static Thread thread;
  thread.canary_base = read_fs_base();
  amd = on_amd;
  decode_start(&thread);
  Made made = {};
  Decoded decoded;
  made.site.ip = 0x401000;
  memcpy(made.site.code, instruction.data(), instruction.size());
  made.known = describe(&thread, made.site, decoded);
  if (!made.known) return made;
  uint8_t code[kSiteCodeBytes + 16];
  memset(code, 0xCC, sizeof code);
  emit(made.site, decoded, code);
  const auto bytes_at = [](uint64_t at) {
    const uint8_t* from = reinterpret_cast<const uint8_t*>(at);
    return at ? Bytes(from, from + kMaxInstruction) : Bytes();
  };
  made.core = bytes_at(made.site.core);
  made.probe = bytes_at(made.site.probe);
  EXPECT_EQ(code[kSiteCodeBytes], 0xCC) << "more code than a site has room for";
  return made;
}

std::string text(const Bytes& instruction) {
  ZydisDisassembledInstruction decoded;
  if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, instruction.data(),
                                          instruction.size(), &decoded)))
    return "(unknown)";
  return decoded.text;
}

struct Case {
  Bytes instruction;
  Form form;
  uint32_t bytes;    // 0: not looked at
  const char* core;  // as text; null: none
};

TEST(Sites, AnInstructionIsMovedToAnotherAddressWithAllElseAsItWas) {
  const Case cases[] = {
      {{0x8B, 0x46, 0x08}, Form::kLoad, 4, "mov eax, [rsi]"},
      {{0x4D, 0x89, 0x44, 0xCD, 0x10}, Form::kStore, 8, "mov [rsi], r8"},
      {{0x65, 0x67, 0x66, 0x41, 0x01, 0x0C, 0x24}, Form::kModify, 2, "add [rsi], cx"},
      {{0xF0, 0x0F, 0xC7, 0x0E}, Form::kAtomic, 8, "lock cmpxchg8b [rsi]"},
      {{0x48, 0xA1, 1, 2, 3, 4, 5, 6, 7, 0}, Form::kLoad, 8, "mov rax, [rsi]"},
      {{0xC4, 0xC1, 0x7C, 0x10, 0x06}, Form::kLoad, 32, "vmovups ymm0, [rsi]"},
      {{0x62, 0xD1, 0x7C, 0x49, 0x11, 0x4E, 0x01},
       Form::kMaskedStore,
       64,
       "vmovups zmmword ptr [rsi] {k1}, zmm1"},
      {{0x62, 0xD1, 0x7C, 0xC9, 0x10, 0x4E, 0x01},
       Form::kMaskedLoad,
       64,
       "vmovups zmm1 {k1} {z}, zmmword ptr [rsi]"},
      {{0x8F, 0xC8, 0x78, 0xA2, 0x16, 0x00}, Form::kLoad, 16, "vpcmov xmm2, xmm0, [rsi], xmm0"},
      {{0x0F, 0x0F, 0x46, 0x08, 0x9E}, Form::kLoad, 8, "pfadd mm0, [rsi]"},
      {{0xC4, 0xE2, 0x7B, 0x4B, 0x0C, 0x8E}, Form::kLoadTile, 0, "tileloadd tmm1, [rsi+rdi*1]"},
      {{0xC4, 0xC2, 0x7A, 0x4B, 0x14, 0x4C}, Form::kStoreTile, 0, "tilestored [rsi+rdi*1], tmm2"},
      {{0x0F, 0x01, 0xFC}, Form::kStore, 64, "clzero rax"},
      {{0xF3, 0x0F, 0xAE, 0xF2}, Form::kTouch, 1, "umonitor rdx"},
      {{0x64, 0x67, 0x66, 0x0F, 0xF7, 0xC1}, Form::kMaskedStore, 16, "maskmovdqu xmm0, xmm1"},
      {{0x0F, 0xA1}, Form::kPopSegment, 0, "mov fs, [rsi]"},
      {{0x48, 0x0F, 0xC7, 0x66, 0x40}, Form::kSaveState, 0, "xsavec64 [rsi]"},
      {{0xF3, 0xA4}, Form::kMovs, 1, nullptr},
      {{0xC8, 0x10, 0x00, 0x22}, Form::kEnter, 0, nullptr},
      {{0x66, 0x0F, 0x38, 0xF8, 0x06}, Form::kMoveDirect, 64, nullptr},
      {{0xFF, 0x2E}, Form::kFarJump, 6, nullptr},
      {{0x48, 0xCF}, Form::kInterruptReturn, 0, nullptr},
      {{0x62, 0xF2, 0x7D, 0x49, 0x90, 0x0C, 0x16}, Form::kGather, 4, nullptr},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(text(one.instruction));
    const Made made = make(one.instruction);
    ASSERT_TRUE(made.known);
    EXPECT_EQ(static_cast<int>(made.site.form), static_cast<int>(one.form));
    if (one.bytes) {
      EXPECT_EQ(made.site.bytes, one.bytes);
    }
    if (one.core) {
      EXPECT_EQ(text(made.core), one.core);
    }
    EXPECT_EQ(made.core.empty(), !one.core);
  }
}

// What the processor ignores where it stands must not come to count where it is moved to.
TEST(Sites, PrefixesThatMeanNothingAreNotMoved) {
  const Made by_offset = make({0x4D, 0xA2, 1, 2, 3, 4, 5, 6, 7, 0});  // REX.WRB mov %al, 0x...
  EXPECT_EQ(text(by_offset.core), "mov [rsi], al");
  const Made narrow = make({0x48, 0x65, 0xFF, 0x00});  // REX.W before gs: incl %gs:(%rax)
  EXPECT_EQ(narrow.site.bytes, 4u);
  EXPECT_EQ(Bytes(narrow.core.begin(), narrow.core.begin() + 2), (Bytes{0xFF, 0x06}));
}

// They cannot have faulted: their code was written over while the fault was on its way.
TEST(Sites, InstructionsWithoutAnAddressAreNotPerformed) {
  const Bytes refused[] = {{0x97},                           // xchg %edi, %eax
                           {0x87, 0xC1},                     // xchg %ecx, %eax
                           {0x6F},                           // outsl
                           {0xC4, 0xE2, 0x69, 0xE2, 0xC1}};  // cmpbexadd of registers
  for (const Bytes& instruction : refused) {
    const Made made = make(instruction);
    EXPECT_TRUE(!made.known || made.site.form == Form::kUnknown) << text(instruction);
    EXPECT_TRUE(made.core.empty()) << text(instruction);
  }
}

TEST(Sites, WhatLoadsGsOrGoesToADeviceIsNotPerformed) {
  const Bytes refused[] = {{0x8E, 0x2E},                     // mov (%rsi), %gs
                           {0x0F, 0xA9},                     // pop %gs
                           {0x0F, 0xB5, 0x06},               // lgs (%rsi), %eax
                           {0xF2, 0x0F, 0x38, 0xF8, 0x06}};  // enqcmd (%rsi), %rax
  for (const Bytes& instruction : refused)
    EXPECT_EQ(make(instruction).site.form, Form::kUnknown) << text(instruction);
}

TEST(Sites, AtomicsThatTheDecoderDoesNotKnowArePerformedAsTheyAre) {
  const Made compare = make({0xC4, 0xC2, 0x79, 0xE4, 0x44, 0x24, 0x08});  // cmpzxadd, 8(%r12)
  ASSERT_TRUE(compare.known);
  EXPECT_EQ(compare.site.form, Form::kAtomic);
  EXPECT_EQ(compare.site.bytes, 4u);
  EXPECT_EQ(compare.site.displacement, 8);
  EXPECT_EQ(Bytes(compare.core.begin(), compare.core.begin() + 5),
            (Bytes{0xC4, 0xE2, 0x79, 0xE4, 0x06}));
  const Made add = make({0xF2, 0x49, 0x0F, 0x38, 0xFC, 0x04, 0x24});  // aor %rax, (%r12)
  ASSERT_TRUE(add.known);
  EXPECT_EQ(add.site.form, Form::kAtomic);
  EXPECT_EQ(add.site.bytes, 8u);
  EXPECT_EQ(add.site.length, 7);
  EXPECT_EQ(Bytes(add.core.begin(), add.core.begin() + 6),
            (Bytes{0xF2, 0x48, 0x0F, 0x38, 0xFC, 0x06}));
}

TEST(Sites, AnOperandSizePrefixShortensBranchesOnSomeProcessorsOnly) {
  EXPECT_EQ(make({0x66, 0xC3}, false).site.value_bytes, 8);
  EXPECT_EQ(make({0x66, 0xC3}, true).site.value_bytes, 2);
  EXPECT_EQ(make({0x48, 0x0F, 0xB2, 0x06}, false).site.bytes, 10u);  // lss (%rsi), %rax
  EXPECT_EQ(make({0x48, 0x0F, 0xB2, 0x06}, true).site.bytes, 6u);
}

TEST(Sites, OnlyInstructionsThatLeavePointersInX87AreCorrected) {
  EXPECT_TRUE(make({0xDD, 0x06}).site.x87);         // fldl (%rsi)
  EXPECT_TRUE(make({0xDB, 0x3E}).site.x87);         // fstpt (%rsi)
  EXPECT_FALSE(make({0xD9, 0x2E}).site.x87);        // fldcw (%rsi)
  EXPECT_FALSE(make({0xDD, 0x36}).site.x87);        // fnsave (%rsi)
  EXPECT_FALSE(make({0x0F, 0x6F, 0x06}).site.x87);  // movq (%rsi), %mm0
}

}  // namespace
}  // namespace shmrec::agent
