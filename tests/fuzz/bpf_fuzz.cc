// Seccomp filters that a program gives to the agent: a program of BPF, run on a call. The first
// bytes are the call, the rest is the program; it is run whether it is valid or not.
#include <cstdint>
#include <cstring>
#include <vector>

#include "agent/kernel/bpf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace shmrec::agent;
  SeccompData call = {};
  if (size < sizeof call) return 0;
  memcpy(&call, data, sizeof call);
  std::vector<BpfInstruction> program((size - sizeof call) / sizeof(BpfInstruction));
  if (!program.empty())
    memcpy(program.data(), data + sizeof call, program.size() * sizeof(BpfInstruction));
  const uint32_t count = static_cast<uint32_t>(program.size());
  const bool valid = bpf_valid(program.data(), count);
  const uint32_t result = bpf_run(program.data(), count, call);
  bpf_reads_instruction_pointer(program.data(), count);
  // A valid program of one instruction is a return of a constant, or of the accumulator, 0.
  if (valid && count == 1 && program[0].code == 0x06 && result != program[0].k) __builtin_trap();
  return 0;
}
