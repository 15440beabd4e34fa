// Writing a bundle: gather (bundle_plan), then stream: each file goes to its sum and to the
// archive.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/memory_room.h"
#include "base/output_file.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/bundle_plan.h"
#include "recording/bundle/packed_files.h"
#include "recording/bundle/sha256.h"
#include "recording/index/index_writer.h"
#include "recording/index/posting_block.h"

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
      : archive_(archive),
        plan_(plan),
        options_(options),
        packed_(options.packed_directory, options.max_packed_bytes) {}

  Result<> write_all_files() {
    begin_index();
    for (const PlannedFile& file : plan_.files) {
      const Result<> written = write(file);
      if (!written) return written;
    }
    const Result<> sums = write_sums();
    return sums && index_ ? end_index() : sums;
  }

 private:
  // A small log is read as quickly without one.
  void begin_index() {
    shmlog::Header header;
    const LogImage& image = plan_.image;
    if (!plan_.log || image.read(reinterpret_cast<char*>(&header), sizeof(header), 0) !=
                          static_cast<ssize_t>(sizeof(header)))
      return;
    if (!IndexWriter::can_index(header, image.stored_bytes) ||
        image.stored_bytes - header.chunks.offset < options_.least_indexed_bytes)
      return;
    archive_.cut_frames();
    index_.emplace(plan_.log->reader(), header.chunks.offset,
                   [&](std::string_view block) { return archive_.put_block(block); });
  }

  Result<> end_index() {
    const Result<> ended = archive_.end_archive();
    if (!ended) return ended;
    std::vector<index::Frame> frames;
    for (const ArchiveWriter::Frame& frame : archive_.frames())
      frames.push_back({frame.tar_at, frame.file_at, frame.tar_bytes, frame.file_bytes});
    return index_->finish(log_at_, entries_, frames);
  }

  Result<> begin(const std::string& name, uint64_t bytes) {
    const Result<> begun = archive_.begin(name, bytes, plan_.start_s);
    entries_.push_back(archive_.entry_at());
    if (name == kLogName) log_at_ = entries_.back();
    return begun;
  }

  Result<> write(const PlannedFile& file) {
    Result<> begun = begin(file.name, file.bytes);
    if (!begun) return begun;
    // Frames that an index tells of are smaller.
    if (file.binary && !index_ && file.bytes <= kMaxPackedContent) return write_packed(file);
    const Result<Sha256::Digest> sum = read(file, [&](std::string_view part) -> Result<> {
      const Result<> written = archive_.write(part.data(), part.size());
      if (!written) return written;
      const Result<> fed = index_ && file.log != nullptr ? index_->feed(part) : Unit{};
      if (fed) tell(part.size());
      return fed;
    });
    if (!sum) return sum.error();
    add_sum(*sum, file.name);
    return Unit{};
  }

  // Hands out the file's content, part by part, and returns its sum.
  template <typename Take>
  Result<Sha256::Digest> read(const PlannedFile& file, Take take) {
    Sha256 sum;
    for (uint64_t at = 0; at < file.bytes;) {
      const size_t part = static_cast<size_t>(std::min<uint64_t>(kBlockBytes, file.bytes - at));
      const Result<const char*> data = block(file, at, part);
      if (!data) return data.error();
      sum.update(*data, part);
      const Result<> taken = take(std::string_view(*data, part));
      if (!taken) return taken.error();
      at += part;
    }
    return sum.finish();
  }

  // A frame of its own, whether it was kept or not: equal input gives equal bytes.
  Result<> write_packed(const PlannedFile& file) {
    std::string name = file.name;
    std::replace(name.begin(), name.end(), '/', '.');
    std::optional<PackedFile> packed = packed_.find(name, file.fd, file.bytes);
    if (!packed) {
      Result<PackedFile> made = pack(file);
      if (!made) return made.error();
      packed = std::move(*made);
      packed_.keep(name, file.fd, file.bytes, *packed);
    }
    const Result<> written = archive_.write_frame(
        file.bytes, packed->frame_bytes,
        [&](char* into, size_t bytes, uint64_t at) { return packed->read(into, bytes, at); });
    if (!written) return written;
    add_sum(packed->sum, file.name);
    tell(file.bytes);
    return Unit{};
  }

  Result<PackedFile> pack(const PlannedFile& file) {
    std::string content;
    content.reserve(padded_bytes(file.bytes));
    const Result<Sha256::Digest> sum = read(file, [&](std::string_view part) -> Result<> {
      content += part;
      return Unit{};
    });
    if (!sum) return sum.error();
    content.resize(padded_bytes(file.bytes));
    Result<std::string> frame = recording::packed(content);
    if (!frame) return Error{file.name + ": " + frame.error().message, false};
    PackedFile packed;
    packed.sum = *sum;
    packed.frame = std::move(*frame);
    packed.frame_bytes = packed.frame.size();
    return packed;
  }

  void add_sum(const Sha256::Digest& sum, const std::string& name) {
    sums_ += to_hex(sum) + "  " + name + "\n";
  }

  Result<const char*> block(const PlannedFile& file, uint64_t at, size_t bytes) {
    if (file.fd < 0) return file.text.data() + at;
    const ssize_t got = file.log != nullptr ? file.log->read(buffer_.get(), bytes, at)
                                            : pread_all(file.fd, buffer_.get(), bytes, at);
    if (got < 0) return system_error(file.name);
    if (static_cast<size_t>(got) != bytes) {
      // Its length is in the manifest already. A stranger must not be able to prevent a bundle.
      if (options_.foreign) {
        std::fill(buffer_.get() + got, buffer_.get() + bytes, '\0');
        return static_cast<const char*>(buffer_.get());
      }
      return Error{file.name + ": became shorter while it was read; try again", false};
    }
    return static_cast<const char*>(buffer_.get());
  }

  Result<> write_sums() {
    const Result<> begun = begin(kSumsName, sums_.size());
    return begun ? archive_.write(sums_.data(), sums_.size()) : begun;
  }

  void tell(uint64_t bytes) {
    done_ += bytes;
    if (options_.progress) options_.progress(done_, plan_.total_bytes);
  }

  ArchiveWriter& archive_;
  const BundlePlan& plan_;
  const CreateBundleOptions& options_;
  const PackedFiles packed_;
  const std::unique_ptr<char[]> buffer_ = std::make_unique_for_overwrite<char[]>(kBlockBytes);
  std::string sums_;
  std::optional<IndexWriter> index_;
  std::vector<uint64_t> entries_;  // where the content of each begins in the archive
  uint64_t log_at_ = 0;
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
