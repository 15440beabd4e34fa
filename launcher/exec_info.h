// What a new process image was started with, read from its first stack:
//   rsp -> argc, argv[argc], 0, envp[...], 0, auxiliary vector, strings
//
// Trust: the workload chose every byte; sizes and pointers are checked against what was read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace shmrec::launcher {

struct ExecInfo {
  std::string executable;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  bool complete = true;  // false: cut, longer than the launcher reads
};

// `stack`: memory of the image from `address` (its stack pointer) upwards.
ExecInfo parse_initial_stack(std::span<const unsigned char> stack, uint64_t address);

// Reads it from a stopped process, and the executable's path from /proc.
ExecInfo read_exec_info(int pid, uint64_t stack_pointer);

// From /proc; empty if it may not be read.
std::string executable_of(int pid);

}  // namespace shmrec::launcher
