#include "launcher/shared_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

namespace shmrec::launcher {
namespace {

// Who may read files in the folder may enter it.
mode_t folder_mode(mode_t file_mode) { return file_mode | (file_mode & 0444u) >> 2; }

// A shared spool hands its group on by the setgid bit, which chmod would take away. A folder that
// another launcher made need not be ours to change.
void share(int folder, mode_t file_mode) {
  struct stat status;
  if (fstat(folder, &status) != 0 || (status.st_mode & 0777) == folder_mode(file_mode)) return;
  fchmod(folder, folder_mode(file_mode) | (status.st_mode & S_ISGID));
}

}  // namespace

Result<UniqueFd> make_shared_folder(const std::filesystem::path& path, mode_t file_mode) {
  UniqueFd folder = make_shared_folder_at(AT_FDCWD, path.c_str(), file_mode);
  if (!folder) return system_error(path.string());
  return folder;
}

UniqueFd make_shared_folder_at(int directory, const char* name, mode_t file_mode) {
  // With its last mode at once: chmod would take the setgid bit from whoever is not in the group.
  const mode_t before = umask(0);
  const int made = mkdirat(directory, name, folder_mode(file_mode));
  const int error = errno;
  umask(before);
  if (made != 0 && error != EEXIST) return errno = error, UniqueFd();
  UniqueFd folder(openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder) share(folder.get(), file_mode);
  return folder;
}

}  // namespace shmrec::launcher
