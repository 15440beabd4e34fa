// The bytes of a bundle's index: which part of the bundle to read for an access
// (docs/index_format.md).
//
// An index lies behind the archive, in blocks that unpacking passes over (bundle/archive.h):
//   posting blocks  sorted runs of postings: which chunk touches which line, at which versions
//   the directory   frames of the archive, entries, chunks of the log, posting blocks; a tail
// Posting blocks and the directory are zstd frames with a checksum. Numbers are little-endian.
//
// An index never says what an access was: whoever uses it reads the chunk.
#pragma once

#include <cstdint>

#include "recording/log/shmlog_format.h"

namespace shmrec::recording::index {

inline constexpr char kMagic[8] = {'S', 'H', 'M', 'R', 'I', 'D', 'X', '1'};
inline constexpr char kTailMagic[8] = {'S', 'H', 'M', 'R', 'I', 'D', 'X', 'E'};
inline constexpr uint32_t kVersion = 1;

struct DirectoryHeader {
  char magic[8];  // kMagic
  uint32_t version;
  uint32_t header_bytes;  // sizeof(DirectoryHeader)
  uint64_t log_at;        // of the log's content in the archive
  uint64_t log_bytes;     // stored
  uint64_t chunks_at;     // of the first chunk in the stored log
  uint32_t entry_count;
  uint32_t frame_count;
  uint32_t chunk_count;
  uint32_t block_count;
  // uint64_t entries[entry_count]; Frame frames[]; Chunk chunks[]; Block blocks[];
};
static_assert(sizeof(DirectoryHeader) == 56);
// entries: where the content of each file begins in the archive, in the archive's order,
// manifest.json and SHA256SUMS included.

struct Frame {  // of the archive; in order, without gaps in tar_at
  uint64_t tar_at;
  uint64_t file_at;
  uint32_t tar_bytes;
  uint32_t file_bytes;
};
static_assert(sizeof(Frame) == 24);

enum ChunkFlags : uint32_t {
  kHasBetween = 1,  // has accesses whose place in the order lies between two
};

struct Chunk {  // every chunk that was ever used, by index
  uint32_t index;
  uint32_t flags;
  uint64_t records;      // accesses that happened, 0 for a chunk that readers do not use
  uint64_t first_event;  // UINT64_MAX if there is none
  uint64_t last_event;
  shmlog::ChunkHeader header;  // as it is in the log
};
static_assert(sizeof(Chunk) == 96);

struct Block {
  uint64_t file_at;  // of its zstd frame
  uint32_t file_bytes;
  uint32_t raw_bytes;
  uint64_t first_line, last_line;  // with the segments: of its first and last posting
  uint32_t first_segment, last_segment;
};
static_assert(sizeof(Block) == 40);

// Behind the directory's zstd frame, in its block, and so the end of the file.
struct Tail {
  uint32_t file_bytes;  // of that frame
  uint32_t raw_bytes;
  char magic[8];  // kTailMagic
};
static_assert(sizeof(Tail) == 16);

// A posting block, unpacked, is a row of varints (7 bits a byte, the lowest first, bit 7: more
// follow). The values before the first posting are 0. Of each posting:
//   segment - that before
//   line                        if the segment differs; else line - that before
//   chunk * 2 | writes          if segment or line differ; else that - the one before
//   first version               if segment or line differ; else zigzag(it - that before)
//   last version - first version
// In a run postings are sorted by (segment, line, chunk, writes).
inline constexpr uint32_t kPostingsPerBlock = 2048;
inline constexpr uint32_t kMaxBlockBytes = kPostingsPerBlock * 50;
inline constexpr uint32_t kPostingsPerRun = 1u << 20;

}  // namespace shmrec::recording::index
