#include "recording/index/stored_index.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace shmrec::recording {
namespace {

constexpr uint64_t kMaxDirectoryBytes = uint64_t{256} << 20;
constexpr uint32_t kMaxFrameBytes = 4 << 20;  // unpacked for the sake of a byte in it
constexpr size_t kCachedBlocks = 128;

// Takes `count` items from the front.
template <typename T>
bool take(std::string_view& from, uint32_t count, std::vector<T>& into) {
  if (from.size() / sizeof(T) < count) return false;
  into.resize(count);
  if (count == 0) return true;  // memcpy wants a place even for nothing
  std::memcpy(into.data(), from.data(), count * sizeof(T));
  from.remove_prefix(count * sizeof(T));
  return true;
}

bool lies_in(uint64_t at, uint64_t bytes, uint64_t end) { return at <= end && bytes <= end - at; }

}  // namespace

Result<std::shared_ptr<const StoredIndex>> StoredIndex::open(uint64_t file_bytes, ReadAt read_at) {
  index::Tail tail{};
  if (file_bytes < sizeof(tail) ||
      !read_at(file_bytes - sizeof(tail), reinterpret_cast<char*>(&tail), sizeof(tail)) ||
      std::memcmp(tail.magic, index::kTailMagic, sizeof(tail.magic)) != 0)
    return std::shared_ptr<const StoredIndex>();
  const uint64_t end = file_bytes - sizeof(tail);
  if (tail.file_bytes > end || tail.raw_bytes > kMaxDirectoryBytes)
    return Error{"its tail is damaged"};
  std::string frame(tail.file_bytes, '\0');
  if (!read_at(end - tail.file_bytes, frame.data(), frame.size()))
    return Error{"it cannot be read"};
  const Result<std::string> directory = unpacked(frame, tail.raw_bytes);
  if (!directory) return Error{"its directory is damaged: " + directory.error().message};
  auto index = std::make_shared<StoredIndex>();
  index->read_at_ = std::move(read_at);
  const Result<> loaded = index->load(*directory, end - tail.file_bytes);
  if (!loaded) return loaded.error();
  return std::shared_ptr<const StoredIndex>(std::move(index));
}

Result<> StoredIndex::load(std::string_view directory, uint64_t directory_at) {
  if (directory.size() < sizeof(header_)) return Error{"its directory is cut off"};
  std::memcpy(&header_, directory.data(), sizeof(header_));
  if (std::memcmp(header_.magic, index::kMagic, sizeof(header_.magic)) != 0)
    return Error{"its directory is damaged"};
  if (header_.version != index::kVersion || header_.header_bytes != sizeof(header_))
    return Error{"it is of version " + std::to_string(header_.version) +
                 "; this program reads version " + std::to_string(index::kVersion)};
  directory.remove_prefix(sizeof(header_));
  const bool whole = take(directory, header_.entry_count, entries_) &&
                     take(directory, header_.frame_count, frames_) &&
                     take(directory, header_.chunk_count, chunks_) &&
                     take(directory, header_.block_count, blocks_) && directory.empty();
  if (!whole) return Error{"its directory is not as long as its counts say"};
  if (const char* wrong = fault(directory_at)) return Error{std::string("wrong ") + wrong};
  return Unit{};
}

// What cannot be: everything lies before the directory, frames follow each other, the log lies in
// them, chunks lie in the log.
const char* StoredIndex::fault(uint64_t directory_at) const {
  uint64_t tar_at = 0, file_at = 0;
  for (const index::Frame& frame : frames_) {
    if (frame.tar_at != tar_at || frame.file_at < file_at || frame.tar_bytes == 0 ||
        frame.tar_bytes > kMaxFrameBytes || !lies_in(frame.file_at, frame.file_bytes, directory_at))
      return "frames";
    tar_at += frame.tar_bytes;
    file_at = frame.file_at + frame.file_bytes;
  }
  if (!std::is_sorted(entries_.begin(), entries_.end()) || entries_.size() < 2 ||
      entries_.back() > tar_at)
    return "entries";
  if (!lies_in(header_.log_at, header_.log_bytes, tar_at) ||
      header_.chunks_at > header_.log_bytes || header_.chunks_at < sizeof(shmlog::Header))
    return "place of the log";
  const uint64_t chunks = (header_.log_bytes - header_.chunks_at) / shmlog::kChunkBytes;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i].index >= chunks || (i > 0 && chunks_[i].index <= chunks_[i - 1].index))
      return "chunks";
  }
  for (const index::Block& block : blocks_) {
    if (!lies_in(block.file_at, block.file_bytes, directory_at) ||
        block.raw_bytes > index::kMaxBlockBytes)
      return "blocks of postings";
  }
  return nullptr;
}

std::vector<ChunkInfo> StoredIndex::chunk_heads() const {
  std::vector<ChunkInfo> heads;
  for (const index::Chunk& chunk : chunks_) heads.push_back({chunk.index, chunk.header});
  return heads;
}

void StoredIndex::find(uint32_t segment, uint64_t line, std::vector<StoredPosting>& into) const {
  const auto wanted = std::tie(segment, line);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const index::Block& block = blocks_[i];
    if (wanted < std::tie(block.first_segment, block.first_line) ||
        std::tie(block.last_segment, block.last_line) < wanted)
      continue;
    const Postings postings = postings_of(i);
    if (!postings) continue;
    auto at = std::lower_bound(postings->begin(), postings->end(), wanted,
                               [](const StoredPosting& posting, const auto& key) {
                                 return std::tie(posting.segment, posting.line) < key;
                               });
    for (; at != postings->end() && at->segment == segment && at->line == line; ++at)
      into.push_back(*at);
  }
}

Result<std::string> StoredIndex::block_bytes(const index::Block& block) const {
  std::string frame(block.file_bytes, '\0');
  if (!read_at_(block.file_at, frame.data(), frame.size()))
    return Error{"a block of postings cannot be read"};
  return frame;
}

StoredIndex::Postings StoredIndex::postings_of(size_t number) const {
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(cache_.begin(), cache_.end(),
                                  [&](const Cached& cached) { return cached.block == number; });
  if (known != cache_.end()) {
    cache_.splice(cache_.begin(), cache_, known);
    return known->postings;
  }
  const index::Block& block = blocks_[number];
  const Result<std::string> frame = block_bytes(block);
  const Result<std::string> raw =
      frame ? unpacked(*frame, block.raw_bytes) : Result<std::string>(frame.error());
  Result<std::vector<StoredPosting>> postings =
      raw ? decode_block(*raw) : Result<std::vector<StoredPosting>>(raw.error());
  if (!postings) {
    if (trouble_.empty()) trouble_ = "a block of postings is damaged: " + postings.error().message;
    return nullptr;
  }
  cache_.push_front(
      {number, std::make_shared<const std::vector<StoredPosting>>(std::move(*postings))});
  if (cache_.size() > kCachedBlocks) cache_.pop_back();
  return cache_.front().postings;
}

void StoredIndex::note_trouble(const std::string& trouble) const {
  const std::lock_guard lock(mutex_);
  if (trouble_.empty()) trouble_ = trouble;
}

std::string StoredIndex::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

}  // namespace shmrec::recording
