// Makes a bundle's index while the bundle is written: it is fed the log as it is stored, sums up
// chunk by chunk, and puts blocks of postings into the bundle whenever a run of them is full, so
// that its memory does not depend on the log (about 40 MiB). Equal logs give equal indexes.
//
// Owner: borrows the reader. Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "recording/index/chunk_summary.h"
#include "recording/index/posting_block.h"

namespace shmrec::recording {

class IndexWriter {
 public:
  // Puts a block into the bundle and returns where its content lies in the file.
  using Put = std::function<Result<uint64_t>(std::string_view content)>;

  // Whether a log, stored with its chunks from `chunks_at` on, can be read in parts: its tables lie
  // before them, or in what is not stored.
  static bool can_index(const shmlog::Header& stored, uint64_t stored_bytes);

  // `log` says what became of accesses. `chunks_at`: of the first chunk in the stored log.
  IndexWriter(const ShmlogReader& log, uint64_t chunks_at, Put put);

  // The stored log, from its beginning on, in any pieces.
  Result<> feed(std::string_view data);
  // Puts what is left of postings. REQUIRES: all of the log was fed.
  Result<> flush_run();
  const std::vector<index::Chunk>& chunks() const { return chunks_; }
  const std::vector<index::Block>& blocks() const { return blocks_; }
  // Once all of the archive is written: flush_run(), and the directory.
  Result<> finish(uint64_t log_at, const std::vector<uint64_t>& entries,
                  const std::vector<index::Frame>& frames);

 private:
  Result<> add_chunk();

  const ShmlogReader& log_;
  uint64_t chunks_at_;
  Put put_;
  uint64_t fed_ = 0;
  uint32_t next_chunk_ = 0;
  std::vector<uint8_t> chunk_;  // as far as it was fed
  ChunkCopy copy_;
  ChunkSummary summary_;
  std::vector<StoredPosting> run_;
  std::vector<index::Chunk> chunks_;
  std::vector<index::Block> blocks_;
};

}  // namespace shmrec::recording
