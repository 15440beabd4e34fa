// Where the files of recordings at level replay are in a run directory, and how they are called.
#pragma once

#include <cstdint>
#include <string>

namespace shmrec::recording {

inline constexpr const char* kRecordingsFolder = "recordings";  // ID/N.stream
inline constexpr const char* kMappedFolder = "mapped";          // mapped_name()

std::string stream_file_name(uint32_t number);  // "0.stream"

// A file, as it was when it was mapped.
struct MappedFile {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t seconds = 0;  // of its last change
  uint64_t nanoseconds = 0;
};
std::string mapped_name(const MappedFile& file);

}  // namespace shmrec::recording
