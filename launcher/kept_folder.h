// binaries/ of a run directory, as its writer sees it: copies files in, once each, and notes them
// in the index (recording/bundle/kept_binaries.h, docs/spool.md).
//
// Several launchers may write into one folder; a file gets its name when it is whole.
// Owner: holds the folder and its index open. Threads: one at a time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <tuple>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/bundle/kept_binaries.h"

namespace shmrec::launcher {

class KeptFolder {
 public:
  using Stop = std::function<bool()>;  // asked for each block

  static Result<KeptFolder> create(const std::filesystem::path& run_directory, mode_t file_mode,
                                   uint64_t max_bytes);

  // Copies the file unless it is there already, and notes it under `path`. False: not kept, why.
  // A copy that was stopped is as if it had not been begun.
  enum class Outcome { kKept, kLost, kStopped };
  Outcome keep(const std::string& path, int file, const Stop& stop, std::string& why);
  void note_missing(const std::string& path, uint64_t inode, const std::string& why);

  uint64_t files() const { return names_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  // Device, inode, size, time of last change in seconds and nanoseconds.
  using Identity = std::tuple<dev_t, ino_t, off_t, time_t, long>;

  bool has_room(uint64_t bytes, std::string& why) const;
  UniqueFd make_temporary(std::string& name);
  Outcome copy(int from, int to, uint64_t bytes, const Stop& stop, std::string& sha256,
               std::string& why) const;
  bool give_name(const std::string& temporary, recording::KeptBinary& binary);
  std::string name_for(const recording::KeptBinary& binary, bool& there);
  void append(const recording::KeptBinary& binary);

  UniqueFd folder_, index_;
  mode_t file_mode_ = 0600;
  uint64_t max_bytes_ = 0, bytes_ = 0;
  uint64_t next_temporary_ = 0;
  std::map<Identity, recording::KeptBinary> known_;
  std::map<std::string, std::string> names_;  // in the folder, and the sum of what has it
};

}  // namespace shmrec::launcher
