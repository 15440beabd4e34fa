// Binaries as they went into an earlier bundle: compressed, with their sum. What a program and its
// libraries cost a bundle is paid once, not by every run.
//
// A directory of the spool has one file for each: a head, then the zstd frame. It stands for a file
// of the same device, inode, length and times, so for content that nobody has written to since. It
// is not believed after a restart, which may have taken what was not on disk yet.
//
// Owner: the user who records. Of a directory or file of another nothing is read or written.
// Trust: whoever may write there as this user may write the bundle too.
// Threads: any number of processes; a file appears complete, under its name, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/bundle/sha256.h"

namespace shmrec::recording {

// Larger ones are compressed as they are read.
inline constexpr uint64_t kMaxPackedContent = uint64_t{8} << 20;

struct PackedFile {
  Sha256::Digest sum{};  // of the content
  uint64_t frame_bytes = 0;
  UniqueFd fd;  // has the frame from `frame_at` on; none: `frame` is it
  uint64_t frame_at = 0;
  std::string frame;

  bool read(char* into, size_t bytes, uint64_t at) const;
};

class PackedFiles {
 public:
  // The directory is made when something is kept. Empty, or no bytes: nothing is kept or found.
  PackedFiles(std::filesystem::path directory, uint64_t max_bytes)
      : directory_(std::move(directory)), max_bytes_(max_bytes) {}

  // What was kept of all of the file `fd`, `content_bytes` long, as `name`.
  std::optional<PackedFile> find(const std::string& name, int fd, uint64_t content_bytes) const;
  // Not of a file that was written to just now: its times would be the same after another write.
  // The oldest go when there is more than `max_bytes` in all.
  void keep(const std::string& name, int fd, uint64_t content_bytes,
            const PackedFile& packed) const;

 private:
  std::filesystem::path directory_;
  uint64_t max_bytes_;
};

}  // namespace shmrec::recording
