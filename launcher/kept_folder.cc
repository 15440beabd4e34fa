#include "launcher/kept_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/output_file.h"
#include "launcher/shared_folder.h"
#include "recording/bundle/bundle_files.h"
#include "recording/bundle/elf_id.h"
#include "recording/bundle/sha256.h"

namespace shmrec::launcher {
namespace {

using recording::KeptBinary;
using recording::pread_all;
using recording::write_all;

constexpr size_t kBlockBytes = 256 << 10;
constexpr uint64_t kSpareBytes = uint64_t{32}
                                 << 20;  // left free for events, the log's copy, others
constexpr int kMaxTemporaries = 1000;

bool unchanged(const struct stat& before, int file) {
  struct stat now;
  return fstat(file, &now) == 0 && now.st_size == before.st_size &&
         now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
         now.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
}

}  // namespace

Result<KeptFolder> KeptFolder::create(const std::filesystem::path& run_directory, mode_t file_mode,
                                      uint64_t max_bytes) {
  KeptFolder kept;
  kept.file_mode_ = file_mode;
  kept.max_bytes_ = max_bytes;
  const std::filesystem::path path = run_directory / recording::kKeptFolder;
  Result<UniqueFd> folder = make_shared_folder(path, file_mode);
  if (!folder) return folder.error();
  kept.folder_ = std::move(*folder);
  kept.index_.reset(openat(kept.folder_.get(), recording::kKeptIndexName,
                           O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                           0600));
  if (kept.index_ && !is_regular_file(kept.index_.get())) {
    kept.index_.reset();
    errno = EEXIST;
  }
  if (!kept.index_) return system_error((path / recording::kKeptIndexName).string());
  fchmod(kept.index_.get(), file_mode);
  return kept;
}

KeptFolder::Outcome KeptFolder::keep(const std::string& path, int file, const Stop& stop,
                                     std::string& why) {
  struct stat status;
  if (fstat(file, &status) != 0) return why = strerror(errno), Outcome::kLost;
  const Identity identity{status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec,
                          status.st_mtim.tv_nsec};
  if (const auto known = known_.find(identity); known != known_.end()) {
    known->second.path = path;
    append(known->second);
    return Outcome::kKept;
  }
  KeptBinary binary{.path = path,
                    .inode = status.st_ino,
                    .build_id = recording::build_id(file),
                    .bytes = static_cast<uint64_t>(status.st_size)};
  if (!has_room(binary.bytes, why)) return Outcome::kLost;
  std::string name;
  const UniqueFd temporary = make_temporary(name);
  if (!temporary) return why = strerror(errno), Outcome::kLost;
  Outcome outcome = copy(file, temporary.get(), binary.bytes, stop, binary.sha256, why);
  if (outcome == Outcome::kKept && !unchanged(status, file)) {
    why = "it changed while it was copied";
    outcome = Outcome::kLost;
  }
  if (outcome == Outcome::kKept && !give_name(name, binary)) {
    why = strerror(errno);
    outcome = Outcome::kLost;
  }
  unlinkat(folder_.get(), name.c_str(), 0);  // gone if it has its name
  if (outcome != Outcome::kKept) return outcome;
  append(binary);
  known_.emplace(identity, binary);
  return outcome;
}

void KeptFolder::note_missing(const std::string& path, uint64_t inode, const std::string& why) {
  KeptBinary binary{.path = path, .inode = inode};
  binary.missing = why;
  append(binary);
}

bool KeptFolder::has_room(uint64_t bytes, std::string& why) const {
  struct statvfs space;
  rlimit limit;
  why.clear();
  if (max_bytes_ != 0 && bytes_ + bytes > max_bytes_) {
    why = "limits.recordingSize leaves no room for it";
  } else if (fstatvfs(folder_.get(), &space) == 0 &&
             uint64_t{space.f_bavail} * space.f_frsize < bytes + kSpareBytes) {
    why = "the spool has no room for it";
  } else if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) {
    why = "larger than the limit on file sizes (RLIMIT_FSIZE)";  // trying would raise SIGXFSZ
  }
  return why.empty();
}

UniqueFd KeptFolder::make_temporary(std::string& name) {
  for (int i = 0; i < kMaxTemporaries; ++i) {
    name = ".copy-" + std::to_string(getpid()) + "-" + std::to_string(next_temporary_++);
    UniqueFd fd(openat(folder_.get(), name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd) fchmod(fd.get(), file_mode_);
    if (fd || errno != EEXIST) return fd;
  }
  return {};
}

KeptFolder::Outcome KeptFolder::copy(int from, int to, uint64_t bytes, const Stop& stop,
                                     std::string& sha256, std::string& why) const {
  recording::Sha256 sum;
  std::vector<char> block(kBlockBytes);
  for (uint64_t at = 0; at < bytes;) {
    if (stop()) return Outcome::kStopped;
    const size_t part = static_cast<size_t>(std::min<uint64_t>(block.size(), bytes - at));
    const ssize_t got = pread_all(from, block.data(), part, at);
    if (got != static_cast<ssize_t>(part)) {
      why = got < 0 ? strerror(errno) : "it became shorter while it was copied";
      return Outcome::kLost;
    }
    sum.update(block.data(), part);
    if (!write_all(to, block.data(), part)) return why = strerror(errno), Outcome::kLost;
    at += part;
  }
  sha256 = recording::to_hex(sum.finish());
  return Outcome::kKept;
}

// The build-id; the sum if another file has that name (the same program, stripped differently).
std::string KeptFolder::name_for(const KeptBinary& binary, bool& there) {
  for (const std::string& name : {binary.build_id, binary.sha256}) {
    if (name.empty()) continue;
    auto known = names_.find(name);
    if (known == names_.end()) {
      // Another launcher's, or a stranger's.
      uint64_t bytes = 0;
      const auto other = recording::open_regular_at(folder_.get(), name.c_str(), name, bytes);
      if (!other) return there = false, name;
      const std::string sum =
          bytes == binary.bytes ? recording::content_id(other->get(), bytes) : "";
      if (sum != binary.sha256) continue;
      return there = true, name;
    }
    if (known->second == binary.sha256) return there = true, name;
  }
  return there = false, binary.sha256;
}

bool KeptFolder::give_name(const std::string& temporary, KeptBinary& binary) {
  bool there = false;
  binary.file = name_for(binary, there);
  if (!there &&
      !rename_over_file(folder_.get(), temporary.c_str(), folder_.get(), binary.file.c_str()))
    return false;
  if (names_.emplace(binary.file, binary.sha256).second && !there) bytes_ += binary.bytes;
  return true;
}

// A full disk loses the line, never the run: what has no line is missing from the bundle.
void KeptFolder::append(const KeptBinary& binary) {
  const std::string line = to_line(binary);
  while (write(index_.get(), line.data(), line.size()) < 0 && errno == EINTR) {
  }
}

}  // namespace shmrec::launcher
