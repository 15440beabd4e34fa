#include "recording/log/syscall_names.h"

#include "syscalls/syscall_table.h"

namespace shmrec::recording {

std::string syscall_name(uint32_t number) {
  const char* name = syscalls::syscall_name(number);
  return name ? name : "syscall " + std::to_string(number);
}

}  // namespace shmrec::recording
