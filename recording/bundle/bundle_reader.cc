#include "recording/bundle/bundle_reader.h"

#include "recording/bundle/sha256.h"

namespace shmrec::recording {
namespace {

constexpr size_t kBlockBytes = 256 * 1024;
constexpr uint64_t kMaxManifestBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxSumsBytes = uint64_t{4} << 20;

class BundleWalk {
 public:
  BundleWalk(ByteSource& tar, const std::string& bundle, const UnpackLimits& limits, FileSink& sink,
             const Progress& progress)
      : archive_(tar, bundle, limits), bundle_(bundle), sink_(sink), progress_(progress) {}

  Result<ReadBundle> read() {
    const Result<> manifest = read_manifest();
    if (!manifest) return manifest.error();
    for (const FileSize& file : result_.manifest.files) {
      const Result<> read = read_file(file);
      if (!read) return read.error();
    }
    const Result<> sums = read_sums();
    if (!sums) return sums.error();
    const Result<> end = expect_end();
    if (!end) return end.error();
    return std::move(result_);
  }

 private:
  Error bad(const std::string& what) const { return Error{bundle_ + ": " + what}; }

  // The next entry, which must be `name`.
  Result<ArchiveEntry> next(const std::string& name) {
    ArchiveEntry entry;
    const Result<bool> there = archive_.next(entry);
    if (!there) return there.error();
    if (!*there) return bad("ends before " + name + "; it is not whole: get another copy");
    if (entry.name == name) return entry;
    for (const BundleFile& file : result_.files) {
      if (file.name == entry.name) return bad(entry.name + " occurs twice; not opened");
    }
    if (name == kManifestName) {
      return bad("not a bundle: begins with " + entry.name + "; expected " + kManifestName);
    }
    return bad("has " + entry.name + " where " + name + " should be; not opened");
  }

  // Gives the current entry's content to `take` and notes its sum.
  template <typename Take>
  Result<> read_content(const ArchiveEntry& entry, const Take& take) {
    Sha256 sum;
    for (uint64_t at = 0; at < entry.bytes;) {
      const Result<size_t> got = archive_.read(buffer_.data(), buffer_.size());
      if (!got) return got.error();
      if (*got == 0 || *got > entry.bytes - at)
        return bad(entry.name + " is not as long as its header says");
      sum.update(buffer_.data(), *got);
      const Result<> taken = take(buffer_.data(), *got);
      if (!taken) return taken;
      at += *got;
      tell(*got);
    }
    result_.files.push_back({entry.name, entry.bytes, to_hex(sum.finish())});
    return Unit{};
  }

  Result<std::string> read_whole(const ArchiveEntry& entry, uint64_t limit) {
    if (entry.bytes > limit) {
      return bad(entry.name + " is " + human_bytes(entry.bytes) + " long; expected at most " +
                 human_bytes(limit));
    }
    std::string text;
    const Result<> read = read_content(entry, [&](const char* data, size_t bytes) -> Result<> {
      text.append(data, bytes);
      return Unit{};
    });
    if (!read) return read.error();
    return text;
  }

  Result<> give_to_sink(const ArchiveEntry& entry, const std::string& text) {
    Result<> done = sink_.begin(entry.name, entry.bytes);
    if (done && !text.empty()) done = sink_.data(text.data(), text.size());
    return done ? sink_.end() : done;
  }

  Result<> read_manifest() {
    const Result<ArchiveEntry> entry = next(kManifestName);
    if (!entry) return entry.error();
    const Result<std::string> text = read_whole(*entry, kMaxManifestBytes);
    if (!text) return text.error();
    Result<Manifest> manifest = parse_manifest(*text, bundle_);
    if (!manifest) return manifest.error();
    result_.manifest = std::move(*manifest);
    for (const FileSize& file : result_.manifest.files) {
      if (__builtin_add_overflow(total_bytes_, file.bytes, &total_bytes_)) {
        return bad("manifest.json: impossible sizes; not opened");
      }
    }
    return give_to_sink(*entry, *text);
  }

  Result<> read_file(const FileSize& expected) {
    const Result<ArchiveEntry> entry = next(expected.name);
    if (!entry) return entry.error();
    if (entry->bytes != expected.bytes) {
      return bad(entry->name + " has " + std::to_string(entry->bytes) +
                 " bytes, manifest.json says " + std::to_string(expected.bytes) + "; not opened");
    }
    Result<> done = sink_.begin(entry->name, entry->bytes);
    if (!done) return done;
    done = read_content(*entry,
                        [&](const char* data, size_t bytes) { return sink_.data(data, bytes); });
    return done ? sink_.end() : done;
  }

  // SHA256SUMS is determined by what came before it, to the byte.
  Result<> read_sums() {
    const Result<ArchiveEntry> entry = next(kSumsName);
    if (!entry) return entry.error();
    std::string expected;
    for (const BundleFile& file : result_.files) expected += file.sha256 + "  " + file.name + "\n";
    const Result<std::string> text = read_whole(*entry, kMaxSumsBytes);
    if (!text) return text.error();
    result_.files.back().sha256.clear();
    if (*text != expected) return bad(first_difference(*text));
    return give_to_sink(*entry, *text);
  }

  std::string first_difference(const std::string& sums) const {
    size_t at = 0;
    for (const BundleFile& file : result_.files) {
      if (file.name == kSumsName) break;
      const std::string line = file.sha256 + "  " + file.name + "\n";
      if (sums.compare(at, line.size(), line) != 0) {
        return file.name +
               " does not have the sum that SHA256SUMS gives; damaged: get another copy";
      }
      at += line.size();
    }
    return "SHA256SUMS lists more than the bundle has; damaged: get another copy";
  }

  Result<> expect_end() {
    ArchiveEntry entry;
    const Result<bool> more = archive_.next(entry);
    if (!more) return more.error();
    return *more ? Result<>(bad(entry.name + " follows SHA256SUMS; not opened")) : Result<>(Unit{});
  }

  void tell(uint64_t bytes) {
    done_bytes_ += bytes;
    if (progress_) progress_(std::min(done_bytes_, total_bytes_), total_bytes_);
  }

  ArchiveReader archive_;
  const std::string& bundle_;
  FileSink& sink_;
  const Progress& progress_;
  std::vector<char> buffer_ = std::vector<char>(kBlockBytes);
  ReadBundle result_;
  uint64_t done_bytes_ = 0;
  uint64_t total_bytes_ = 0;
};

}  // namespace

Result<ReadBundle> read_bundle(ByteSource& tar, const std::string& bundle,
                               const UnpackLimits& limits, FileSink& sink,
                               const Progress& progress) {
  return BundleWalk(tar, bundle, limits, sink, progress).read();
}

}  // namespace shmrec::recording
