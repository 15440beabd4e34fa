#include "base/text_output.h"

#include <errno.h>
#include <unistd.h>

namespace shmrec {
namespace {

constexpr mode_t kMode = 0666;

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

Result<TextOutput> TextOutput::open(const std::string& path) {
  if (path.empty() || path == "-") return TextOutput(std::nullopt);
  Result<OutputFile> file = OutputFile::create(path, kMode, OutputFile::Special::kWrite);
  if (!file) return file.error();
  return TextOutput(std::move(*file));
}

void TextOutput::flush() {
  const int fd = file_ ? file_->fd() : STDOUT_FILENO;
  if (!failure_ && !write_all(fd, pending_))
    failure_ = file_ ? file_->error(errno) : system_error("standard output: cannot write it");
  pending_.clear();
}

Result<> TextOutput::finish() {
  flush();
  if (failure_) return *failure_;
  return file_ ? file_->commit() : Unit{};
}

}  // namespace shmrec
