#include "sidecar/egress/directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "recording/bundle/bundle_files.h"
#include "recording/bundle/sha256.h"

namespace shmrec::sidecar::egress {
namespace {

using recording::pread_all;
using recording::Sha256;

constexpr size_t kBlockBytes = 256 * 1024;
constexpr const char* kSuffix = ".shmrec.tar.zst";

// What to do about the errors that volumes have.
Error volume_error(const std::string& path, const Bundle& bundle, int err) {
  switch (err) {
    case ENOSPC:
    case EDQUOT:
      return Error{path + ": no space left for a bundle of " +
                       recording::human_bytes(bundle.bytes) +
                       "; remove old bundles there or enlarge the volume",
                   false};
    case EFBIG:
      return Error{path + ": a file of " + recording::human_bytes(bundle.bytes) +
                       " is larger than the file system or RLIMIT_FSIZE allows",
                   false};
    case EROFS:
      return Error{path + ": the file system is read-only; mount the volume writable", false};
    default:
      return system_error(path, err);
  }
}

bool is_own_file(const struct stat& status) {
  return S_ISREG(status.st_mode) && status.st_nlink == 1;
}

// "NAME-XXXXXXXX.shmrec.tar.zst": the name for a bundle whose own is another one's.
std::string name_with_sum(const Bundle& bundle) {
  const std::string sum = "-" + bundle.sha256.substr(0, 8);
  const size_t suffix = bundle.name.rfind(kSuffix);
  if (suffix == std::string::npos) return bundle.name + sum;
  return bundle.name.substr(0, suffix) + sum + bundle.name.substr(suffix);
}

// One copy into one directory.
class Copy {
 public:
  Copy(const Bundle& bundle, const DirectoryOptions& options, const std::atomic<bool>& stop)
      : bundle_(bundle), options_(options), stop_(stop), partial_name_(bundle.name + ".partial") {}

  // The name under which the bundle is now there.
  Result<std::string> run(int source) {
    source_ = source;
    directory_ = UniqueFd(open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory_) return system_error(options_.directory.string());
    for (const std::string& name : {bundle_.name, name_with_sum(bundle_)}) {
      const Result<bool> there = is_there(name);
      if (!there) return there.error();
      if (*there) return name;
    }
    const Result<> copied = copy();
    if (!copied) return copied.error();
    return publish();
  }

  bool source_is_damaged() const { return source_is_damaged_; }

 private:
  std::string shown(const std::string& name) const { return (options_.directory / name).string(); }
  Error stopped() const { return Error{bundle_.name + ": stopped while it was copied", false}; }

  // Whether `name` is there with this bundle's content.
  Result<bool> is_there(const std::string& name) {
    const UniqueFd file(
        openat(directory_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return false;
    struct stat status;
    if (fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        static_cast<uint64_t>(status.st_size) != bundle_.bytes) {
      return false;
    }
    Sha256 sum;
    for (uint64_t at = 0; at < bundle_.bytes;) {
      if (stop_) return stopped();
      const ssize_t got = pread_all(file.get(), block_.data(), block_.size(), at);
      if (got <= 0) return false;
      sum.update(block_.data(), static_cast<size_t>(got));
      at += static_cast<uint64_t>(got);
    }
    return recording::to_hex(sum.finish()) == bundle_.sha256;
  }

  Result<> copy() {
    Result<> done = open_partial();
    if (done) done = reserve();
    if (done) done = copy_blocks();
    if (done && fsync(partial_.get()) != 0) {
      done = volume_error(shown(partial_name_), bundle_, errno);
    }
    return done;
  }

  Result<> open_partial() {
    Result<bool> ours = try_open_partial();
    if (ours && !*ours) {
      // A link: the name is ours, what it names is not. A device or a pipe stays.
      if (!remove_link()) partial_name_ += "-2";
      ours = try_open_partial();
    }
    if (!ours) return ours.error();
    if (!*ours) return Error{shown(partial_name_) + ": not a plain file of ours", false};
    if (flock(partial_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      return Error{shown(partial_name_) + ": another process is writing it", false};
    }
    // Between opening and locking, its writer may have given it its final name.
    struct stat opened, named;
    if (fstat(partial_.get(), &opened) != 0 ||
        fstatat(directory_.get(), partial_name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
        opened.st_ino != named.st_ino || opened.st_dev != named.st_dev) {
      return Error{shown(partial_name_) + ": another process has just moved it", false};
    }
    if (fchmod(partial_.get(), options_.mode) != 0 && errno != EPERM && errno != ENOTSUP) {
      return system_error(shown(partial_name_));
    }
    return Unit{};
  }

  // Removing follows nothing: another name of a file, or a link to it, is all that goes.
  bool remove_link() {
    struct stat there;
    const char* name = partial_name_.c_str();
    return fstatat(directory_.get(), name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           (S_ISLNK(there.st_mode) || S_ISREG(there.st_mode)) &&
           unlinkat(directory_.get(), name, 0) == 0;
  }

  // False: something else has the name.
  Result<bool> try_open_partial() {
    partial_ =
        UniqueFd(openat(directory_.get(), partial_name_.c_str(),
                        O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600));
    // ENXIO: a socket. ELOOP: a symbolic link.
    if (!partial_ && (errno == ELOOP || errno == ENXIO || errno == EISDIR)) return false;
    if (!partial_) return volume_error(shown(partial_name_), bundle_, errno);
    struct stat status;
    if (fstat(partial_.get(), &status) != 0) return system_error(shown(partial_name_));
    if (!is_own_file(status)) return false;
    partial_bytes_ = static_cast<uint64_t>(status.st_size);
    return true;
  }

  // Asks for all space at once: a full volume is known before it is filled. Not every file system
  // can (EOPNOTSUPP); then the write that finds no space says so.
  Result<> reserve() {
    if (bundle_.bytes > 0 &&
        fallocate(partial_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bundle_.bytes)) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
      return give_space_back(errno);
    }
    if (partial_bytes_ > bundle_.bytes) {
      if (ftruncate(partial_.get(), static_cast<off_t>(bundle_.bytes)) != 0) {
        return system_error(shown(partial_name_));
      }
      partial_bytes_ = bundle_.bytes;
    }
    return Unit{};
  }

  Result<> copy_blocks() {
    Sha256 sum;
    for (uint64_t at = 0; at < bundle_.bytes;) {
      if (stop_) return stopped();
      const ssize_t got = pread_all(source_, block_.data(), block_.size(), at);
      if (got < 0) return system_error(bundle_.path.string());
      if (got == 0) break;  // shorter than it was: the sum will say so
      sum.update(block_.data(), static_cast<size_t>(got));
      const Result<> put = put_block(at, static_cast<size_t>(got));
      if (!put) return put;
      at += static_cast<uint64_t>(got);
    }
    if (recording::to_hex(sum.finish()) == bundle_.sha256) return Unit{};
    source_is_damaged_ = true;
    unlinkat(directory_.get(), partial_name_.c_str(), 0);
    return Error{bundle_.path.string() +
                 ": damaged: its SHA-256 is not the one it was stored with"};
  }

  Result<> put_block(uint64_t at, size_t bytes) {
    if (at + bytes <= partial_bytes_ &&
        pread_all(partial_.get(), other_.data(), bytes, at) == static_cast<ssize_t>(bytes) &&
        std::memcmp(block_.data(), other_.data(), bytes) == 0) {
      return Unit{};
    }
    for (size_t done = 0; done < bytes;) {
      const ssize_t wrote =
          pwrite(partial_.get(), block_.data() + done, bytes - done, static_cast<off_t>(at + done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return give_space_back(wrote == 0 ? ENOSPC : errno);
      done += static_cast<size_t>(wrote);
    }
    return Unit{};
  }

  // A full volume is left as it was found; after other errors what was copied can serve the next
  // attempt.
  Error give_space_back(int err) {
    if (err == ENOSPC || err == EDQUOT || err == EFBIG) {
      unlinkat(directory_.get(), partial_name_.c_str(), 0);
    }
    return volume_error(shown(partial_name_), bundle_, err);
  }

  Result<std::string> publish() {
    for (const std::string& name : {bundle_.name, name_with_sum(bundle_)}) {
      if (rename_to_free(name)) {
        // Some network file systems cannot sync a directory (EINVAL) and need not.
        if (fsync(directory_.get()) != 0 && errno != EINVAL) {
          return system_error(options_.directory.string());
        }
        return name;
      }
      if (errno != EEXIST) return volume_error(shown(name), bundle_, errno);
    }
    return Error{shown(bundle_.name) + ": another file has this name", false};
  }

  // False with errno, EEXIST if the name is taken.
  bool rename_to_free(const std::string& name) {
    const int dir = directory_.get();
    const char* from = partial_name_.c_str();
    if (renameat2(dir, from, dir, name.c_str(), RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    // NFS has no such flag. A link has the same effect, except for a moment with both names.
    if (linkat(dir, from, dir, name.c_str(), 0) != 0) return false;
    return unlinkat(dir, from, 0) == 0;
  }

  const Bundle& bundle_;
  const DirectoryOptions& options_;
  const std::atomic<bool>& stop_;
  std::string partial_name_;
  int source_ = -1;
  UniqueFd directory_;
  UniqueFd partial_;
  uint64_t partial_bytes_ = 0;
  bool source_is_damaged_ = false;
  std::vector<char> block_ = std::vector<char>(kBlockBytes);
  std::vector<char> other_ = std::vector<char>(kBlockBytes);
};

}  // namespace

Result<> DirectoryDestination::send(const Bundle& file, const std::atomic<bool>& stop) {
  begin_attempt();
  if (!is_bundle_name(file.name)) return final_error(Error{"not a bundle's name"});
  const SourceFile source = open_source(file);
  if (!source.fd) return source.gone ? final_error(source.error) : source.error;
  Copy copy(file, options_, stop);
  const Result<std::string> name = copy.run(source.fd.get());
  if (!name) return copy.source_is_damaged() ? final_error(name.error()) : name.error();
  place_ = (options_.directory / *name).string();
  return Unit{};
}

}  // namespace shmrec::sidecar::egress
