// The index of a bundle, opened: its directory in memory, its blocks of postings read when they are
// asked for (index_format.h).
//
// Trust: nothing in it is trusted: counts, order and places are checked against the file's size,
// and what an index says of a chunk is a hint that whoever reads the chunk compares (note_trouble).
// An index that is found to be wrong is of no more use: the question is asked again without it.
//
// Owner: of the directory. Threads: const after open(); note_trouble from any.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/index/posting_block.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

class StoredIndex {
 public:
  // All of the `bytes` bytes of the bundle's file at `at`, or false.
  using ReadAt = std::function<bool(uint64_t at, char* into, size_t bytes)>;
  // nullptr: the file has no index. An Error says why it cannot be used.
  static Result<std::shared_ptr<const StoredIndex>> open(uint64_t file_bytes, ReadAt read_at);

  const index::DirectoryHeader& header() const { return header_; }
  const std::vector<uint64_t>& entries() const { return entries_; }
  const std::vector<index::Frame>& frames() const { return frames_; }
  const std::vector<index::Chunk>& chunks() const { return chunks_; }  // by index
  const std::vector<index::Block>& blocks() const { return blocks_; }
  std::vector<ChunkInfo> chunk_heads() const;

  // Adds the postings of a line to `into`, in no order. What cannot be read is noted as trouble.
  void find(uint32_t segment, uint64_t line, std::vector<StoredPosting>& into) const;
  Result<std::string> block_bytes(const index::Block& block) const;  // as they lie in the file

  // What was found wrong with it since it was opened, "" if nothing.
  void note_trouble(const std::string& trouble) const;
  std::string trouble() const;

 private:
  using Postings = std::shared_ptr<const std::vector<StoredPosting>>;
  struct Cached {
    size_t block;
    Postings postings;
  };

  Result<> load(std::string_view directory, uint64_t directory_at);
  const char* fault(uint64_t directory_at) const;
  Postings postings_of(size_t block) const;

  ReadAt read_at_;
  index::DirectoryHeader header_{};
  std::vector<uint64_t> entries_;
  std::vector<index::Frame> frames_;
  std::vector<index::Chunk> chunks_;
  std::vector<index::Block> blocks_;
  mutable std::mutex mutex_;
  mutable std::list<Cached> cache_;  // newest first
  mutable std::string trouble_;
};

}  // namespace shmrec::recording
