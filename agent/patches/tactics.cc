#include "agent/patches/tactics.h"

#include "agent/patches/arena.h"
#include "agent/patches/call_stub.h"
#include "agent/patches/patch.h"
#include "agent/patches/stop_stub.h"
#include "agent/sites/table.h"

namespace shmrec::agent {
namespace {

// Bytes that no instruction begins with in 64-bit mode, or that only the kernel may execute.
constexpr uint8_t kTraps[] = {0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F,
                              0x60, 0x61, 0x9A, 0xCE, 0xD4, 0xD6, 0xEA, 0xF4, 0xFA, 0xFB};

// What may stand before an instruction, in any order.
constexpr uint8_t kPrefixes[] = {kLockPrefix, 0x26, 0x2E, 0x36, 0x3E, 0x64,
                                 0x65,        0x66, 0x67, 0xF2, 0xF3};

}  // namespace

bool movable(const ZydisDecodedInstruction& instruction) {
  switch (instruction.meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_X87_ALU:  // the processor keeps the address of the last one
    case ZYDIS_CATEGORY_RDWRFSGS:
      return false;
    default:
      return instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE &&
             instruction.mnemonic != ZYDIS_MNEMONIC_UD2;
  }
}

namespace {

bool uses_stack(const Site& site) { return site.base == kFromHardware[4]; }

// What is behind the site itself asks, too, if it may touch traced memory.
const Site* pin_asking(Thread* thread, uint64_t ip, const Decoded& decoded) {
  bool memory = false;
  for (int i = 0; i < decoded.instruction.operand_count_visible; ++i)
    memory |= decoded.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
  if (!memory || decoded.instruction.mnemonic == ZYDIS_MNEMONIC_LEA ||
      decoded.instruction.mnemonic == ZYDIS_MNEMONIC_NOP)
    return nullptr;
  Site* site = site_pin(thread, ip);
  if (site && stub_possible(*site) && !uses_stack(*site)) return site;
  if (site) site_unpin(*site);
  return nullptr;
}

void unpin(const CoveredCode& covered) {
  for (uint32_t i = 0; i < covered.count; ++i)
    if (covered.instructions[i].site) site_unpin(*const_cast<Site*>(covered.instructions[i].site));
}

// A conditional jump behind the first instruction of a routine, as in `cmp $32, %rdx; ja 1f`. Those
// of other code stay where they are: they are jumped to themselves more often.
bool take_jump(const Decoded& decoded, uint64_t ip, const CoveredCode& covered, Covered* next) {
  const ZydisDecodedInstruction& instruction = decoded.instruction;
  const bool near =
      (instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (instruction.opcode & 0xF0) == 0x70) ||
      (instruction.opcode_map == ZYDIS_OPCODE_MAP_0F && (instruction.opcode & 0xF0) == 0x80);
  if (covered.routine == Routine::kNone || !covered.count || !near ||
      decoded.operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
    return false;
  next->condition = instruction.opcode & 0x0F;
  next->target = ip + instruction.length + decoded.operands[0].imm.value.u;
  return next->target - covered.ip >= kJumpBytes;
}

// Adds the instruction behind what is covered.
bool cover_next(Thread* thread, CoveredCode* covered) {
  if (covered->call) return call_cover_next(thread, covered);
  if (covered->stop) return stop_cover_next(thread, covered);
  if (covered->count == kMaxCovered) return false;
  const uint64_t ip = covered->ip + covered->bytes;
  Covered& next = covered->instructions[covered->count];
  Decoded decoded;
  uint8_t bytes[kMaxInstruction] = {};
  if (!code_copy(ip, bytes) || !decode_plain(thread, bytes, &decoded)) return false;
  const bool jump = take_jump(decoded, ip, *covered, &next);
  if (!jump && !movable(decoded.instruction)) return false;
  const bool relative = !jump && decoded.instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE;
  if (relative && decoded.instruction.raw.disp.size != 32) return false;
  next.length = decoded.instruction.length;
  next.rip_displacement = relative ? decoded.instruction.raw.disp.offset : 0;
  memcpy(next.code, bytes, next.length);
  const bool routine = !covered->count && covered->routine != Routine::kNone;
  next.site =
      routine ? site_pin_routine(thread, ip, covered->routine) : pin_asking(thread, ip, decoded);
  covered->bytes += next.length;
  ++covered->count;
  return true;
}

// ---- Where the program may arrive ---------------------------------------------------------------

bool is_prefix(uint8_t byte) {
  for (uint8_t each : kPrefixes)
    if (each == byte) return true;
  return false;
}

// Bit i: byte i of the instruction is behind a lock prefix.
uint32_t behind_locks(const Covered& instruction) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < instruction.length && is_prefix(instruction.code[i]); ++i)
    if (instruction.code[i] == kLockPrefix) found |= 2u << i;
  return found;
}

// Where instructions begin, and behind lock prefixes, which some code jumps over where there is one
// thread. What is behind the jump's bytes stays as it is.
Arrivals arrivals_at(const CoveredCode& covered) {
  constexpr uint32_t kAll = (1 << kJumpBytes) - 1;
  uint32_t starts = 0, inner = 0, at = 0;
  for (uint32_t i = 0; i < covered.count && at < kJumpBytes; ++i) {
    starts |= 1u << at;
    inner |= behind_locks(covered.instructions[i]) << at;
    at += covered.instructions[i].length;
  }
  return {static_cast<uint8_t>(starts & kAll), static_cast<uint8_t>(inner & kAll)};
}

// ---- Distances that a jump may have -------------------------------------------------------------

// Byte `at` of the jump, 1..4, must trap.
void trap_at(Distances& distances, uint32_t at) {
  distances.forbid_all(at - 1);
  for (uint8_t each : kTraps) distances.allow(at - 1, each);
}

// Where what is overwritten could be jumped to, the jump's bytes trap.
Distances trapping(const Arrivals& arrivals) {
  Distances distances;
  for (uint32_t at = 0; at < 4; ++at) distances.allow_all(at);
  for (uint32_t at = 1; at < kJumpBytes; ++at)
    if ((arrivals.starts | arrivals.inner) >> at & 1) trap_at(distances, at);
  return distances;
}

// ---- The tactics --------------------------------------------------------------------------------

// Finds room for the stub of what is covered.
bool place(Plan* plan, uint16_t number, const Distances& distances) {
  uint8_t scratch[kMaxStubBytes];
  // Its length does not depend on its place; whether it reaches everything may.
  if (!plan_emit(plan->covered, plan->covered.ip, scratch, &plan->layout)) return false;
  plan->stub = arena_take(plan->covered.ip + kJumpBytes, plan->layout.bytes, number, distances);
  return plan->stub != 0;
}

bool direct(Thread* thread, uint16_t number, Plan* plan) {
  return cover_next(thread, &plan->covered) && plan->covered.bytes >= kJumpBytes &&
         place(plan, number, trapping(arrivals_at(plan->covered)));
}

// A jump that follows may lead to what another routine's jump has overwritten: mempcpy's into
// memcpy does in glibc. The stub goes there itself.
void follow_jump(Thread* thread, CoveredCode* covered) {
  const uint64_t ip = covered->ip + covered->bytes;
  Decoded decoded;
  uint8_t bytes[kMaxInstruction] = {};
  if (!code_copy(ip, bytes) || !decode_plain(thread, bytes, &decoded) ||
      decoded.instruction.mnemonic != ZYDIS_MNEMONIC_JMP ||
      decoded.operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
    return;
  const uint64_t target = ip + decoded.instruction.length + decoded.operands[0].imm.value.u;
  const uint64_t resumed = patch_resume(target);
  if (resumed != target) covered->back = resumed;
}

bool relocation(Thread* thread, uint16_t number, Plan* plan) {
  while (plan->covered.bytes < kJumpBytes)
    if (!cover_next(thread, &plan->covered)) return false;
  if (plan->covered.routine != Routine::kNone) follow_jump(thread, &plan->covered);
  return plan->covered.count > 1 && place(plan, number, trapping(arrivals_at(plan->covered)));
}

bool punning(Thread* thread, uint16_t number, Plan* plan) {
  if (!cover_next(thread, &plan->covered)) return false;
  const uint32_t own = plan->covered.bytes;
  if (own < 2 || own >= kJumpBytes) return false;
  Distances distances = trapping(arrivals_at(plan->covered));
  for (uint32_t at = own; at < kJumpBytes; ++at) {
    distances.forbid_all(at - 1);
    distances.allow(at - 1, plan->original[at]);
  }
  return place(plan, number, distances);
}

constexpr bool (*kTactics[])(Thread*, uint16_t, Plan*) = {direct, relocation, punning};
static_assert(sizeof kTactics / sizeof kTactics[0] == kTacticCount);

// Some code jumps over a lock prefix where there is one thread. Where that is how the instruction
// was met, the prefix belongs to another one, which must stay whole. Any byte may be before an
// instruction; a prefix can be this one only if the two together are an instruction.
bool is_behind(Thread* thread, uint64_t ip, uint8_t prefix) {
  uint8_t bytes[kMaxInstruction] = {};
  Decoded decoded;
  return code_copy(ip - 1, bytes) && bytes[0] == prefix && bytes[1] != prefix &&
         decode_plain(thread, bytes, &decoded);
}

bool find_plan(Thread* thread, const CoveredCode& nothing, uint16_t number, uint8_t first,
               Plan* plan) {
  // A jump that ends behind the place where the program goes on is mispredicted there at each call,
  // as the processor takes its end for a jump (7 ns on an Intel Xeon): too much for what all code
  // calls.
  const uint8_t last = nothing.routine == Routine::kNone ? kTacticCount : kPunning - 1;
  for (uint8_t tactic = first; tactic <= last; ++tactic) {
    *plan = {};
    plan->covered = nothing;
    plan->tactic = tactic;
    uint8_t bytes[kMaxInstruction] = {};
    if (!code_copy(nothing.ip, bytes)) return false;
    memcpy(plan->original, bytes, kJumpBytes);
    if (kTactics[tactic - 1](thread, number, plan) &&
        (nothing.call || nothing.stop || plan->covered.instructions[0].site)) {
      plan->arrivals = arrivals_at(plan->covered);
      return true;
    }
    if (plan->stub) arena_give_back(plan->stub, number);
    unpin(plan->covered);
  }
  return false;
}

}  // namespace

// Some code jumps over a lock prefix where there is one thread. Where that is how the instruction
// was met, the prefix belongs to another one, which must stay whole.
bool plan_patch(Thread* thread, uint64_t ip, uint16_t number, uint8_t first, Plan* plan,
                Routine routine) {
  CoveredCode nothing = {};
  nothing.ip = ip;
  nothing.routine = routine;
  return !is_behind(thread, ip, kLockPrefix) && find_plan(thread, nothing, number, first, plan);
}

// Prefixes mean nothing to a syscall, and lie before where it is said to have trapped. One of them
// changes a jump.
bool plan_call(Thread* thread, uint64_t ip, uint16_t number, uint8_t first, Plan* plan) {
  constexpr uint8_t kOperandSize = 0x66;
  CoveredCode nothing = {};
  nothing.ip = ip;
  nothing.call = true;
  return !is_behind(thread, ip, kOperandSize) && find_plan(thread, nothing, number, first, plan);
}

// A breakpoint alone, whose stub is for going on from it.
bool plan_stop(Thread* thread, const StopTest& test, uint16_t number, Plan* plan) {
  CoveredCode nothing = {};
  nothing.ip = test.ip;
  nothing.stop = &test;
  if (!is_behind(thread, test.ip, kLockPrefix) && find_plan(thread, nothing, number, 1, plan))
    return true;
  Distances all;
  for (uint32_t at = 0; at < 4; ++at) all.allow_all(at);
  uint8_t bytes[kMaxInstruction] = {};
  *plan = {};
  plan->covered = nothing;
  plan->tactic = kBreakpointTactic;
  if (!code_copy(test.ip, bytes) || !cover_next(thread, &plan->covered)) return false;
  memcpy(plan->original, bytes, kJumpBytes);
  return place(plan, number, all);
}

bool plan_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout) {
  if (covered.stop) return stop_stub_emit(covered, at, code, layout);
  return covered.call ? call_stub_emit(covered, at, code, layout)
                      : stub_emit(covered, at, code, layout);
}

void plan_unpin(const CoveredCode& covered) { unpin(covered); }

}  // namespace shmrec::agent
