// Writing a bundle: gather (bundle_plan), then stream: each file goes to its sum and to the
// archive.
#include <unistd.h>

#include <algorithm>

#include "base/memory_room.h"
#include "base/output_file.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/bundle_plan.h"
#include "recording/bundle/sha256.h"

namespace shmrec::recording {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".shmrec.tar.zst";
constexpr size_t kBlockBytes = 256 * 1024;
constexpr int kMaxSameName = 10000;

// Where the bundle goes. In a directory it takes the run's name and never an existing file's.
Result<fs::path> choose_path(const fs::path& run_dir, const fs::path& output) {
  std::error_code error;
  const fs::path wanted = output.empty() ? fs::path(".") : output;
  if (!fs::is_directory(wanted, error)) {
    if (wanted.has_filename()) return wanted;
    return Error{wanted.string() + ": no such directory"};
  }
  const std::string name = run_name(run_dir);
  for (int i = 1; i <= kMaxSameName; ++i) {
    const fs::path path = (wanted / (name + (i == 1 ? "" : "-" + std::to_string(i)) + kSuffix));
    if (!fs::exists(fs::symlink_status(path, error))) return path.lexically_normal();
  }
  return Error{wanted.string() + ": too many bundles of " + name + "; remove some", false};
}

class BundleWriter {
 public:
  BundleWriter(ArchiveWriter& archive, const BundlePlan& plan, const CreateBundleOptions& options)
      : archive_(archive), plan_(plan), options_(options) {}

  Result<> write_all_files() {
    for (const PlannedFile& file : plan_.files) {
      const Result<> written = write(file);
      if (!written) return written;
    }
    return write_sums();
  }

 private:
  Result<> write(const PlannedFile& file) {
    Result<> begun = archive_.begin(file.name, file.bytes, plan_.start_s);
    if (!begun) return begun;
    Sha256 sum;
    for (uint64_t at = 0; at < file.bytes;) {
      const size_t part = static_cast<size_t>(std::min<uint64_t>(kBlockBytes, file.bytes - at));
      const Result<const char*> data = block(file, at, part);
      if (!data) return data.error();
      sum.update(*data, part);
      const Result<> written = archive_.write(*data, part);
      if (!written) return written;
      at += part;
      tell(part);
    }
    sums_ += to_hex(sum.finish()) + "  " + file.name + "\n";
    return Unit{};
  }

  Result<const char*> block(const PlannedFile& file, uint64_t at, size_t bytes) {
    if (file.fd < 0) return file.text.data() + at;
    const ssize_t got = file.log != nullptr ? file.log->read(buffer_.data(), bytes, at)
                                            : pread_all(file.fd, buffer_.data(), bytes, at);
    if (got < 0) return system_error(file.name);
    if (static_cast<size_t>(got) != bytes) {
      // Its length is in the manifest already. A stranger must not be able to prevent a bundle.
      if (options_.foreign) {
        std::fill(buffer_.begin() + got, buffer_.end(), '\0');
        return static_cast<const char*>(buffer_.data());
      }
      return Error{file.name + ": became shorter while it was read; try again", false};
    }
    return static_cast<const char*>(buffer_.data());
  }

  Result<> write_sums() {
    const Result<> begun = archive_.begin(kSumsName, sums_.size(), plan_.start_s);
    return begun ? archive_.write(sums_.data(), sums_.size()) : begun;
  }

  void tell(uint64_t bytes) {
    done_ += bytes;
    if (options_.progress) options_.progress(done_, plan_.total_bytes);
  }

  ArchiveWriter& archive_;
  const BundlePlan& plan_;
  const CreateBundleOptions& options_;
  std::vector<char> buffer_ = std::vector<char>(kBlockBytes);
  std::string sums_;
  uint64_t done_ = 0;
};

// Where a copy of the log may lie meanwhile: beside the bundle, for which room is wanted there.
fs::path scratch_for(const fs::path& path) {
  const fs::path parent = path.parent_path();
  if (is_plain_output(path)) return parent.empty() ? fs::path(".") : parent;
  std::error_code error;
  const fs::path temporary = fs::temp_directory_path(error);
  return error ? fs::path("/tmp") : temporary;
}

// What may be taken there without anybody being killed for it.
uint64_t room_in(const fs::path& directory) {
  // A file system that is full is an error like others; it may do, as the log has many zeros.
  if (!disk_room(directory.string()).in_memory) return UINT64_MAX;
  return memory_room().free_bytes / 4 * 3;
}

}  // namespace

Result<fs::path> create_bundle(const fs::path& run_dir, const CreateBundleOptions& wished) {
  const Result<fs::path> path = choose_path(run_dir, wished.output);
  if (!path) return path.error();
  CreateBundleOptions options = wished;
  options.room_bytes = std::min(options.room_bytes, room_in(scratch_for(*path)));
  auto archive = ArchiveWriter::create(*path);
  if (!archive) return archive.error();
  auto plan = plan_bundle(run_dir, options, scratch_for(*path));
  if (!plan) return plan.error();
  const Result<> written = BundleWriter(**archive, **plan, options).write_all_files();
  if (!written) return written.error();
  const Result<> committed = (*archive)->commit();
  if (!committed) return committed.error();
  return *path;
}

}  // namespace shmrec::recording
