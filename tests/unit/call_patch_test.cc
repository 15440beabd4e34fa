// Syscall instructions that are patched: what may be overwritten around them, where the jump's
// bytes trap, and that the program goes on as if nothing had been. The code is made by the agent's
// own functions and executed; what stands for the agent's answer to the call makes it.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

// After libc's: the agent declares memcpy and others once more, without noexcept.
// clang-format off
#include "agent/patches/arena.h"
#include "agent/patches/call_stub.h"
#include "agent/patches/tactics.h"
#include "agent/sites/table.h"
// clang-format on

namespace shmrec::agent {

bool filtered = false;
bool lets_pass(int64_t, const uint64_t*) { return true; }
bool safe_copy(void* to, const void* from, size_t bytes, Fault*) {
  memcpy(to, from, bytes);
  return true;
}
bool code_copy(uint64_t ip, uint8_t code[kMaxInstruction]) {
  memcpy(code, reinterpret_cast<void*>(ip), kMaxInstruction);
  return true;
}
bool made_by_amd() { return false; }
bool stub_possible(const Site&) { return false; }
bool stub_emit(const CoveredCode&, uint64_t, uint8_t*, StubLayout*) { return false; }
Site* site_pin(Thread*, uint64_t) { return nullptr; }
Site* site_pin_routine(Thread*, uint64_t, Routine) { return nullptr; }
void site_unpin(Site&) {}
uint64_t patch_resume(uint64_t ip) { return ip; }

namespace {

using Bytes = std::vector<uint8_t>;

// Makes the call, as the agent's entry does it for one that needs nothing.
extern "C" void make_call();
asm(".text\n"
    "make_call:\n"
    "mov %rcx, %gs:472\n"  // Thread::call_behind
    "mov %r11, %gs:480\n"  // Thread::call_exit
    "syscall\n"
    "mov %gs:472, %rcx\n"
    "jmp *%gs:480\n");

// Calls code with rax, and returns what it leaves in rax and rcx.
struct Result {
  uint64_t rax, rcx;
};
Result run(const uint8_t* code, uint64_t rax) {
  uint64_t rcx;
  asm volatile("call *%2" : "+a"(rax), "=&c"(rcx) : "r"(code) : "r11", "memory", "cc");
  return {rax, rcx};
}

class CallPatch : public testing::Test {
 protected:
  void SetUp() override {
    page_ = static_cast<uint8_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(page_, MAP_FAILED);
    memset(page_, 0xCC, 4096);
    thread_.canary_base = read_fs_base();
    thread_.call_entry = reinterpret_cast<uint64_t>(make_call);
    decode_start(&thread_);
  }
  void TearDown() override { munmap(page_, 4096); }

  uint64_t put(const Bytes& code) {
    memcpy(site(), code.data(), code.size());
    return reinterpret_cast<uint64_t>(site());
  }
  uint8_t* site() const { return page_ + 2048; }

  bool plan(const Bytes& code, uint8_t first = 1) {
    return plan_call(&thread_, put(code), 1, first, &plan_);
  }
  int64_t distance() const {
    return static_cast<int64_t>(plan_.stub - (plan_.covered.ip + kJumpBytes));
  }

  // Writes stub and jump, and runs the site.
  Result patch_and_run(uint64_t number) {
    uint8_t stub[kMaxStubBytes];
    StubLayout layout;
    EXPECT_TRUE(plan_emit(plan_.covered, plan_.stub, stub, &layout));
    const uint64_t arena = plan_.stub & ~(kArenaBytes - 1);
    mprotect(reinterpret_cast<void*>(arena), kArenaBytes, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(reinterpret_cast<void*>(plan_.stub), stub, layout.bytes);
    const int32_t jump = static_cast<int32_t>(distance());
    site()[0] = 0xE9;
    memcpy(site() + 1, &jump, 4);
    write_gs_base(reinterpret_cast<uint64_t>(&thread_));
    const Result result = run(site(), number);
    write_gs_base(0);
    return result;
  }

  void expect_runs() {
    const Result result = patch_and_run(39 /* getpid */);
    EXPECT_EQ(result.rax, static_cast<uint64_t>(getpid()));
    EXPECT_EQ(result.rcx, reinterpret_cast<uint64_t>(site()) + 2);
  }

  uint8_t* page_ = nullptr;
  alignas(64) Thread thread_ = {};
  Plan plan_ = {};
};

constexpr uint8_t kRelocation = 2;

bool traps(uint8_t byte) {
  ZydisDisassembledInstruction decoded;
  const uint8_t code[16] = {byte};
  const bool known = ZYAN_SUCCESS(
      ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, code, sizeof code, &decoded));
  return !known || byte == 0xF4 || byte == 0xFA || byte == 0xFB;  // hlt, cli, sti
}

TEST_F(CallPatch, TheComparisonBehindACallMovesWithItAndTrapsWhereItWas) {
  // cmp $-4096, %rax; ja +1; ret; ret
  ASSERT_TRUE(plan({0x0F, 0x05, 0x48, 0x3D, 0x00, 0xF0, 0xFF, 0xFF, 0x77, 0x01, 0xC3, 0xC3}));
  EXPECT_EQ(plan_.tactic, kRelocation);
  EXPECT_EQ(plan_.covered.count, 2u);
  EXPECT_EQ(plan_.covered.bytes, 8u);
  EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> 8)));
  expect_runs();
}

TEST_F(CallPatch, PaddingBehindAReturnMayBeOverwritten) {
  ASSERT_TRUE(plan({0x0F, 0x05, 0xC3, 0x0F, 0x1F, 0x40, 0x00}));
  EXPECT_EQ(plan_.tactic, kRelocation);
  EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> 8)));
  EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> 16)));
  expect_runs();
}

// Calls have no lock prefix themselves. What moves with one may have.
TEST_F(CallPatch, TheByteBehindALockPrefixTrapsToo) {
  // lock incl (%rdi); ret
  ASSERT_TRUE(plan({0x0F, 0x05, 0xF0, 0xFF, 0x07, 0xC3}));
  EXPECT_EQ(plan_.tactic, kRelocation);
  EXPECT_EQ(plan_.arrivals.starts, 0b00101);
  EXPECT_EQ(plan_.arrivals.inner, 0b01000);
  EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> 8)));
  EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> 16)));
}

TEST_F(CallPatch, SoItDoesInTheThirdInstruction) {
  // cmc; lock incl (%rdi); ret
  ASSERT_TRUE(plan({0x0F, 0x05, 0xF5, 0xF0, 0xFF, 0x07, 0xC3}));
  EXPECT_EQ(plan_.arrivals.starts, 0b01101);
  EXPECT_EQ(plan_.arrivals.inner, 0b10000);
  for (const int shift : {8, 16, 24}) EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> shift)));
}

TEST_F(CallPatch, ALockPrefixMayStandBehindOthers) {
  // lock incw (%rdi) with the operand's size first; ret
  ASSERT_TRUE(plan({0x0F, 0x05, 0x66, 0xF0, 0xFF, 0x07, 0xC3}));
  EXPECT_EQ(plan_.arrivals.inner, 0b10000);
  EXPECT_TRUE(traps(static_cast<uint8_t>(distance() >> 24)));
}

TEST_F(CallPatch, WhatTheJumpDoesNotReachNeedsNoTrap) {
  // cmc; cmc; lock incl (%rdi): its opcode is byte 5, which stays
  ASSERT_TRUE(plan({0x0F, 0x05, 0xF5, 0xF5, 0xF0, 0xFF, 0x07, 0xC3}));
  EXPECT_EQ(plan_.arrivals.starts, 0b11101);
  EXPECT_EQ(plan_.arrivals.inner, 0);
  // A byte like the prefix that is none: cmp $0xF0, %al
  ASSERT_TRUE(plan({0x0F, 0x05, 0x3C, 0xF0, 0xC3, 0xC3}));
  EXPECT_EQ(plan_.arrivals.inner, 0);
}

TEST_F(CallPatch, WhatIsBehindAReturnAndNotPaddingStaysAsItIs) {
  const Bytes code = {0x0F, 0x05, 0xC3, 0x31, 0xC0, 0xC3};  // ret; xor %eax, %eax; ret
  if (!plan(code)) GTEST_SKIP() << "there is no room at just that place";
  EXPECT_EQ(plan_.tactic, kPunning);
  EXPECT_EQ(plan_.covered.count, 1u);
  expect_runs();
  EXPECT_EQ(memcmp(site() + 2, code.data() + 2, 4), 0);
}

TEST_F(CallPatch, ABranchLeadsWhereItLed) {
  // test %eax, %eax; js; mov $-1, %eax; ret
  ASSERT_TRUE(plan({0x0F, 0x05, 0x85, 0xC0, 0x79, 0x06, 0xB8, 0xFF, 0xFF, 0xFF, 0xFF, 0xC3, 0xC3}));
  EXPECT_EQ(plan_.covered.count, 3u);
  expect_runs();
}

TEST_F(CallPatch, ABranchThatIsNotTakenGoesOnBehindTheJump) {
  // test %eax, %eax; js +6; mov $7, %eax; ret; ret
  ASSERT_TRUE(plan({0x0F, 0x05, 0x85, 0xC0, 0x78, 0x06, 0xB8, 0x07, 0x00, 0x00, 0x00, 0xC3, 0xC3}));
  EXPECT_EQ(patch_and_run(39).rax, 7u);
}

TEST_F(CallPatch, AJumpBackwardsAndALongOneLeadWhereTheyLed) {
  site()[-1] = 0xC3;
  ASSERT_TRUE(plan({0x0F, 0x05, 0xEB, 0xFB, 0xCC}));  // jmp to the byte before
  expect_runs();
  SetUp();
  ASSERT_TRUE(plan({0x0F, 0x05, 0xE9, 0x02, 0x00, 0x00, 0x00, 0xCC, 0xCC, 0xC3}));
  expect_runs();
}

TEST_F(CallPatch, AnAddressRelativeToTheInstructionIsTheSame) {
  // cmpb $0xCC, 3(%rip); jne +1; ret; ud2...
  ASSERT_TRUE(plan({0x0F, 0x05, 0x80, 0x3D, 0x05, 0x00, 0x00, 0x00, 0x5A, 0x75, 0x01, 0xC3, 0xCC,
                    0xCC, 0x5A, 0xCC}));
  expect_runs();
}

TEST_F(CallPatch, ACallBehindItIsNotMoved) {
  const Bytes code = {0x0F, 0x05, 0xE8, 0x00, 0x00, 0x00, 0x00, 0xC3};
  EXPECT_TRUE(!plan(code) || plan_.tactic == kPunning);
}

TEST_F(CallPatch, APrefixThatChangesAJumpIsNotLeftBefore) {
  site()[-1] = 0x66;
  EXPECT_FALSE(plan({0x0F, 0x05, 0x48, 0x3D, 0x00, 0xF0, 0xFF, 0xFF, 0xC3}));
}

TEST_F(CallPatch, OtherInstructionsAreNoCalls) {
  EXPECT_FALSE(plan({0x0F, 0x0B, 0x48, 0x3D, 0x00, 0xF0, 0xFF, 0xFF, 0xC3}));  // ud2
}

TEST_F(CallPatch, TheInstructionThatTrapsIsBeforeWhatFollows) {
  ASSERT_TRUE(plan({0x0F, 0x05, 0x48, 0x3D, 0x00, 0xF0, 0xFF, 0xFF, 0xC3}));
  uint8_t stub[kMaxStubBytes];
  StubLayout layout;
  ASSERT_TRUE(plan_emit(plan_.covered, plan_.stub, stub, &layout));
  const PartLayout& call = layout.parts[0];
  EXPECT_EQ(stub[call.copy], 0x0F);
  EXPECT_EQ(stub[call.copy + 1], 0x05);
  EXPECT_EQ(call.copy + 2, layout.parts[1].begin);
}

}  // namespace
}  // namespace shmrec::agent
