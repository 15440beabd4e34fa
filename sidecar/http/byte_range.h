// The Range header (RFC 9110, 14.1.2) of one range. Several, other units and what does not parse
// are ignored, as the RFC allows: the answer is then the whole.
#pragma once

#include <cstdint>
#include <string_view>

namespace shmrec::sidecar {

struct ByteRange {
  enum class Kind { kWhole, kPart, kUnsatisfiable } kind = Kind::kWhole;
  uint64_t offset = 0;
  uint64_t bytes = 0;  // of kWhole: the total
};

// Invariant: unless unsatisfiable, offset + bytes <= total_bytes; a part has at least one byte.
ByteRange parse_range(std::string_view value, uint64_t total_bytes);

}  // namespace shmrec::sidecar
