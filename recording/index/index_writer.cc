#include "recording/index/index_writer.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace shmrec::recording {
namespace {

using shmlog::kChunkBytes;

template <typename T>
void append(std::string& into, const T* from, size_t count) {
  into.append(reinterpret_cast<const char*>(from), count * sizeof(T));
}

bool comes_first(const StoredPosting& a, const StoredPosting& b) {
  return std::tie(a.segment, a.line, a.chunk_writes) < std::tie(b.segment, b.line, b.chunk_writes);
}

}  // namespace

bool IndexWriter::can_index(const shmlog::Header& stored, uint64_t stored_bytes) {
  const shmlog::Area& chunks = stored.chunks;
  if (chunks.entry_bytes != kChunkBytes || chunks.offset > stored_bytes) return false;
  if (chunks.offset < sizeof(shmlog::Header)) return false;
  for (const shmlog::Area* area : {&stored.rules, &stored.stripes, &stored.processes, &stored.lanes,
                                   &stored.segments, &stored.usage, &stored.journal}) {
    const uint64_t bytes = uint64_t{area->count} * area->entry_bytes;
    const bool before = area->offset <= chunks.offset && bytes <= chunks.offset - area->offset;
    if (!before && area->offset < stored_bytes) return false;
  }
  return true;
}

IndexWriter::IndexWriter(const ShmlogReader& log, uint64_t chunks_at, Put put)
    : log_(log), chunks_at_(chunks_at), put_(std::move(put)) {
  chunk_.reserve(kChunkBytes);
}

Result<> IndexWriter::feed(std::string_view data) {
  if (fed_ < chunks_at_) {
    const size_t before = std::min<uint64_t>(data.size(), chunks_at_ - fed_);
    fed_ += before;
    data.remove_prefix(before);
  }
  fed_ += data.size();
  while (!data.empty()) {
    const size_t part = std::min<size_t>(data.size(), kChunkBytes - chunk_.size());
    chunk_.insert(chunk_.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(part));
    data.remove_prefix(part);
    if (chunk_.size() < kChunkBytes) continue;
    const Result<> added = add_chunk();
    if (!added) return added;
    chunk_.clear();
  }
  return Unit{};
}

Result<> IndexWriter::add_chunk() {
  const uint32_t number = next_chunk_++;
  index::Chunk chunk{};
  std::memcpy(&chunk.header, chunk_.data(), sizeof(chunk.header));
  static const shmlog::ChunkHeader kUnused{};
  if (std::memcmp(&chunk.header, &kUnused, sizeof(kUnused)) == 0) return Unit{};
  ChunkFacts facts;
  if (ShmlogReader::copy_chunk(number, chunk_, copy_)) {
    summary_.read(log_, copy_);
    facts = summary_.facts();
    for (const LinePosting& line : summary_.postings()) {
      run_.push_back({line.segment, number * 2 + (line.writes ? 1 : 0), line.line,
                      line.first_version, line.last_version});
    }
  }
  chunk.index = number;
  chunk.flags = facts.has_between ? static_cast<uint32_t>(index::kHasBetween) : 0;
  chunk.records = facts.records;
  chunk.first_event = facts.first_event;
  chunk.last_event = facts.last_event;
  chunks_.push_back(chunk);
  return run_.size() >= index::kPostingsPerRun ? flush_run() : Result<>(Unit{});
}

Result<> IndexWriter::flush_run() {
  std::sort(run_.begin(), run_.end(), comes_first);
  for (size_t at = 0; at < run_.size(); at += index::kPostingsPerBlock) {
    const std::span<const StoredPosting> postings(
        &run_[at], std::min<size_t>(index::kPostingsPerBlock, run_.size() - at));
    const std::string raw = encode_block(postings);
    const Result<std::string> frame = packed(raw);
    if (!frame) return frame.error();
    const Result<uint64_t> file_at = put_(*frame);
    if (!file_at) return file_at.error();
    blocks_.push_back({*file_at, static_cast<uint32_t>(frame->size()),
                       static_cast<uint32_t>(raw.size()), postings.front().line,
                       postings.back().line, postings.front().segment, postings.back().segment});
  }
  run_.clear();
  return Unit{};
}

Result<> IndexWriter::finish(uint64_t log_at, const std::vector<uint64_t>& entries,
                             const std::vector<index::Frame>& frames) {
  const Result<> flushed = flush_run();
  if (!flushed) return flushed;
  index::DirectoryHeader header{};
  std::memcpy(header.magic, index::kMagic, sizeof(header.magic));
  header.version = index::kVersion;
  header.header_bytes = sizeof(header);
  header.log_at = log_at;
  header.log_bytes = fed_;
  header.chunks_at = chunks_at_;
  header.entry_count = static_cast<uint32_t>(entries.size());
  header.frame_count = static_cast<uint32_t>(frames.size());
  header.chunk_count = static_cast<uint32_t>(chunks_.size());
  header.block_count = static_cast<uint32_t>(blocks_.size());
  std::string raw;
  append(raw, &header, 1);
  append(raw, entries.data(), entries.size());
  append(raw, frames.data(), frames.size());
  append(raw, chunks_.data(), chunks_.size());
  append(raw, blocks_.data(), blocks_.size());
  Result<std::string> frame = packed(raw);
  if (!frame) return frame.error();
  index::Tail tail{};
  tail.file_bytes = static_cast<uint32_t>(frame->size());
  tail.raw_bytes = static_cast<uint32_t>(raw.size());
  std::memcpy(tail.magic, index::kTailMagic, sizeof(tail.magic));
  append(*frame, &tail, 1);
  const Result<uint64_t> put = put_(*frame);
  return put ? Result<>(Unit{}) : Result<>(put.error());
}

}  // namespace shmrec::recording
