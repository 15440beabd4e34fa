#include "launcher/recording_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "launcher/privileges.h"
#include "launcher/shared_folder.h"
#include "recording/bundle/bundle_files.h"
#include "recording/run/timeline.h"
#include "recording/stream/stream_files.h"
#include "recording/stream/stream_format.h"

namespace shmrec::launcher {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr size_t kBlockBytes = 256 << 10;

bool is_sane(const agent::StreamRequest& request) {
  return request.bytes >= kPageBytes && request.bytes % kPageBytes == 0 &&
         request.bytes <= stream::kMaxFileBytes;
}

bool write_header(int fd, const agent::StreamRequest& request) {
  stream::FileHeader header{};
  memcpy(header.magic, stream::kMagic, sizeof header.magic);
  header.version = stream::kVersion;
  header.number = request.number;
  header.file_bytes = request.bytes;
  header.committed = sizeof header;
  header.id_high = request.id_high;
  header.id_low = request.id_low;
  return pwrite(fd, &header, sizeof header, 0) == ssize_t{sizeof header};
}

// Between file systems the kernel copies nothing by itself.
bool copy_blocks(int from, int to, uint64_t done, uint64_t bytes) {
  std::vector<char> block(kBlockBytes);
  while (done < bytes) {
    const ssize_t part = recording::pread_all(from, block.data(),
                                              std::min<uint64_t>(block.size(), bytes - done), done);
    if (part == 0) errno = EIO;
    if (part <= 0 || !recording::write_all(to, block.data(), static_cast<size_t>(part)))
      return false;
    done += static_cast<uint64_t>(part);
  }
  return true;
}

// Shares the blocks where the file system can.
bool copy_content(int from, int to, uint64_t bytes) {
  if (ioctl(to, FICLONE, from) == 0) return true;
  uint64_t done = 0;
  while (done < bytes) {
    const ssize_t part = copy_file_range(from, nullptr, to, nullptr, bytes - done, 0);
    if (part <= 0) break;
    done += static_cast<uint64_t>(part);
  }
  return copy_blocks(from, to, done, bytes);
}

bool unchanged(const struct stat& before, int fd) {
  struct stat now;
  return fstat(fd, &now) == 0 && now.st_size == before.st_size &&
         now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
         now.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
}

// Could the process read what its descriptor is? One of O_PATH says nothing of that.
bool reads(const std::string& process, const std::string& number) {
  std::ifstream info(process + "/fdinfo/" + number);
  for (std::string key; info >> key;) {
    if (key != "flags:") continue;
    unsigned long flags = 0;
    info >> std::oct >> flags;
    return info && !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY;
  }
  return false;
}

// The file that a descriptor of the process is, if it is a regular one. A process with capabilities
// is looked at by one that has them too. -1: errno says why not.
UniqueFd open_mapped(pid_t pid, int fd, struct stat& file) {
  const RegainedCapabilities all;
  const std::string process = "/proc/" + std::to_string(pid), number = std::to_string(fd);
  const std::string link = process + "/fd/" + number;
  if (stat(link.c_str(), &file) != 0) return {};
  if (!S_ISREG(file.st_mode)) return errno = ENODEV, UniqueFd();
  if (!reads(process, number)) return errno = EACCES, UniqueFd();
  UniqueFd from(open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (from && (fstat(from.get(), &file) != 0 || !S_ISREG(file.st_mode)))
    return errno = EAGAIN, UniqueFd();
  return from;
}

std::string name_of(const struct stat& file) {
  return recording::mapped_name({uint64_t{major(file.st_dev)} << 20 | minor(file.st_dev),
                                 file.st_ino, static_cast<uint64_t>(file.st_size),
                                 file.st_mtim.tv_sec, static_cast<uint64_t>(file.st_mtim.tv_nsec)});
}

}  // namespace

Result<std::unique_ptr<RecordingKeeper>> RecordingKeeper::create(RecordingKeeperOptions options) {
  std::unique_ptr<RecordingKeeper> keeper(new RecordingKeeper(std::move(options)));
  const RecordingKeeperOptions& made = keeper->options_;
  Result<UniqueFd> recordings =
      make_shared_folder(made.run_directory / recording::kRecordingsFolder, made.file_mode);
  if (!recordings) return recordings.error();
  Result<UniqueFd> mapped =
      make_shared_folder(made.run_directory / recording::kMappedFolder, made.file_mode);
  if (!mapped) return mapped.error();
  keeper->recordings_ = std::move(*recordings);
  keeper->mapped_ = std::move(*mapped);
  return keeper;
}

// A file beyond the limit on file sizes would end the launcher with SIGXFSZ.
bool RecordingKeeper::take_room(uint64_t bytes) {
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes > limit.rlim_cur) return errno = EFBIG, false;
  if (bytes > options_.max_bytes - bytes_) return errno = EDQUOT, false;
  bytes_ += bytes;
  return true;
}

UniqueFd RecordingKeeper::make_stream(const agent::StreamRequest& request) {
  if (!is_sane(request)) return errno = EINVAL, UniqueFd();
  const std::string id = recording::recording_id(request.id_high, request.id_low);
  const UniqueFd folder = make_shared_folder_at(recordings_.get(), id.c_str(), options_.file_mode);
  if (!folder || !take_room(request.bytes)) return {};
  UniqueFd fd = make_file(folder.get(), request);
  if (!fd) bytes_ -= request.bytes;
  return fd;
}

UniqueFd RecordingKeeper::make_file(int folder, const agent::StreamRequest& request) const {
  const std::string name = recording::stream_file_name(request.number);
  UniqueFd fd(
      openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return {};
  fchmod(fd.get(), options_.file_mode);
  const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(request.bytes));
  if (error == 0 && write_header(fd.get(), request)) return fd;
  if (error != 0) errno = error;
  const int why = errno;
  unlinkat(folder, name.c_str(), 0);
  return errno = why, UniqueFd();
}

int RecordingKeeper::keep(pid_t pid, int fd) {
  struct stat file;
  const UniqueFd from = open_mapped(pid, fd, file);
  if (!from) return errno;
  const std::string name = name_of(file);
  if (kept_.contains(name)) return 0;
  const auto bytes = static_cast<uint64_t>(file.st_size);
  if (!take_room(bytes)) return errno;
  const int error = copy(from.get(), file, name);
  if (error == 0)
    kept_.insert(name);
  else
    bytes_ -= bytes;
  return error;
}

int RecordingKeeper::copy(int from, const struct stat& file, const std::string& name) const {
  const std::string temporary = ".copy-" + name;
  const UniqueFd to(openat(mapped_.get(), temporary.c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                           0600));
  if (!to) return errno;
  fchmod(to.get(), options_.file_mode);
  int error = copy_content(from, to.get(), static_cast<uint64_t>(file.st_size)) ? 0 : errno;
  if (error == 0 && !unchanged(file, from)) error = EAGAIN;
  if (error == 0 && renameat(mapped_.get(), temporary.c_str(), mapped_.get(), name.c_str()) != 0)
    error = errno;
  if (error != 0) unlinkat(mapped_.get(), temporary.c_str(), 0);
  return error;
}

}  // namespace shmrec::launcher
