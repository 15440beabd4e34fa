// Memory of another process of the workload, or of the caller by its number, as process_vm_writev,
// /proc/PID/mem and ptrace reach it. Where that process traces it, the kernel would meet its hidden
// view; it is given the address in its alias instead, piece by piece, since what follows a mapping
// in the program's eyes lies elsewhere.
//
// What the other process may not do there is left as it is: the kernel refuses it in the view, or
// forces it for a debugger, as it would alone.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

struct RemotePiece {
  uint64_t address;  // for the kernel
  uint64_t bytes;
  bool traced;  // of what is known then:
  uint32_t segment;
  uint64_t offset;
};

class RemoteMemory {
 public:
  explicit RemoteMemory(int32_t pid);
  bool recorded() const { return base_ != 0; }
  // The first part of [at, at + bytes) that lies in one traced mapping, or in none.
  RemotePiece piece(uint64_t at, uint64_t bytes, bool write) const;
  bool any_traced(uint64_t at, uint64_t bytes, bool write) const;

 private:
  int32_t pid_;
  uint64_t base_;  // of the agent there
};

}  // namespace shmrec::agent
