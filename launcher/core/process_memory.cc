#include "launcher/core/process_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "launcher/process_status.h"

namespace shmrec::launcher {
namespace {

// Takes a number up to `behind` from the text.
bool take(std::string_view& text, char behind, int base, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end == text.data() + text.size() || *end != behind) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  return true;
}

// "BEGIN-END rwxp OFFSET MAJOR:MINOR INODE      NAME"
std::optional<Mapping> parse_mapping(std::string_view line) {
  Mapping mapping;
  uint64_t major, minor;
  if (!take(line, '-', 16, mapping.begin) || !take(line, ' ', 16, mapping.end)) return {};
  if (line.size() < 5 || mapping.begin >= mapping.end) return {};
  mapping.readable = line[0] == 'r';
  mapping.writable = line[1] == 'w';
  mapping.executable = line[2] == 'x';
  mapping.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!take(line, ' ', 16, mapping.offset) || !take(line, ':', 16, major) ||
      !take(line, ' ', 16, minor))
    return {};
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), mapping.inode);
  if (error != std::errc()) return {};
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  mapping.name = line;
  return mapping;
}

}  // namespace

std::vector<Mapping> parse_mappings(std::string_view text) {
  std::vector<Mapping> mappings;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (std::optional<Mapping> mapping = parse_mapping(text.substr(0, end)))
      mappings.push_back(std::move(*mapping));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return mappings;
}

Result<ProcessMemory> ProcessMemory::open(pid_t pid) {
  const std::string directory = "/proc/" + std::to_string(pid);
  ProcessMemory memory;
  memory.memory_.reset(::open((directory + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory.memory_) return system_error(directory + "/mem");
  memory.page_map_.reset(::open((directory + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  memory.mappings_ = parse_mappings(read_proc_file(directory + "/maps"));
  if (memory.mappings_.empty()) return Error{directory + "/maps: nothing in it", false};
  return memory;
}

size_t ProcessMemory::read(uint64_t address, std::span<unsigned char> into) const {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = pread(memory_.get(), into.data() + done, into.size() - done,
                              static_cast<off_t>(address + done));
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

std::optional<uint64_t> ProcessMemory::word(uint64_t address) const {
  uint64_t value;
  unsigned char bytes[sizeof value];
  if (read(address, bytes) != sizeof bytes) return {};
  std::copy_n(bytes, sizeof bytes, reinterpret_cast<unsigned char*>(&value));
  return value;
}

const Mapping* ProcessMemory::mapping_at(uint64_t address) const {
  const auto behind = std::upper_bound(
      mappings_.begin(), mappings_.end(), address,
      [](uint64_t wanted, const Mapping& mapping) { return wanted < mapping.begin; });
  if (behind == mappings_.begin() || !std::prev(behind)->holds(address)) return nullptr;
  return &*std::prev(behind);
}

std::vector<Range> ProcessMemory::own_pages(const Mapping& mapping, Clock::time_point last) const {
  constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62,
                     kOfFile = uint64_t{1} << 61;
  constexpr uint64_t kPiecePages = 4096;
  std::vector<Range> ranges;
  std::vector<uint64_t> words(kPiecePages);
  for (uint64_t at = mapping.begin; at < mapping.end && Clock::now() < last;
       at += kPiecePages * kPageBytes) {
    const uint64_t pages = std::min(kPiecePages, (mapping.end - at) / kPageBytes);
    const ssize_t wanted = static_cast<ssize_t>(pages * sizeof(uint64_t));
    if (pread(page_map_.get(), words.data(), static_cast<size_t>(wanted),
              static_cast<off_t>(at / kPageBytes * sizeof(uint64_t))) != wanted)
      return {{mapping.begin, mapping.end}};
    for (uint64_t i = 0; i < pages; ++i) {
      if (!(words[i] & (kPresent | kSwapped)) || words[i] & kOfFile) continue;
      const uint64_t page = at + i * kPageBytes;
      if (!ranges.empty() && ranges.back().end == page)
        ranges.back().end += kPageBytes;
      else
        ranges.push_back({page, page + kPageBytes});
    }
  }
  return ranges;
}

}  // namespace shmrec::launcher
