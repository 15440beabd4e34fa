#include "launcher/spool_probe.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace shmrec::launcher {
namespace {

constexpr const char* kFile = "/probe";

std::string new_name() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number)
    number = static_cast<uint64_t>(time(nullptr));
  return ".probe-" + std::to_string(getpid()) + "-" + std::to_string(number);
}

}  // namespace

bool give_to_group(const std::string& directory, gid_t group) {
  struct stat before, after;
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd || fstat(fd.get(), &before) != 0) return false;
  // The kernel clears the bit in silence where it is not allowed.
  const bool given = fchown(fd.get(), static_cast<uid_t>(-1), group) == 0 &&
                     fchmod(fd.get(), 02770) == 0 && fstat(fd.get(), &after) == 0 &&
                     (after.st_mode & S_ISGID) != 0 && after.st_gid == group;
  if (given) return true;
  (void)fchown(fd.get(), static_cast<uid_t>(-1), before.st_gid);
  fchmod(fd.get(), before.st_mode & 07777);
  return false;
}

// With the modes that a run directory and its files get (run_directory.cc).
SpoolProbe::SpoolProbe(const std::string& spool, const ucred& sidecar) {
  struct stat place;
  const bool shared = stat(spool.c_str(), &place) == 0 && (place.st_mode & S_ISGID) != 0;
  const std::string name = new_name();
  directory_ = spool + "/" + name;
  const mode_t before = umask(shared ? 007 : 077);
  const bool made = mkdir(directory_.c_str(), 0777) == 0;
  umask(before);
  if (!made) return;
  name_ = name;
  const bool stranger = sidecar.uid != geteuid() && sidecar.uid != 0;
  if (!shared && stranger && give_to_group(directory_, sidecar.gid)) group_ = sidecar.gid;
  const mode_t mode = shared || group_ ? 0660 : 0600;
  const UniqueFd file(
      open((directory_ + kFile).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (file) fchmod(file.get(), mode);
}

SpoolProbe::~SpoolProbe() {
  if (name_.empty()) return;
  unlink((directory_ + kFile).c_str());
  rmdir(directory_.c_str());
}

}  // namespace shmrec::launcher
