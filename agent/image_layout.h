// Where the packed image lies, as the agent itself may ask: shmrec-pack fills `shmrec_image_layout`
// when it lays out the image, and they are moved with it like all addresses in it, so the values
// are right before the first instruction runs.
//
// Context: included by the freestanding agent and by shmrec-pack; nothing but <stdint.h>.
// Units: absolute addresses, page aligned.
#pragma once

#include <stdint.h>

namespace shmrec::agent {

inline constexpr uint32_t kMaxImageRanges = 16;

// Pages of one protection, in rising order; a loadable segment of the agent or of Zydis, cut in two
// where only its start may be written by relocation (RELRO).
struct ImageRange {
  uint64_t begin;
  uint64_t end;
  uint32_t protection;  // PROT_* for mprotect
  uint32_t reserved0;
};

struct ImageLayout {
  uint64_t text_begin;  // the agent's own code (not Zydis'): the only range that may make syscalls
  uint64_t text_end;
  uint64_t image_begin;
  uint64_t image_end;
  uint32_t range_count;
  uint32_t reserved0;
  ImageRange ranges[kMaxImageRanges];
};

}  // namespace shmrec::agent

// Defined by the agent. Not const: the compiler must not believe the zeros it sees.
extern "C" __attribute__((visibility("default"))) shmrec::agent::ImageLayout shmrec_image_layout;
