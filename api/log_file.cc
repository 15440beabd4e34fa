#include "api/log_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"
#include "recording/log/shmlog_create.h"

namespace shmrec::api {
namespace {

using shmlog::Header;

constexpr int kTryAgain = -1;  // no errno: the name changed its meaning meanwhile

template <typename T>
bool read_at(int fd, uint64_t offset, T& value) {
  return pread(fd, &value, sizeof(value), static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(sizeof(value));
}

// REQUIRES: the flock of `fd` is held.
bool still_named(int fd, const std::string& path) {
  struct stat by_fd {
  }, by_name{};
  return fstat(fd, &by_fd) == 0 && stat(path.c_str(), &by_name) == 0 &&
         by_fd.st_dev == by_name.st_dev && by_fd.st_ino == by_name.st_ino;
}

// 0 if the file is a log of this version, whole; fills `header`.
int check_header(int fd, Header& header) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return errno;
  if (!S_ISREG(file.st_mode) || !read_at(fd, 0, header) ||
      std::memcmp(header.magic, shmlog::kMagic, sizeof(header.magic)) != 0) {
    return EEXIST;
  }
  const bool same_version =
      header.version == shmlog::kVersion && header.header_bytes == sizeof(Header);
  return same_version && header.file_bytes == static_cast<uint64_t>(file.st_size) ? 0 : EPROTO;
}

// Everybody who records holds the lock shared, by the opening that is mapped: whoever gets it for
// itself alone knows that nobody does. A log of another run is removed then, and joined otherwise.
int join_or_remove(const LogRequest& request, UniqueFd& fd, LogFile& log) {
  const bool alone = flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
  if (!alone && flock(fd.get(), LOCK_SH) != 0) return errno;
  if (!still_named(fd.get(), request.path)) return kTryAgain;
  Header header;
  if (const int error = check_header(fd.get(), header)) return error;
  if (alone && header.run_id != request.run_id)
    return unlink(request.path.c_str()) == 0 ? kTryAgain : errno;
  if (alone && flock(fd.get(), LOCK_SH) != 0) return errno;
  if (!still_named(fd.get(), request.path)) return kTryAgain;  // it was nobody's for a moment
  log = LogFile{fd.release(), header.file_bytes};
  return 0;
}

std::string partial_name(const std::string& path) {
  uint64_t random = 0;
  if (getrandom(&random, sizeof(random), 0) != sizeof(random))
    random = static_cast<uint64_t>(getpid());
  return path + "." + std::to_string(random) + ".partial";
}

int create(const LogRequest& request, LogFile& log) {
  recording::CreateOptions options;
  options.log_bytes = request.bytes;
  options.run_id = request.run_id;
  options.launcher_pid = static_cast<uint32_t>(getpid());
  options.build = SHMREC_VERSION;
  const std::string partial = partial_name(request.path);
  errno = 0;
  const Result<int> created = recording::create_shmlog(partial, options);
  if (!created) return errno != 0 ? errno : EINVAL;
  UniqueFd fd(created.value());
  const int linked = link(partial.c_str(), request.path.c_str()) == 0 ? 0 : errno;
  unlink(partial.c_str());
  if (linked != 0) return linked == EEXIST ? kTryAgain : linked;
  log = LogFile{fd.release(), request.bytes / 4096 * 4096};
  return 0;
}

// A link stays; the file that it names is the log. One that leads nowhere is refused.
int follow_links(std::string& path) {
  struct stat there {};
  if (lstat(path.c_str(), &there) != 0 || !S_ISLNK(there.st_mode)) return 0;
  char* const real = realpath(path.c_str(), nullptr);
  if (real == nullptr) return errno;
  path = real;
  std::free(real);
  return 0;
}

}  // namespace

int open_log(const LogRequest& wanted, LogFile& log) {
  LogRequest request = wanted;
  if (const int error = follow_links(request.path)) return error;
  for (;;) {
    UniqueFd fd(open(request.path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (fd.get() < 0 && errno != ENOENT) return errno;
    const int result = fd.get() < 0 ? create(request, log) : join_or_remove(request, fd, log);
    if (result != kTryAgain) return result;
  }
}

}  // namespace shmrec::api
