// A directory of one's own (mode 0700) for the time of an object's life.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "base/result.h"

namespace shmrec {

// Removes the directory and all below it, unless told to keep it.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> make(const std::filesystem::path& parent, const char* prefix) {
    std::string name = (parent / (std::string(prefix) + "XXXXXX")).string();
    if (mkdtemp(name.data()) == nullptr) {
      Error error = system_error(parent.string() + ": cannot make a temporary directory");
      error.message += "; set TMPDIR to a writable one";
      return error;
    }
    return TemporaryDirectory(name);
  }
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path keep() { return std::exchange(path_, {}); }

 private:
  explicit TemporaryDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// $TMPDIR, else /tmp.
inline std::filesystem::path temporary_parent() {
  const char* chosen = std::getenv("TMPDIR");
  return chosen != nullptr && *chosen != '\0' ? chosen : "/tmp";
}

}  // namespace shmrec
