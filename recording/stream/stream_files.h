// Where the files of recordings at level replay are in a run directory, and how they are called.
//
// The directory may be a workload's to write: no link is followed, and only regular files with such
// names are taken.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recording/bundle/bundle_run.h"

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

// "recordings/292b1631-c83d/0.stream", "mapped/fe00000-6400a-c3df-6b09afa4.2e9789a3".
bool is_recording_file(const std::string& name);

// Those of the run directory, by name, as far as they fit in `most_bytes` together; of a stream
// what is whole of it. What does not fit, and what cannot be opened, is added to `problems`.
std::vector<RunFile> open_recording_files(int run_dir, uint64_t most_bytes,
                                          std::vector<RunFacts::Problem>& problems);

}  // namespace shmrec::recording
