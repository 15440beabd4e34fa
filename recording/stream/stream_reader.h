// Reads the stream of a recording (recording/stream/stream_format.h), record by record.
//
// A stream of a process that was killed, or runs, ends with its last whole record. Of one that is
// damaged (cut off, a file missing between others, a record that cannot be) all records before the
// damage are read; then comes an Error that says which file, which byte and what was expected, and
// comes again.
//
// Trust: a stream is its workload's to write. Files are opened through no link; what next() gives
// is sound (record_trouble) and in order (RecordOrder).
// Owner: holds the directory and the file it is at. Threads: one.
// Memory: 1 MiB, or as much as the largest record, which may be almost 4 GiB.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/stream/stream_format.h"
#include "recording/stream/stream_record.h"

namespace shmrec::recording {

class StreamReader {
 public:
  // `directory`: recordings/ID of a run; neither of the two names may be a link.
  static Result<StreamReader> open(const std::filesystem::path& directory);

  // The next record; empty at the end.
  Result<std::optional<StreamRecord>> next();

  const std::string& recording() const { return recording_; }  // its ID
  uint32_t files() const { return files_; }
  uint64_t bytes() const { return bytes_; }  // that are whole, of all files
  // A descriptor of its own for a file.
  Result<UniqueFd> file(uint32_t number) const;

 private:
  struct OpenFile {
    UniqueFd fd;
    stream::FileHeader header{};
    uint64_t bytes = 0;      // its length now
    bool has_header = true;  // false: it was made, and nobody has written to it
  };
  Result<> find_files();
  std::string name(uint32_t number) const;
  Result<OpenFile> open_file(uint32_t number) const;
  std::string header_trouble(const stream::FileHeader& header, uint32_t number) const;
  Result<> enter(uint32_t number);
  Result<> to_next_file();
  Result<stream::RecordHeader> record_header();
  bool fill(uint64_t at, uint64_t bytes);
  Error damaged(const std::string& what) const;
  Error cut_off() const;

  std::filesystem::path path_;
  std::string recording_;
  UniqueFd directory_, fd_;
  uint32_t files_ = 0, number_ = 0;
  bool gap_ = false;  // there are files behind one that is missing
  uint64_t bytes_ = 0;
  RecordOrder order_;
  uint64_t at_ = 0, end_ = 0;          // in the file
  uint64_t committed_ = 0;             // beyond end_: it is cut off
  std::vector<unsigned char> window_;  // of the file...
  uint64_t window_at_ = 0;             // ...from here
};

}  // namespace shmrec::recording
