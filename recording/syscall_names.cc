#include "recording/syscall_names.h"

#include <algorithm>
#include <iterator>

namespace shmrec::recording {
namespace {

struct Name {
  uint32_t number;
  const char* name;
};
constexpr Name kNames[] = {
#include "recording/syscall_names.inc"
};

}  // namespace

std::string syscall_name(uint32_t number) {
  const auto at = std::find_if(std::begin(kNames), std::end(kNames),
                               [&](const Name& n) { return n.number == number; });
  return at != std::end(kNames) ? at->name : "syscall " + std::to_string(number);
}

}  // namespace shmrec::recording
