// What the launcher reads of a new process image: its first stack, and the list of its mappings.
// Whatever the program put there, bounded texts and a place that is one.
//
// The first byte of the input says what the rest is: 0 a stack, 1 the text of /proc/PID/maps.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/agent_abi.h"
#include "launcher/exec_info.h"
#include "launcher/zone.h"

namespace {

using namespace shmrec::launcher;

void require(bool condition) {
  if (!condition) abort();
}

void read_stack(const uint8_t* data, size_t size) {
  for (const uint64_t address : {uint64_t{0x7ffffffde000}, UINT64_MAX - size, uint64_t{0}}) {
    const ExecInfo info = parse_initial_stack({data, size}, address);
    size_t bytes = info.executable.size();
    for (const auto* strings : {&info.arguments, &info.environment})
      for (const std::string& text : *strings) bytes += text.size();
    require(info.arguments.size() + info.environment.size() <= size / 8);
    require(bytes <= size);
  }
}

void read_maps(std::string_view maps) {
  constexpr size_t kZones = sizeof(shmrec::agent::kBases) / sizeof(shmrec::agent::kBases[0]);
  for (size_t first = 0; first <= kZones; ++first) {
    const size_t zone = choose_zone(maps, first);
    require(zone <= kZones && zone >= first);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  if (data[0] % 2 == 0)
    read_stack(data + 1, size - 1);
  else
    read_maps({reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
