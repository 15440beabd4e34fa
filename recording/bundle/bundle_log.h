// The shared-memory log as a bundle takes it: the bytes up to the last chunk ever used, which do
// not change any more.
//
// Its tables and its journal are as large as a long run may need. A bundle gets them packed: as far
// as they were handed out, each moved up to the one before, in a header that says so. Readers take
// positions and counts from the header, and see no difference. A log that is not laid out as it was
// made, or in which a thread died within an access (its lane names a place in the file), is taken
// as it is.
//
// A log that may still be written is first copied beside the bundle, from its end to its start:
// chunks, then the journal, then the tables, then the header, so that whatever a copied record
// needs is in what is copied after it. A chunk that is claimed anew while it is copied is left out.
//
// A stranger's log is always copied: its owner could make it shorter while it is mapped. It must
// lie in the directory itself, and not be larger than a bundle can be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/bundle/bundle_files.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

struct LogImage {
  // Bytes of `fd` from `from` on, that are stored from `at` on.
  struct Piece {
    uint64_t at, from, bytes;
  };

  // As pread_all, of what is stored.
  ssize_t read(char* into, size_t bytes, uint64_t at) const;

  UniqueFd fd;                 // as the run left it
  uint64_t used_bytes = 0;     // of `fd`
  uint64_t stored_bytes = 0;   // what goes into the bundle: `header`, then the pieces
  uint64_t present_bytes = 0;  // size of the file in the run directory; the rest of it is zeros
  bool copied = false;         // the run is not known to have ended, or its writer not trusted
  std::string header;          // empty if not packed
  std::vector<Piece> pieces;
};

// `scratch`: a directory where an unnamed temporary file may be made; holes take no space.
// `room_bytes`: what the log in the bundle and the copy of it may take there together.
Result<LogImage> take_log(int run_dir, const std::string& shown, bool foreign,
                          const std::filesystem::path& scratch, uint64_t room_bytes = UINT64_MAX);

// An image opened for reading. Holes, and what is not stored, read as zeros from anonymous memory:
// reading holes of a file on tmpfs through a mapping would take up memory.
class LogView {
 public:
  // `image` may go away, its file is mapped. `name` stands for the path in messages.
  static Result<std::unique_ptr<LogView>> open(const LogImage& image, const std::string& name);
  ~LogView();
  LogView(const LogView&) = delete;
  LogView& operator=(const LogView&) = delete;
  const ShmlogReader& reader() const { return *reader_; }

 private:
  LogView();
  bool map_data(int fd, uint64_t bytes);
  void* data_;
  uint64_t bytes_ = 0;
  std::unique_ptr<ShmlogReader> reader_;
};

}  // namespace shmrec::recording
