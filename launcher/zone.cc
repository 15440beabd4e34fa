#include "launcher/zone.h"

#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "agent/agent_abi.h"

namespace shmrec::launcher {
namespace {

// What the program may map next to what it has before it comes near the agent. Less than lies
// between the first candidate and the lowest place where the kernel begins to map: 1 TiB of chance
// and 16 GiB for the stack's below the end of the low half, 0x7efb'fffff000.
constexpr uint64_t kRoomBytes = uint64_t{128} << 30;

struct Range {
  uint64_t begin = 0, end = 0;
};

// "begin-end ...", in hexadecimal.
Range parse_range(std::string_view line) {
  Range range;
  const char* end = line.data() + line.size();
  const auto begin = std::from_chars(line.data(), end, range.begin, 16);
  if (begin.ec != std::errc() || begin.ptr == end || *begin.ptr != '-') return {};
  if (std::from_chars(begin.ptr + 1, end, range.end, 16).ec != std::errc()) return {};
  return range;
}

// The stack and what the kernel places beside it lie above everything else and stay there.
bool stays(std::string_view line) {
  return line.find("[stack]") != line.npos || line.find("[v") != line.npos;
}

bool near(const Range& mapping, uint64_t base) {
  return mapping.end > base - kRoomBytes && mapping.begin < base + agent::kZoneBytes + kRoomBytes;
}

bool is_free(std::string_view maps, uint64_t base) {
  while (!maps.empty()) {
    const std::string_view line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(maps.size(), line.size() + 1));
    if (!stays(line) && near(parse_range(line), base)) return false;
  }
  return true;
}

}  // namespace

size_t choose_zone(std::string_view maps, size_t first) {
  while (first < std::size(agent::kBases) && !is_free(maps, agent::kBases[first])) ++first;
  return first;
}

size_t choose_zone(int pid, size_t first) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/maps");
  std::ostringstream text;
  text << file.rdbuf();
  return choose_zone(text.str(), first);
}

}  // namespace shmrec::launcher
