#include "recording/bundle/bundle_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace shmrec::recording {

bool write_all(int fd, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = write(fd, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = ENOSPC;
    if (written <= 0) return false;
    data += written;
    bytes -= static_cast<size_t>(written);
  }
  return true;
}

ssize_t pread_all(int fd, void* into, size_t bytes, uint64_t offset) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t part =
        pread(fd, static_cast<char*>(into) + done, bytes - done, static_cast<off_t>(offset + done));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return -1;
    if (part == 0) break;
    done += static_cast<size_t>(part);
  }
  return static_cast<ssize_t>(done);
}

namespace {

constexpr int kOpenForReading = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Result<UniqueFd> only_regular(UniqueFd fd, const std::string& shown, uint64_t& bytes) {
  struct stat status;
  if (!fd || fstat(fd.get(), &status) != 0) return system_error(shown);
  if (!S_ISREG(status.st_mode)) {
    errno = EINVAL;
    return Error{shown + ": not a regular file"};
  }
  bytes = static_cast<uint64_t>(status.st_size);
  return fd;
}

}  // namespace

Result<UniqueFd> open_regular(const std::filesystem::path& path, uint64_t& bytes) {
  return only_regular(UniqueFd(open(path.c_str(), kOpenForReading)), path, bytes);
}

Result<UniqueFd> open_regular_at(int directory, const char* name, const std::string& shown,
                                 uint64_t& bytes) {
  UniqueFd fd(openat(directory, name, kOpenForReading | O_NOFOLLOW));
  if (!fd && errno == ELOOP) return Error{shown + ": a symbolic link; not followed"};
  return only_regular(std::move(fd), shown, bytes);
}

Result<UniqueFd> open_directory(const std::filesystem::path& path, bool follow) {
  // A slash at the end would follow a link in spite of O_NOFOLLOW.
  const std::filesystem::path plain = path.has_filename() ? path : path.parent_path();
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
  UniqueFd fd(open(plain.c_str(), flags));
  if (!fd) return system_error(path);
  return fd;
}

Result<std::string> read_text(const std::filesystem::path& path, uint64_t limit) {
  uint64_t bytes = 0;
  Result<UniqueFd> fd = open_regular(path, bytes);
  if (!fd) return fd.error();
  if (bytes > limit) {
    return Error{path.string() + ": " + human_bytes(bytes) + " long; expected at most " +
                 human_bytes(limit)};
  }
  std::string text(bytes, '\0');
  const ssize_t got = pread_all(fd->get(), text.data(), text.size(), 0);
  if (got < 0) return system_error(path);
  text.resize(static_cast<size_t>(got));
  return text;
}

std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace shmrec::recording
