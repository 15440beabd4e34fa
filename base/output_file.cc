#include "base/output_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include <iterator>

namespace shmrec {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxLinks = 40;  // the kernel's own
constexpr int kLockAttempts = 10;
constexpr const char* kPartial = ".partial";
// How long a pipe may be without a reader. A launcher must not wait for one for ever.
constexpr int kReaderAttempts = 100;
constexpr timespec kReaderInterval{0, 100'000'000};

struct ErrnoAdvice {
  int error;
  const char* advice;
};
constexpr const char* kFreeSpace = "; free space there or choose another place for it";
constexpr const char* kOtherPlace = "; choose another place for it";
constexpr ErrnoAdvice kAdvice[] = {
    {ENOSPC, kFreeSpace}, {EDQUOT, kFreeSpace}, {EFBIG, kFreeSpace},  {EACCES, kOtherPlace},
    {EPERM, kOtherPlace}, {EROFS, kOtherPlace}, {ENOENT, kOtherPlace}};

Error write_error(const std::string& path, int err) {
  Error error = system_error(path + ": cannot write it", err);
  for (const ErrnoAdvice& row : kAdvice)
    if (row.error == err) error.message += row.advice;
  return error;
}

Error refusal(const fs::path& path, const char* what) {
  return Error{path.string() + ": " + what + "; choose another place for the output"};
}

// Why nothing can be written there, or null.
const char* why_not_written(mode_t mode, OutputFile::Special special) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISREG(mode) || special == OutputFile::Special::kWrite) return nullptr;
  return S_ISFIFO(mode) ? "a pipe, not a regular file" : "a device, not a regular file";
}

// Links there name open files, which may have no path at all.
bool is_in_proc(const fs::path& path) {
  struct statfs info;
  const fs::path parent = path.parent_path();
  return statfs(parent.empty() ? "." : parent.c_str(), &info) == 0 &&
         info.f_type == PROC_SUPER_MAGIC;
}

bool is_link(const fs::path& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

// Follows links up to one in /proc, which stays.
Result<fs::path> resolve(fs::path path) {
  const fs::path given = path;
  for (int i = 0; is_link(path); ++i) {
    if (i == kMaxLinks) return write_error(given.string(), ELOOP);
    if (is_in_proc(path)) return path;
    std::error_code error;
    const fs::path next = fs::read_symlink(path, error);
    if (error) return write_error(given.string(), error.value());
    path = path.parent_path() / next;  // an absolute one replaces it
  }
  struct stat status;
  if (path != given && lstat(path.c_str(), &status) != 0)
    return refusal(given, "a symbolic link that leads nowhere");
  return path;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

// Opens the partial file so that only one living writer has it. The loop, because the file may be
// renamed while its lock is waited for.
Result<UniqueFd> open_partial(const std::string& path, mode_t mode) {
  for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
    UniqueFd fd(open(path.c_str(),
                     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode));
    struct stat ours, there;
    if (!fd || fstat(fd.get(), &ours) != 0) return write_error(path, errno);
    if (!S_ISREG(ours.st_mode)) return refusal(path, "not a regular file");
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return write_error(path, errno);
      return Error{path + ": another shmrec is writing it; wait for it or choose another name",
                   false};
    }
    if (lstat(path.c_str(), &there) != 0 || !same_file(ours, there)) continue;
    if (ftruncate(fd.get(), 0) != 0) return write_error(path, errno);
    return fd;
  }
  return Error{path + ": other writers keep taking it; choose another name", false};
}

void sync_directory(const fs::path& file) {
  const fs::path parent = file.parent_path();
  const UniqueFd fd(
      open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) fsync(fd.get());
}

}  // namespace

bool is_plain_output(const fs::path& path) {
  const Result<fs::path> target = resolve(path);
  struct stat status;
  if (!target) return false;
  return lstat(target->c_str(), &status) != 0 || S_ISREG(status.st_mode);
}

bool is_regular_file(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

bool rename_over_file(int from_directory, const char* from, int to_directory, const char* to) {
  struct stat there;
  if (fstatat(to_directory, to, &there, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(there.st_mode)) {
    errno = EEXIST;
    return false;
  }
  return renameat(from_directory, from, to_directory, to) == 0;
}

bool unlink_file(int directory, const char* name) {
  struct stat there;
  if (fstatat(directory, name, &there, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT;
  if (!S_ISREG(there.st_mode)) {
    errno = EEXIST;
    return false;
  }
  return unlinkat(directory, name, 0) == 0;
}

Result<OutputFile> OutputFile::create(const fs::path& path, mode_t mode, Special special) {
  const Result<fs::path> target = resolve(path);
  if (!target) return target.error();
  struct stat status;
  if (stat(target->c_str(), &status) != 0) {
    if (errno != ENOENT) return write_error(path.string(), errno);
    return open_beside(*target, mode);
  }
  if (const char* why = why_not_written(status.st_mode, special)) return refusal(path, why);
  // Through a link in /proc: the open file is meant, not whatever has its name by now.
  if (S_ISREG(status.st_mode) && !is_link(*target)) return open_beside(*target, mode);
  return open_special(*target);
}

Result<OutputFile> OutputFile::open_beside(const fs::path& target, mode_t mode) {
  const std::string partial = target.string() + kPartial;
  Result<UniqueFd> fd = open_partial(partial, mode);
  if (!fd) return fd.error();
  OutputFile file(target.string(), std::move(*fd));
  file.partial_ = partial;
  return file;
}

Result<OutputFile> OutputFile::open_special(const fs::path& path) {
  UniqueFd fd;
  for (int i = 0; i < kReaderAttempts; ++i) {
    fd.reset(open(path.c_str(), O_WRONLY | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (fd || errno != ENXIO) break;  // ENXIO: a pipe without a reader
    nanosleep(&kReaderInterval, nullptr);
  }
  if (!fd && errno == ENXIO) return refusal(path, "nobody reads from this pipe");
  if (!fd) return write_error(path.string(), errno);
  const int flags = fcntl(fd.get(), F_GETFL);
  fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK);
  return OutputFile(path.string(), std::move(fd));
}

OutputFile::~OutputFile() {
  if (fd_ && !partial_.empty()) unlink(partial_.c_str());
}

Error OutputFile::error(int err) const { return write_error(name(), err); }

Result<> OutputFile::commit() {
  const bool synced = fsync(fd_.get()) == 0;
  if (partial_.empty()) return Unit{};
  if (!synced) return error(errno);
  if (!rename_over_file(AT_FDCWD, partial_.c_str(), AT_FDCWD, target_.c_str()))
    return write_error(target_, errno);
  partial_.clear();
  sync_directory(target_);
  return Unit{};
}

}  // namespace shmrec
