// Names of the log's enumerations, for output. A value that no name is known for (the log is not
// trusted) is "unknown(N)".
#pragma once

#include <cstdint>
#include <string>

#include "recording/log/shmlog_format.h"

namespace shmrec::recording {

std::string segment_kind_name(uint32_t kind);
std::string segment_mode_name(uint32_t mode);
std::string tracing_name(uint32_t tracing);
std::string order_name(uint32_t order);
std::string accesses_name(uint32_t accesses);
std::string brake_name(uint32_t level);
// Does the log have no reads of this segment, but those of operations that also write?
bool has_writes_only(const shmlog::SegmentEntry& entry);
std::string start_kind_name(uint32_t kind);
std::string degraded_name(uint32_t reason);
std::string journal_type_name(uint32_t type);
std::string record_kind_name(uint32_t kind);
std::string record_state_name(uint32_t state);
std::string entry_state_name(uint32_t state);
std::string chunk_state_name(uint32_t state);

// The words for a counter of the log, for everybody who tells of it: the launcher's report,
// coverage.json, shmrec ls and dump.
struct LossWords {
  const char* name;  // in JSON
  const char* what;  // "records discarded with the oldest chunks", behind their number
  const char* why;   // and what to do
  bool gap;          // false: worth knowing, but nothing is missing
};
const LossWords& loss_words(shmlog::Loss loss);

// The words for what became of instructions, in JSON and behind their number.
struct PatchWords {
  const char* name;
  const char* what;
};
const PatchWords& patch_words(shmlog::PatchCount count);

}  // namespace shmrec::recording
