// What the agent of another recorded process knows, read from its memory.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

// Its image is the same as ours but for its base.
struct RemoteAgent {
  int32_t pid;
  uint64_t base;

  // Copies its counterpart of *ours.
  template <typename T>
  bool read(const T* ours, T* to) const {
    const uint64_t offset = reinterpret_cast<uint64_t>(ours) - agent_base();
    const uint64_t local[2] = {reinterpret_cast<uint64_t>(to), sizeof(T)};
    const uint64_t remote[2] = {base + offset, sizeof(T)};
    return sys(__NR_process_vm_readv, pid, local, 1, remote, 1, 0) ==
           static_cast<int64_t>(sizeof(T));
  }
};

}  // namespace shmrec::agent
