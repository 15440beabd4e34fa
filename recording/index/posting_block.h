// A posting of an index, and blocks of them as they lie in a bundle (index_format.h).
//
// Trust: decode_block() trusts nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "recording/index/index_format.h"

namespace shmrec::recording {

struct StoredPosting {
  uint32_t segment = 0;
  uint32_t chunk_writes = 0;  // chunk * 2 | writes
  uint64_t line = 0;
  uint64_t first_version = 0;
  uint64_t last_version = 0;

  uint32_t chunk() const { return chunk_writes >> 1; }
  bool writes() const { return chunk_writes & 1; }
};

// The varints of at most kPostingsPerBlock postings, which are sorted.
std::string encode_block(std::span<const StoredPosting> postings);
// All of them, or an error.
Result<std::vector<StoredPosting>> decode_block(std::string_view raw);

// One zstd frame with a checksum.
Result<std::string> packed(std::string_view raw);
// Its content, which must be `raw_bytes` long. The caller has limited that.
Result<std::string> unpacked(std::string_view frame, uint64_t raw_bytes);

}  // namespace shmrec::recording
