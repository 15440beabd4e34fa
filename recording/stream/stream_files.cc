#include "recording/stream/stream_files.h"

#include <array>
#include <cstdio>

namespace shmrec::recording {

std::string stream_file_name(uint32_t number) { return std::to_string(number) + ".stream"; }

std::string mapped_name(const MappedFile& file) {
  std::array<char, 96> text;
  std::snprintf(
      text.data(), text.size(), "%llx-%llx-%llx-%llx.%llx",
      static_cast<unsigned long long>(file.device), static_cast<unsigned long long>(file.inode),
      static_cast<unsigned long long>(file.size), static_cast<unsigned long long>(file.seconds),
      static_cast<unsigned long long>(file.nanoseconds));
  return text.data();
}

}  // namespace shmrec::recording
