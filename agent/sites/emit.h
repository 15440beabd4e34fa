// The code that performs a site's instruction on an address that the agent chooses.
//
// It is the instruction itself with its memory operand replaced by (%scratch), and a jump to
// shmrec_access_leave (entry.S). All that is needed of the program's registers is in them already.
#pragma once

#include "agent/sites/decode.h"

namespace shmrec::agent {

constexpr uint32_t kSiteCodeBytes = 64;  // two instructions of at most 15 bytes, each with a jump

// Writes site.core, and site.probe if its form has one, to `code`.
void emit(Site& site, const Decoded& decoded, uint8_t* code);

}  // namespace shmrec::agent
