// Names of x86-64 system calls, as the one table of syscalls has them.
#pragma once

#include <cstdint>
#include <string>

namespace shmrec::recording {

// "read", or "syscall 999" for an unknown number.
std::string syscall_name(uint32_t number);

}  // namespace shmrec::recording
