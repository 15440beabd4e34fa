// Long text for standard output or for a file that a person named: written in large pieces, and an
// error kept until the end, so that who makes the text need not look at each piece.
//
// A file is written as output_file.h says: whole, or not at all. Owner: holds the file; standard
// output is the process's. Threads: one at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/output_file.h"
#include "base/result.h"

namespace shmrec {

class TextOutput {
 public:
  // "" and "-": standard output.
  static Result<TextOutput> open(const std::string& path);

  // False once something could not be written: there is no use in more.
  bool write(std::string_view text) {
    if (pending_.size() + text.size() > kPieceBytes) flush();
    pending_ += text;
    return !failure_;
  }
  // All that is left. The error of the first write that failed, if any did.
  Result<> finish();

 private:
  static constexpr size_t kPieceBytes = 1 << 20;
  explicit TextOutput(std::optional<OutputFile> file) : file_(std::move(file)) {}
  void flush();

  std::optional<OutputFile> file_;  // none: standard output
  std::string pending_;
  std::optional<Error> failure_;
};

}  // namespace shmrec
