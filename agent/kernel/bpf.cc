#include "agent/kernel/bpf.h"

#include <linux/bpf_common.h>
#include <stddef.h>

namespace shmrec::agent {
namespace {

constexpr uint32_t kScratchWords = 16;                              // BPF_MEMWORDS
constexpr uint16_t kReturnA = BPF_RET | 0x10;                       // BPF_A
constexpr uint16_t kTax = BPF_MISC | 0x00, kTxa = BPF_MISC | 0x80;  // BPF_TAX, BPF_TXA
constexpr uint32_t kReturnOnDivisionByZero = 0;

// What an instruction needs to be valid, beside its code.
enum class Rule : uint8_t {
  kNone,
  kOffset,   // k is the offset of a word of seccomp_data
  kScratch,  // k is the index of a scratch word
  kDivisor,  // k is not 0
  kShift,    // k is less than 32
  kJump,     // skips k instructions
  kBranch,   // skips if_true or if_false instructions
};
struct Known {
  uint16_t code;
  Rule rule;
};
constexpr Known kInstructions[] = {
    {BPF_LD | BPF_W | BPF_ABS, Rule::kOffset},
    {BPF_LD | BPF_W | BPF_LEN, Rule::kNone},
    {BPF_LDX | BPF_W | BPF_LEN, Rule::kNone},
    {BPF_LD | BPF_IMM, Rule::kNone},
    {BPF_LDX | BPF_IMM, Rule::kNone},
    {BPF_LD | BPF_MEM, Rule::kScratch},
    {BPF_LDX | BPF_MEM, Rule::kScratch},
    {BPF_ST, Rule::kScratch},
    {BPF_STX, Rule::kScratch},
    {BPF_RET | BPF_K, Rule::kNone},
    {kReturnA, Rule::kNone},
    {kTax, Rule::kNone},
    {kTxa, Rule::kNone},
    {BPF_ALU | BPF_ADD | BPF_K, Rule::kNone},
    {BPF_ALU | BPF_ADD | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_SUB | BPF_K, Rule::kNone},
    {BPF_ALU | BPF_SUB | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_MUL | BPF_K, Rule::kNone},
    {BPF_ALU | BPF_MUL | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_DIV | BPF_K, Rule::kDivisor},
    {BPF_ALU | BPF_DIV | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_AND | BPF_K, Rule::kNone},
    {BPF_ALU | BPF_AND | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_OR | BPF_K, Rule::kNone},
    {BPF_ALU | BPF_OR | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_XOR | BPF_K, Rule::kNone},
    {BPF_ALU | BPF_XOR | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_LSH | BPF_K, Rule::kShift},
    {BPF_ALU | BPF_LSH | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_RSH | BPF_K, Rule::kShift},
    {BPF_ALU | BPF_RSH | BPF_X, Rule::kNone},
    {BPF_ALU | BPF_NEG, Rule::kNone},
    {BPF_JMP | BPF_JA, Rule::kJump},
    {BPF_JMP | BPF_JEQ | BPF_K, Rule::kBranch},
    {BPF_JMP | BPF_JEQ | BPF_X, Rule::kBranch},
    {BPF_JMP | BPF_JGE | BPF_K, Rule::kBranch},
    {BPF_JMP | BPF_JGE | BPF_X, Rule::kBranch},
    {BPF_JMP | BPF_JGT | BPF_K, Rule::kBranch},
    {BPF_JMP | BPF_JGT | BPF_X, Rule::kBranch},
    {BPF_JMP | BPF_JSET | BPF_K, Rule::kBranch},
    {BPF_JMP | BPF_JSET | BPF_X, Rule::kBranch},
};

bool obeys(Rule rule, const BpfInstruction& instruction, uint32_t left) {
  switch (rule) {
    case Rule::kNone:
      return true;
    case Rule::kOffset:
      return instruction.k % 4 == 0 && instruction.k < sizeof(SeccompData);
    case Rule::kScratch:
      return instruction.k < kScratchWords;
    case Rule::kDivisor:
      return instruction.k != 0;
    case Rule::kShift:
      return instruction.k < 32;
    case Rule::kJump:
      return instruction.k < left;
    case Rule::kBranch:
      return instruction.if_true < left && instruction.if_false < left;
  }
  return false;
}

bool valid_instruction(const BpfInstruction& instruction, uint32_t left) {
  for (const Known& known : kInstructions)
    if (known.code == instruction.code) return obeys(known.rule, instruction, left);
  return false;
}

struct Machine {
  uint32_t a = 0, x = 0;
  uint32_t scratch[kScratchWords] = {};
};

uint32_t load_word(const SeccompData& call, uint32_t offset) {
  uint32_t word;
  __builtin_memcpy(&word, reinterpret_cast<const uint8_t*>(&call) + offset, sizeof word);
  return word;
}

// False: a division by zero, which ends the program.
bool calculate(uint16_t operation, uint32_t& a, uint32_t by) {
  switch (operation) {
    case BPF_ADD:
      a += by;
      return true;
    case BPF_SUB:
      a -= by;
      return true;
    case BPF_MUL:
      a *= by;
      return true;
    case BPF_DIV:
      if (by) a /= by;
      return by != 0;
    case BPF_AND:
      a &= by;
      return true;
    case BPF_OR:
      a |= by;
      return true;
    case BPF_XOR:
      a ^= by;
      return true;
    case BPF_LSH:
      a <<= by & 31;
      return true;
    case BPF_RSH:
      a >>= by & 31;
      return true;
    default:
      a = 0u - a;  // BPF_NEG
      return true;
  }
}

bool holds(uint16_t comparison, uint32_t a, uint32_t with) {
  switch (comparison) {
    case BPF_JEQ:
      return a == with;
    case BPF_JGE:
      return a >= with;
    case BPF_JGT:
      return a > with;
    default:
      return (a & with) != 0;  // BPF_JSET
  }
}

uint32_t loaded(const Machine& machine, const BpfInstruction& instruction,
                const SeccompData& call) {
  switch (BPF_MODE(instruction.code)) {
    case BPF_ABS:
      return load_word(call, instruction.k);
    case BPF_LEN:
      return sizeof(SeccompData);
    case BPF_MEM:
      return machine.scratch[instruction.k];
    default:
      return instruction.k;  // BPF_IMM
  }
}

}  // namespace

bool bpf_valid(const BpfInstruction* program, uint32_t count) {
  if (!count || count > kBpfMaxInstructions) return false;
  for (uint32_t i = 0; i < count; ++i)
    if (!valid_instruction(program[i], count - i - 1)) return false;
  return BPF_CLASS(program[count - 1].code) == BPF_RET;
}

uint32_t bpf_run(const BpfInstruction* program, uint32_t count, const SeccompData& call) {
  Machine machine;
  for (uint32_t at = 0; at < count; ++at) {
    const BpfInstruction& instruction = program[at];
    const uint16_t code = instruction.code;
    if (!valid_instruction(instruction, count - at - 1)) return kReturnOnDivisionByZero;
    const uint32_t operand = BPF_SRC(code) == BPF_X ? machine.x : instruction.k;
    switch (BPF_CLASS(code)) {
      case BPF_LD:
        machine.a = loaded(machine, instruction, call);
        break;
      case BPF_LDX:
        machine.x = loaded(machine, instruction, call);
        break;
      case BPF_ST:
        machine.scratch[instruction.k] = machine.a;
        break;
      case BPF_STX:
        machine.scratch[instruction.k] = machine.x;
        break;
      case BPF_ALU:
        if (!calculate(BPF_OP(code), machine.a, operand)) return kReturnOnDivisionByZero;
        break;
      case BPF_JMP:
        if (BPF_OP(code) == BPF_JA)
          at += instruction.k;
        else
          at +=
              holds(BPF_OP(code), machine.a, operand) ? instruction.if_true : instruction.if_false;
        break;
      case BPF_RET:
        return code == kReturnA ? machine.a : instruction.k;
      default:
        if (code == kTax)
          machine.x = machine.a;
        else
          machine.a = machine.x;
        break;
    }
  }
  return kReturnOnDivisionByZero;
}

bool bpf_reads_instruction_pointer(const BpfInstruction* program, uint32_t count) {
  constexpr uint32_t kBegin = offsetof(SeccompData, instruction_pointer);
  for (uint32_t i = 0; i < count; ++i) {
    const BpfInstruction& instruction = program[i];
    if (instruction.code == (BPF_LD | BPF_W | BPF_ABS) && instruction.k >= kBegin &&
        instruction.k < kBegin + sizeof(uint64_t))
      return true;
  }
  return false;
}

}  // namespace shmrec::agent
