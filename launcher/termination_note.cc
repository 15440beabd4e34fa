#include "launcher/termination_note.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/printable.h"
#include "base/unique_fd.h"

namespace shmrec::launcher {

constexpr size_t kMaxBytes = 4096;

void write_termination_note(const std::string& text, const std::string& path) {
  if (text.empty()) return;
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0) return;
  if (!S_ISREG(status.st_mode) || status.st_nlink > 1 || status.st_size != 0) return;
  const std::string line = printable("shmrec: " + text).substr(0, kMaxBytes - 1) + "\n";
  (void)!write(file.get(), line.data(), line.size());
}

}  // namespace shmrec::launcher
