#include "recording/bundle/bundle_parts.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "recording/bundle/archive.h"
#include "recording/bundle/bundle_files.h"
#include "recording/bundle/sha256.h"
#include "recording/index/index_writer.h"

namespace shmrec::recording {
namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxSumsBytes = uint64_t{4} << 20;
constexpr uint64_t kMaxHeadBytes = uint64_t{8} << 30;  // of a log; the journal is a sixteenth
constexpr size_t kCachedFrames = 32;
constexpr size_t kTarBlock = 512;
constexpr size_t kSumDigits = 64;

uint64_t octal(std::string_view field) {
  uint64_t value = 0;
  for (const char c : field) {
    if (c < '0' || c > '7') break;
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// A new file, which nobody else has.
Result<UniqueFd> new_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return system_error(path.string() + ": cannot unpack");
  return fd;
}

}  // namespace

Result<std::shared_ptr<const BundleParts>> BundleParts::open(const std::filesystem::path& path) {
  auto parts = std::make_shared<BundleParts>();
  uint64_t bytes = 0;
  Result<UniqueFd> fd = open_regular(path, bytes);
  if (!fd) return fd.error();
  parts->fd_ = std::move(*fd);
  const auto read_at = [file = parts->fd_.get()](uint64_t at, char* into, size_t count) {
    return pread_all(file, into, count, at) == static_cast<ssize_t>(count);
  };
  auto index = StoredIndex::open(bytes, read_at);
  if (!index) return index.error();
  if (*index == nullptr) return std::shared_ptr<const BundleParts>();
  parts->index_ = std::move(*index);
  const UnpackLimits limits;
  const uint64_t most = std::min(limits.total_bytes, limits.free_bytes + bytes * limits.ratio);
  const std::vector<index::Frame>& frames = parts->index_->frames();
  if (!frames.empty() && frames.back().tar_at > most)
    return Error{"it unpacks to more than " + human_bytes(most)};
  const Result<> loaded = parts->load(path);
  if (!loaded) return loaded.error();
  return std::shared_ptr<const BundleParts>(std::move(parts));
}

// The manifest says which files there are and how long each is; the index where.
Result<> BundleParts::load(const std::string& name) {
  name_ = name;
  std::string head, text;
  const auto into = [](std::string& all) {
    return [&all](const char* data, size_t bytes) -> Result<> {
      all.append(data, bytes);
      return Unit{};
    };
  };
  Result<> done = read(0, kTarBlock, into(head));
  if (!done) return done;
  const uint64_t manifest_bytes = octal(std::string_view(head).substr(124, 12));
  if (head.compare(0, sizeof("manifest.json"), kManifestName, sizeof("manifest.json")) != 0 ||
      manifest_bytes > kMaxManifestBytes)
    return Error{"the archive does not begin with a manifest"};
  done = read(kTarBlock, manifest_bytes, into(text));
  if (!done) return done;
  Result<Manifest> manifest = parse_manifest(text, name);
  if (!manifest) return manifest.error();
  manifest_ = std::move(*manifest);
  const std::vector<uint64_t>& entries = index_->entries();
  if (entries.size() != manifest_.files.size() + 2 || entries[0] != kTarBlock)
    return Error{"the index is not of this manifest's files"};
  places_[kManifestName] = {kTarBlock, manifest_bytes, ""};
  for (size_t i = 0; i < manifest_.files.size(); ++i)
    places_[manifest_.files[i].name] = {entries[i + 1], manifest_.files[i].bytes, ""};
  const Place& log = places_[kLogName];
  if (log.tar_at != index_->header().log_at || log.bytes != index_->header().log_bytes)
    return Error{"the index is of another log"};
  return load_sums();
}

Result<> BundleParts::load_sums() {
  uint64_t bytes = kSumDigits + 3 + sizeof("manifest.json") - 1;
  for (const FileSize& file : manifest_.files) bytes += kSumDigits + 3 + file.name.size();
  if (bytes > kMaxSumsBytes) return Error{"too many files"};
  std::string text;
  const Result<> done =
      read(index_->entries().back(), bytes, [&](const char* data, size_t count) -> Result<> {
        text.append(data, count);
        return Unit{};
      });
  if (!done) return done;
  size_t at = 0;
  const auto next = [&](const std::string& name) {
    const std::string end = "  " + name + "\n";
    if (text.compare(at + kSumDigits, end.size(), end) != 0) return false;
    places_[name].sum = text.substr(at, kSumDigits);
    at += kSumDigits + end.size();
    return true;
  };
  bool sound = next(kManifestName);
  for (const FileSize& file : manifest_.files) sound = sound && next(file.name);
  if (!sound) return Error{"SHA256SUMS does not list the files of the manifest"};
  const Result<std::string> manifest = file(kManifestName);
  return manifest ? Result<>(Unit{}) : Result<>(manifest.error());
}

Result<BundleParts::Bytes> BundleParts::frame(size_t number) const {
  {
    const std::lock_guard lock(mutex_);
    const auto known = std::find_if(cache_.begin(), cache_.end(),
                                    [&](const Cached& cached) { return cached.frame == number; });
    if (known != cache_.end()) {
      cache_.splice(cache_.begin(), cache_, known);
      return known->bytes;
    }
  }
  const index::Frame& frame = index_->frames()[number];
  std::string compressed(frame.file_bytes, '\0');
  if (pread_all(fd_.get(), compressed.data(), compressed.size(), frame.file_at) !=
      static_cast<ssize_t>(compressed.size()))
    return Error{name_ + ": cannot be read"};
  Result<std::string> bytes = unpacked(compressed, frame.tar_bytes);
  if (!bytes) return Error{name_ + ": damaged, get another copy: " + bytes.error().message};
  const std::lock_guard lock(mutex_);
  cache_.push_front({number, std::make_shared<const std::string>(std::move(*bytes))});
  if (cache_.size() > kCachedFrames) cache_.pop_back();
  return cache_.front().bytes;
}

// Gives bytes of the archive to `take`, piece by piece.
template <typename Take>
Result<> BundleParts::read(uint64_t tar_at, uint64_t bytes, const Take& take) const {
  const std::vector<index::Frame>& frames = index_->frames();
  auto at =
      std::upper_bound(frames.begin(), frames.end(), tar_at,
                       [](uint64_t place, const index::Frame& f) { return place < f.tar_at; });
  for (; bytes > 0; ++at) {
    if (at == frames.begin()) return Error{name_ + ": the index has no frames"};
    const size_t number = static_cast<size_t>(at - frames.begin()) - 1;
    const index::Frame& frame = frames[number];
    if (tar_at - frame.tar_at >= frame.tar_bytes) return Error{name_ + ": ends too early"};
    const Result<Bytes> content = this->frame(number);
    if (!content) return content.error();
    const uint64_t skip = tar_at - frame.tar_at;
    const auto part = static_cast<size_t>(std::min<uint64_t>(bytes, frame.tar_bytes - skip));
    const Result<> taken = take((*content)->data() + skip, part);
    if (!taken) return taken;
    tar_at += part;
    bytes -= part;
    if (bytes > 0 && at == frames.end()) return Error{name_ + ": ends too early"};
  }
  return Unit{};
}

template <typename Take>
Result<> BundleParts::read_file(const std::string& name, const Take& take) const {
  const auto place = places_.find(name);
  if (place == places_.end()) return Error{name_ + ": has no file '" + name + "'"};
  Sha256 sum;
  const Result<> done = read(place->second.tar_at, place->second.bytes,
                             [&](const char* data, size_t bytes) -> Result<> {
                               sum.update(data, bytes);
                               return take(data, bytes);
                             });
  if (!done) return done;
  if (to_hex(sum.finish()) == place->second.sum) return Unit{};
  return Error{name_ + ": " + name +
               " does not have the sum that SHA256SUMS gives; damaged: get another copy"};
}

Result<std::string> BundleParts::file(const std::string& name) const {
  std::string text;
  const Result<> done = read_file(name, [&](const char* data, size_t bytes) -> Result<> {
    text.append(data, bytes);
    return Unit{};
  });
  if (!done) return done.error();
  return text;
}

Result<> BundleParts::unpack(const std::string& name, const std::filesystem::path& into) const {
  const Result<UniqueFd> fd = new_file(into);
  if (!fd) return fd.error();
  const Result<> done = read_file(name, [&](const char* data, size_t bytes) -> Result<> {
    if (write_all(fd->get(), data, bytes)) return Unit{};
    return system_error(into.string() + ": cannot unpack");
  });
  if (done) return done;
  unlink(into.c_str());
  index_->note_trouble(done.error().message);
  return done;
}

Result<> BundleParts::unpack_log_head(const std::filesystem::path& into) const {
  const index::DirectoryHeader& place = index_->header();
  if (place.chunks_at > kMaxHeadBytes) return Error{"the log's tables are too long"};
  const Result<UniqueFd> fd = new_file(into);
  if (!fd) return fd.error();
  uint64_t at = 0;
  std::string head;
  const Result<> done =
      read(place.log_at, place.chunks_at, [&](const char* data, size_t bytes) -> Result<> {
        if (head.size() < sizeof(shmlog::Header)) head.append(data, bytes);
        const bool zeros = data[0] == 0 && std::equal(data, data + bytes - 1, data + 1);
        if (!zeros && (lseek(fd->get(), static_cast<off_t>(at), SEEK_SET) < 0 ||
                       !write_all(fd->get(), data, bytes)))
          return system_error(into.string() + ": cannot unpack");
        at += bytes;
        return Unit{};
      });
  if (!done) return done;
  shmlog::Header header;
  head.copy(reinterpret_cast<char*>(&header), sizeof(header));
  if (header.chunks.offset != place.chunks_at || !IndexWriter::can_index(header, place.log_bytes))
    return Error{"the index is of another log"};
  if (ftruncate(fd->get(), static_cast<off_t>(manifest_.log_present_bytes)) != 0)
    return system_error(into.string() + ": cannot unpack");
  return Unit{};
}

namespace {

// Feeds `writer` the first `bytes` bytes of a file.
Result<> feed_file(IndexWriter& writer, const std::filesystem::path& path, uint64_t bytes) {
  constexpr uint64_t kPart = 256 * 1024;
  uint64_t there = 0;
  const Result<UniqueFd> fd = open_regular(path, there);
  if (!fd) return fd.error();
  std::string part;
  for (uint64_t at = 0; at < bytes; at += part.size()) {
    part.resize(std::min(kPart, bytes - at));
    if (pread_all(fd->get(), part.data(), part.size(), at) != static_cast<ssize_t>(part.size()))
      return system_error(path);
    const Result<> fed = writer.feed(part);
    if (!fed) return fed;
  }
  return writer.flush_run();
}

bool same_keys(const index::Block& a, const index::Block& b) {
  return a.raw_bytes == b.raw_bytes && a.first_line == b.first_line && a.last_line == b.last_line &&
         a.first_segment == b.first_segment && a.last_segment == b.last_segment;
}

}  // namespace

Result<> BundleParts::check(const ShmlogReader& log, const std::filesystem::path& log_file) const {
  const Error wrong{name_ + ": its index is not that of its log; do not trust this bundle"};
  const std::vector<index::Block>& blocks = index_->blocks();
  const std::vector<index::Chunk>& chunks = index_->chunks();
  size_t next = 0;
  // Compressed they may differ: by another version of zstd.
  IndexWriter writer(log, index_->header().chunks_at,
                     [&](std::string_view block) -> Result<uint64_t> {
                       if (next == blocks.size()) return wrong;
                       const Result<std::string> there = index_->block_bytes(blocks[next]);
                       if (!there) return there.error();
                       const uint64_t raw_bytes = blocks[next].raw_bytes;
                       const Result<std::string> raw = unpacked(*there, raw_bytes);
                       const Result<std::string> anew = unpacked(block, raw_bytes);
                       if (!raw || !anew || *raw != *anew) return wrong;
                       return blocks[next++].file_at;
                     });
  const Result<> fed = feed_file(writer, log_file, index_->header().log_bytes);
  if (!fed) return fed;
  const bool same = next == blocks.size() && writer.chunks().size() == chunks.size() &&
                    (chunks.empty() || std::memcmp(writer.chunks().data(), chunks.data(),
                                                   chunks.size() * sizeof(index::Chunk)) == 0) &&
                    std::equal(blocks.begin(), blocks.end(), writer.blocks().begin(), same_keys);
  if (!same) return wrong;
  for (const auto& [name, place] : places_) {
    const Result<> read = read_file(name, [](const char*, size_t) -> Result<> { return Unit{}; });
    if (!read) return read;
  }
  return Unit{};
}

bool BundleParts::read_chunk(uint32_t number, std::span<uint8_t> into) const {
  const index::DirectoryHeader& place = index_->header();
  const uint64_t at = place.chunks_at + uint64_t{number} * shmlog::kChunkBytes;
  const bool inside = at + into.size() <= place.log_bytes;
  auto to = into.begin();
  const Result<> done = inside ? read(place.log_at + at, into.size(),
                                      [&](const char* data, size_t bytes) -> Result<> {
                                        to = std::copy_n(data, bytes, to);
                                        return Unit{};
                                      })
                               : Result<>(Error{"a chunk lies outside of the log"});
  if (!done) index_->note_trouble(done.error().message);
  return done.ok();
}

}  // namespace shmrec::recording
