// Writes an ELF core as the kernel writes one: notes of the process, of its threads and of mapped
// files, then memory. Any gdb opens it.
//
// What of the mappings is not among the ranges has a header without bytes: a debugger looks for it
// in the files. Pages of zeros and pages that cannot be read are holes in the file.
// Owner: borrows the memory and the descriptor. Threads: one at a time.
#pragma once

#include <sys/user.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "launcher/core/process_memory.h"

namespace shmrec::launcher {

struct CoreThread {
  pid_t tid = 0;
  user_regs_struct registers{};
  std::vector<unsigned char> vector_state;  // XSAVE area; empty: unknown
  uint64_t blocked = 0;                     // signals
};

struct CoreProcess {
  pid_t pid = 0, parent = 0, group = 0, session = 0;
  char state = 'R';
  uint32_t uid = 0, gid = 0;
  std::string name, arguments;
  std::vector<unsigned char> auxiliary_vector;
  std::array<unsigned char, 128> siginfo{};
  // The number of its newest event (agent/process/event.h), 0: not told.
  uint64_t event = 0;
  std::vector<CoreThread> threads;  // the one that dies first
};

// `hidden`: of which nothing is told. Returns the bytes of the file.
Result<uint64_t> write_elf_core(int fd, const CoreProcess& process, const ProcessMemory& memory,
                                Range hidden, const std::vector<Range>& ranges);

}  // namespace shmrec::launcher
