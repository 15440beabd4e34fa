#include "sidecar/store/owner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "recording/run/text.h"
#include "sidecar/store/moment.h"

namespace shmrec::sidecar {
namespace {

constexpr const char* kName = "owner";
constexpr int kAttempts = 10;

std::string who_we_are() {
  utsname names{};
  uname(&names);
  return "pid " + std::to_string(getpid()) + " on " + names.nodename + ", since " +
         rfc3339(Moment::now().wall_ns);
}

std::string who_has_it(int fd) {
  char text[200];
  const ssize_t got = pread(fd, text, sizeof text, 0);
  return got > 0 ? recording::printable(std::string(text, static_cast<size_t>(got))) : "unknown";
}

bool is_own_file(const struct stat& status) {
  return S_ISREG(status.st_mode) && status.st_nlink == 1 && status.st_uid == geteuid();
}

bool is_still_there(int directory, const struct stat& ours) {
  struct stat there;
  return fstatat(directory, kName, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
}

}  // namespace

Result<OwnerLock> OwnerLock::take(int directory_fd, const std::string& directory,
                                  const std::string& what) {
  const std::string path = directory + "/" + kName;
  // Again if somebody replaces the file between the opening and the lock.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    OwnerLock lock;
    lock.fd_.reset(openat(directory_fd, kName,
                          O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600));
    if (!lock.fd_) return system_error(path + ": cannot take the " + what);
    struct stat status;
    if (fstat(lock.fd_.get(), &status) != 0) return system_error(path);
    if (status.st_nlink == 0) continue;
    if (!is_own_file(status))
      return Error{path + ": not a file of this user alone; remove it", false};
    if (flock(lock.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return system_error(path + ": cannot lock");
      return Error{directory + ": another sidecar has this " + what + " (" +
                       who_has_it(lock.fd_.get()) + "); stop it or give each its own " + what,
                   false};
    }
    if (!is_still_there(directory_fd, status)) continue;
    const std::string text = who_we_are();
    // On a full disk the lock holds all the same; only the message of the second is poorer.
    if (ftruncate(lock.fd_.get(), 0) == 0)
      (void)!pwrite(lock.fd_.get(), text.data(), text.size(), 0);
    return lock;
  }
  return Error{path + ": somebody keeps replacing it", false};
}

}  // namespace shmrec::sidecar
