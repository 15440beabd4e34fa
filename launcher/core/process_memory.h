// The memory of another process as a core wants it: what is mapped, and bytes of it.
//
// Reads go by /proc/PID/mem, which does not ask for a mapping's protection: a traced segment is
// read where the program sees it, though the program itself may not. Trust: all of it is the
// workload's. Units: addresses and bytes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::launcher {

struct Mapping {
  uint64_t begin = 0, end = 0;
  bool readable = false, writable = false, executable = false, shared = false;
  uint64_t offset = 0;
  uint64_t inode = 0;
  std::string name;  // as /proc/PID/maps has it, "" if it has none

  bool holds(uint64_t address) const { return address >= begin && address < end; }
  bool of_file() const { return inode != 0; }
};

// Lines of /proc/PID/maps; what is no such line is left out.
std::vector<Mapping> parse_mappings(std::string_view text);

struct Range {
  uint64_t begin = 0, end = 0;
  uint64_t bytes() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

class ProcessMemory {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  using Clock = std::chrono::steady_clock;

  // Refused: no permission to look at the process, or it is gone.
  static Result<ProcessMemory> open(pid_t pid);

  // How many bytes from the start could be read.
  size_t read(uint64_t address, std::span<unsigned char> into) const;
  std::optional<uint64_t> word(uint64_t address) const;

  // In rising order.
  const std::vector<Mapping>& mappings() const { return mappings_; }
  const Mapping* mapping_at(uint64_t address) const;

  // Of a private mapping, the pages that the process has of its own: in memory or swapped out, and
  // not the file's. Where the kernel does not say, all. Of what is larger than can be looked at in
  // time (reserved address space has terabytes), the first part.
  std::vector<Range> own_pages(const Mapping& mapping, Clock::time_point last) const;

 private:
  UniqueFd memory_, page_map_;
  std::vector<Mapping> mappings_;
};

}  // namespace shmrec::launcher
