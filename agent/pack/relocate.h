// An agent image, moved to the base where it is to be mapped: for those who inject it.
//
// Trust: the image is this program's own, but what it names is checked all the same (check_image).
#pragma once

#include <cstdint>
#include <cstring>

#include "agent/agent_abi.h"

namespace shmrec::agent {

// Null if the image is one of this release whose parts lie within its `bytes`; else what is wrong.
inline const char* check_image(const unsigned char* image, uint64_t bytes) {
  ImageHeader header;
  if (bytes < sizeof header) return "too short";
  std::memcpy(&header, image, sizeof header);
  if (std::memcmp(header.magic, kImageMagic, sizeof header.magic) != 0 ||
      header.abi_version != kAbiVersion)
    return "not one of this release";
  const uint64_t list_bytes = uint64_t{header.relocation_count} * sizeof(uint32_t);
  if (header.segment_count > sizeof header.segments / sizeof header.segments[0] ||
      header.span_bytes == 0 || header.span_bytes > kCodeOffset ||
      header.entry >= header.span_bytes || header.relocation_offset > bytes ||
      list_bytes > bytes - header.relocation_offset)
    return "bad header";
  for (uint32_t i = 0; i < header.segment_count; ++i) {
    const ImageSegment& segment = header.segments[i];
    if (segment.file_offset > bytes || segment.file_bytes > bytes - segment.file_offset ||
        segment.file_bytes > segment.memory_bytes || segment.address > header.span_bytes ||
        segment.memory_bytes > header.span_bytes - segment.address)
      return "a segment lies outside";
  }
  return nullptr;
}

// Calls `visit` with the offset in segment `index` of each of its words that move, until that
// returns false.
template <typename Visit>
void for_each_moving(const unsigned char* image, uint32_t index, const Visit& visit) {
  ImageHeader header;
  std::memcpy(&header, image, sizeof header);
  const ImageSegment& segment = header.segments[index];
  for (uint32_t i = 0; i < header.relocation_count; ++i) {
    uint32_t address;
    std::memcpy(&address, image + header.relocation_offset + i * sizeof address, sizeof address);
    const uint64_t at = address - segment.address;
    if (address < segment.address || at + sizeof(uint64_t) > segment.file_bytes) continue;
    if (!visit(at)) return;
  }
}

// Adds `base` to the words of segment `index` that move. `memory`: its file_bytes, in their place
// or in a copy. REQUIRES: check_image() found nothing.
inline void relocate(const unsigned char* image, uint32_t index, uint64_t base,
                     unsigned char* memory) {
  for_each_moving(image, index, [&](uint64_t at) {
    uint64_t word;
    std::memcpy(&word, memory + at, sizeof word);
    word += base;
    std::memcpy(memory + at, &word, sizeof word);
    return true;
  });
}

// Whether a segment has such words: then its bytes depend on the base. REQUIRES: as above.
inline bool moves(const unsigned char* image, uint32_t index) {
  bool any = false;
  for_each_moving(image, index, [&](uint64_t) {
    any = true;
    return false;
  });
  return any;
}

}  // namespace shmrec::agent
