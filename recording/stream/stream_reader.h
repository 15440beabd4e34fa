// Reads the stream of a recording (recording/stream/stream_format.h), record by record.
//
// Trust: a stream is its workload's to write. Files are opened through no link; lengths are checked
// before they are used; what is damaged ends the reading with an Error that says where.
// Owner: holds the directory and the file it is at. Threads: one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/stream/stream_format.h"

namespace shmrec::recording {

struct StreamRecord {
  stream::Type type{};
  uint16_t detail = 0;
  uint64_t event = 0;
  std::span<const unsigned char> payload;  // good until the next record is read

  // The fixed part of its payload.
  template <typename T>
  std::optional<T> as() const {
    if (payload.size() < sizeof(T)) return {};
    T value;
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
  }
};

class StreamReader {
 public:
  // `directory`: recordings/ID of a run.
  static Result<StreamReader> open(const std::filesystem::path& directory);

  // The next record; empty at the end.
  Result<std::optional<StreamRecord>> next();

  uint32_t files() const { return files_; }
  uint64_t bytes() const { return bytes_; }  // that are whole, of all files
  // A descriptor of its own for a file.
  Result<UniqueFd> file(uint32_t number) const;

 private:
  Result<> open_file(uint32_t number);
  bool fill(uint64_t at, size_t bytes);
  Error damaged(const char* what) const;

  std::filesystem::path path_;
  UniqueFd directory_, fd_;
  uint32_t files_ = 0, number_ = 0;
  uint64_t bytes_ = 0;
  uint64_t at_ = 0, end_ = 0;          // in the file
  std::vector<unsigned char> window_;  // of the file...
  uint64_t window_at_ = 0;             // ...from here
};

}  // namespace shmrec::recording
