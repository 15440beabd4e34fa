// The process that a recording is executed in: an address space with the agent and nothing else.
//
// It is a child that executes a program of one page, from which it is led by ptrace: its own
// mappings go, the agent comes, and before the first instruction of the recorded program it loses
// what a hostile recording could use. Then it is let go, and the agent tells how it went in the
// report that it shares with the supervisor.
//
// Invariants
//  1. The stub runs behind a seccomp filter that lets through what the agent needs in replay: calls
//     about its own memory and signals, and reading descriptors that it was given. No file can be
//     opened, no other process reached, no network.
//  2. It ends with its supervisor.
// Owner: the caller; the destructor kills the process. Threads: one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "agent/agent_abi.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/inject.h"

namespace shmrec::replay {

struct StubOptions {
  launcher::AgentImage image;
  uint64_t agent_base = 0;      // one of agent::kBases
  uint64_t stack = 0;           // the program's first stack pointer
  uint64_t resume_address = 0;  // and where it begins
  // The processor to run on, where it may: cpuid says which one it is.
  uint32_t cpu = 0;
  int log = -1;  // a shmlog for the agent to write to
  uint64_t log_bytes = 0;
  // What ReplayBoot's stages refer to: the first descriptor of `descriptors` has the number
  // kFirstDescriptor in the stub.
  std::vector<int> descriptors;
  agent::ReplayBoot boot{};  // but for its descriptors of report and maps
};
inline constexpr int kFirstDescriptor = 16;

class Stub {
 public:
  static Result<Stub> start(const StubOptions& options);
  Stub(Stub&& other) noexcept;
  Stub& operator=(Stub&&) = delete;
  ~Stub();

  const agent::ReplayReport& report() const { return *report_; }
  // Has it ended? Then its wait status is in `status`.
  bool ended(int& status);
  pid_t pid() const { return pid_; }

 private:
  Stub() = default;
  pid_t pid_ = -1;
  const agent::ReplayReport* report_ = nullptr;  // mapped
};

}  // namespace shmrec::replay
