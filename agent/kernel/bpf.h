// Classic BPF, as far as seccomp(2) takes it: checking a program and running it on one system call.
// A filter sees numbers only and keeps nothing between two calls, so what it will say to a call can
// be known before it is installed.
//
// Context: freestanding and host. Trust: the recorded program chose every byte. bpf_run never reads
// outside of the program and ends after at most one round of it, since jumps go forward only.
#pragma once

#include <stdint.h>

namespace shmrec::agent {

struct BpfInstruction {  // struct sock_filter
  uint16_t code;
  uint8_t if_true, if_false;  // how many instructions a jump skips
  uint32_t k;
};
static_assert(sizeof(BpfInstruction) == 8);

struct SeccompData {  // struct seccomp_data
  int32_t number;
  uint32_t arch;
  uint64_t instruction_pointer;
  uint64_t args[6];
};
static_assert(sizeof(SeccompData) == 64);

constexpr uint32_t kBpfMaxInstructions = 4096;  // BPF_MAXINSNS
constexpr uint32_t kBpfX86_64 = 0xC000003E;     // AUDIT_ARCH_X86_64

// Would the kernel take it? (It also refuses to read a scratch word that no path has written; this
// does not look for that, and reads 0.)
bool bpf_valid(const BpfInstruction* program, uint32_t count);
// What the filter returns: SECCOMP_RET_*, with its data. A program that is not valid returns 0.
uint32_t bpf_run(const BpfInstruction* program, uint32_t count, const SeccompData& call);
// Does it load the address of the instruction that makes the call?
bool bpf_reads_instruction_pointer(const BpfInstruction* program, uint32_t count);

}  // namespace shmrec::agent
