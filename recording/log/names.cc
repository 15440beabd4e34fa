#include "recording/log/names.h"

#include <string.h>

#include <iterator>

#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

// names[0] belongs to the value `first`.
template <size_t N>
std::string name_in(const char* const (&names)[N], uint32_t value, uint32_t first) {
  if (value >= first && value - first < N) return names[value - first];
  return "unknown(" + std::to_string(value) + ")";
}

constexpr const char* kSegmentKinds[] = {"anonymous", "posix", "memfd", "sysv", "file"};
constexpr const char* kSegmentModes[] = {"trace", "shadow", "ignore", "deny"};
constexpr const char* kOrders[] = {"exact", "relaxed"};
constexpr const char* kStartKinds[] = {"exec", "fork", "api", "vfork"};
constexpr const char* kDegraded[] = {"no",          "launcher gone", "no permission",
                                     "tables full", "uses gs",       "agent fault",
                                     "stopped",     "not x86-64",    "no syscall dispatch",
                                     "instruction", "many sites",    "own seccomp filter"};
constexpr const char* kJournalTypes[] = {
    "process start", "module",       "segment map",  "unmap",      "process exit", "mark",
    "coverage",      "thread start", "signal",       "child exit", "protect",      "segment name",
    "promoted",      "maps",         "segment life", "pointers"};
constexpr const char* kRecordKinds[] = {"read",  "write",        "read-write",   "read-then-write",
                                        "clock", "read-between", "write-between"};
constexpr const char* kTracings[] = {"traced", "native"};
constexpr const char* kRecordStates[] = {"none", "begun", "committed", "aborted", "inferred"};
constexpr const char* kEntryStates[] = {"free", "claimed", "live", "ended"};
constexpr const char* kChunkStates[] = {"free", "claimed", "ready", "full", "busy"};

struct LossText {
  const char* name;
  const char* meaning;  // follows the count
};
constexpr LossText kLosses[] = {
    {"recordsOverwritten", "records were overwritten because the log was full"},
    {"chunksOverwritten", "chunks were overwritten because the log was full"},
    {"recordsDropped", "accesses happened but were not logged"},
    {"journalDropped",
     "journal entries were given up though something living or a record needed them"},
    {"processesDropped", "processes ran unrecorded: the process table was full of living ones"},
    {"lanesDropped", "threads ran unrecorded: the lane table was full"},
    {"segmentsDropped", "segments were not traced: the segment table was full of mapped ones"},
    {"usageDropped", "usage counters did not fit"},
    {"stripesStolen", "locks were taken from a thread that was alive but did not move"},
    {"stripesRecovered", "locks were taken over from a dead thread"},
    {"journalOverwritten", "journal entries that nothing needed any more were overwritten"},
    {"processesOverwritten", "recordings that had ended and left no records were forgotten"},
    {"usageOverwritten",
     "usage counters of such recordings, or of forgotten segments, were forgotten"},
    {"segmentsOverwritten",
     "segments that nobody mapped any more were forgotten, with records of them left"},
};
static_assert(std::size(kLosses) == static_cast<size_t>(shmlog::Loss::kCount));

}  // namespace

std::string segment_kind_name(uint32_t kind) { return name_in(kSegmentKinds, kind, 1); }
std::string segment_mode_name(uint32_t mode) { return name_in(kSegmentModes, mode, 1); }
std::string tracing_name(uint32_t tracing) { return name_in(kTracings, tracing, 0); }
std::string order_name(uint32_t order) { return name_in(kOrders, order, 1); }
std::string start_kind_name(uint32_t kind) { return name_in(kStartKinds, kind, 1); }
std::string degraded_name(uint32_t reason) { return name_in(kDegraded, reason, 0); }
std::string journal_type_name(uint32_t type) { return name_in(kJournalTypes, type, 1); }
std::string record_kind_name(uint32_t kind) { return name_in(kRecordKinds, kind, 1); }
std::string record_state_name(uint32_t state) { return name_in(kRecordStates, state, 0); }
std::string entry_state_name(uint32_t state) { return name_in(kEntryStates, state, 0); }
std::string chunk_state_name(uint32_t state) { return name_in(kChunkStates, state, 0); }

std::string loss_name(uint32_t loss) {
  return loss < std::size(kLosses) ? kLosses[loss].name : "unknown(" + std::to_string(loss) + ")";
}

std::string describe_loss(shmlog::Loss loss, uint64_t count) {
  return with_separators(count) + " " + kLosses[static_cast<size_t>(loss)].meaning;
}

}  // namespace shmrec::recording
