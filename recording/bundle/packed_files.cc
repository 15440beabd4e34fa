#include "recording/bundle/packed_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "recording/bundle/bundle_files.h"

namespace shmrec::recording {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kJustNow = 2 * kSecond;

struct Identity {
  char boot[40];  // of the kernel's boot ID
  uint64_t device, inode, bytes;
  int64_t modified_ns, changed_ns;
};

struct Head {
  char magic[8];
  Identity of;
  uint64_t frame_bytes;
  Sha256::Digest sum;
};
constexpr char kMagic[8] = {'S', 'H', 'M', 'R', 'P', 'K', '0', '1'};
static_assert(sizeof(Head) == 8 + 80 + 8 + 32);

int64_t nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

std::optional<Identity> identify(int fd) {
  Identity identity{};
  struct stat status;
  uint64_t ignored = 0;
  const Result<UniqueFd> boot = open_regular("/proc/sys/kernel/random/boot_id", ignored);
  if (!boot || pread_all(boot->get(), identity.boot, sizeof(identity.boot) - 1, 0) <= 0 ||
      fstat(fd, &status) != 0)
    return std::nullopt;
  identity.device = status.st_dev;
  identity.inode = status.st_ino;
  identity.bytes = static_cast<uint64_t>(status.st_size);
  identity.modified_ns = nanoseconds(status.st_mtim);
  identity.changed_ns = nanoseconds(status.st_ctim);
  return identity;
}

bool written_just_now(const Identity& identity) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now) - std::max(identity.modified_ns, identity.changed_ns) < kJustNow;
}

bool is_own(const struct stat& status) {
  return status.st_uid == geteuid() && (status.st_mode & 022) == 0;
}

UniqueFd open_own_directory(const std::filesystem::path& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (fd && fstat(fd.get(), &status) == 0 && is_own(status)) return fd;
  return UniqueFd();
}

struct OldFile {
  std::string name;
  uint64_t bytes;
  int64_t modified_ns;
};

std::vector<OldFile> files_in(int directory) {
  std::vector<OldFile> files;
  const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const opened = copy < 0 ? nullptr : fdopendir(copy);
  if (opened == nullptr) return files;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opened, closedir);
  while (const dirent* entry = readdir(stream.get())) {
    struct stat status;
    if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(status.st_mode))
      files.push_back(
          {entry->d_name, static_cast<uint64_t>(status.st_size), nanoseconds(status.st_mtim)});
  }
  return files;
}

// The oldest go. False: there is no room however many go.
bool make_room(int directory, uint64_t bytes, uint64_t max_bytes) {
  std::vector<OldFile> files = files_in(directory);
  std::sort(files.begin(), files.end(),
            [](const OldFile& a, const OldFile& b) { return a.modified_ns < b.modified_ns; });
  uint64_t used = bytes;
  for (const OldFile& file : files) used += file.bytes;
  for (const OldFile& file : files) {
    if (used <= max_bytes) break;
    if (unlinkat(directory, file.name.c_str(), 0) == 0) used -= file.bytes;
  }
  return used <= max_bytes;
}

bool write_packed(int fd, const Head& head, const PackedFile& packed) {
  return write_all(fd, reinterpret_cast<const char*>(&head), sizeof(head)) &&
         write_all(fd, packed.frame.data(), packed.frame.size());
}

}  // namespace

bool PackedFile::read(char* into, size_t bytes, uint64_t at) const {
  if (fd) return pread_all(fd.get(), into, bytes, frame_at + at) == static_cast<ssize_t>(bytes);
  std::copy_n(frame.data() + at, bytes, into);
  return true;
}

std::optional<PackedFile> PackedFiles::find(const std::string& name, int fd,
                                            uint64_t content_bytes) const {
  const UniqueFd directory = directory_.empty() ? UniqueFd() : open_own_directory(directory_);
  if (!directory) return std::nullopt;
  PackedFile packed;
  uint64_t bytes = 0;
  Result<UniqueFd> file = open_regular_at(directory.get(), name.c_str(), name, bytes);
  const std::optional<Identity> wanted = identify(fd);
  struct stat status;
  Head head;
  if (!file || !wanted || wanted->bytes != content_bytes || fstat(file->get(), &status) != 0 ||
      !is_own(status) || pread_all(file->get(), &head, sizeof(head), 0) != sizeof(head))
    return std::nullopt;
  if (std::memcmp(head.magic, kMagic, sizeof(kMagic)) != 0 ||
      std::memcmp(&head.of, &*wanted, sizeof(*wanted)) != 0 ||
      head.frame_bytes != bytes - sizeof(head))
    return std::nullopt;
  packed.sum = head.sum;
  packed.frame_bytes = head.frame_bytes;
  packed.frame_at = sizeof(head);
  packed.fd = std::move(*file);
  return packed;
}

void PackedFiles::keep(const std::string& name, int fd, uint64_t content_bytes,
                       const PackedFile& packed) const {
  const std::optional<Identity> identity = identify(fd);
  const uint64_t bytes = sizeof(Head) + packed.frame.size();
  if (directory_.empty() || bytes > max_bytes_) return;
  if (!identity || identity->bytes != content_bytes || written_just_now(*identity)) return;
  mkdir(directory_.c_str(), 0700);
  const UniqueFd directory = open_own_directory(directory_);
  if (!directory || !make_room(directory.get(), bytes, max_bytes_)) return;
  Head head{};
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  head.of = *identity;
  head.frame_bytes = packed.frame.size();
  head.sum = packed.sum;
  const std::string partial = "partial-" + std::to_string(getpid());
  const UniqueFd file(openat(directory.get(), partial.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return;
  if (!write_packed(file.get(), head, packed) ||
      renameat(directory.get(), partial.c_str(), directory.get(), name.c_str()) != 0)
    unlinkat(directory.get(), partial.c_str(), 0);
}

}  // namespace shmrec::recording
