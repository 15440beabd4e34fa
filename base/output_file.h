// A file written under a path that a person or a configuration chose.
//
// What is at the path decides how:
//   nothing, a regular file   written beside it as PATH.partial and renamed, so that it is whole
//   a symbolic link           followed, as cp does: the link stays, what it names is written; one
//                             that leads nowhere is refused
//   a device, a pipe          written into (Special::kWrite), or refused (Special::kRefuse)
//   a directory, a socket     refused
// A link in /proc (/dev/stdout, /dev/fd/N) names an open file: that file is written into.
//
// Invariants
//  1. Whatever is no regular file is never renamed over and never unlinked.
//  2. Without commit() a regular file at the path is what it was, and PATH.partial is gone.
//  3. One living writer has PATH.partial (a lock); what a killed one left is no obstacle.
// Owner: holds the descriptor. Threads: one at a time.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec {

class OutputFile {
 public:
  enum class Special { kWrite, kRefuse };

  static Result<OutputFile> create(const std::filesystem::path& path, mode_t mode, Special special);
  OutputFile(OutputFile&&) = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  int fd() const { return fd_.get(); }
  // The file that is being written, for messages.
  const std::string& name() const { return partial_.empty() ? target_ : partial_; }
  // An error about it from errno, with what to do.
  Error error(int err) const;

  Result<> commit();

 private:
  OutputFile(std::string target, UniqueFd fd) : target_(std::move(target)), fd_(std::move(fd)) {}
  static Result<OutputFile> open_beside(const std::filesystem::path& target, mode_t mode);
  static Result<OutputFile> open_special(const std::filesystem::path& path);

  std::string target_;   // after all links
  std::string partial_;  // empty: written in place, or committed
  UniqueFd fd_;
};

// Whether an output of this path is, or would be, a regular file that goes by it: not a device, a
// pipe or an open file (/dev/stdout).
bool is_plain_output(const std::filesystem::path& path);

// For those who write under names of their own in a directory that others can write too.
//
// renameat() that replaces a regular file or nothing; false with errno otherwise: EEXIST if another
// kind of file has the name.
bool rename_over_file(int from_directory, const char* from, int to_directory, const char* to);
bool is_regular_file(int fd);
// Unlinks what a killed writer left; false with errno EEXIST if another kind of file has the name.
bool unlink_file(int directory, const char* name);

}  // namespace shmrec
