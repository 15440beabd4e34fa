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
constexpr const char* kAccesses[] = {"all", "writes"};
constexpr const char* kBrakeLevels[] = {"off", "writes", "sampled"};
constexpr const char* kStartKinds[] = {"exec", "fork", "api", "vfork"};
constexpr const char* kDegraded[] = {"no",          "launcher gone", "no permission",
                                     "tables full", "uses gs",       "agent fault",
                                     "stopped",     "not x86-64",    "no syscall dispatch",
                                     "instruction", "many sites",    "own seccomp filter",
                                     "32-bit call", "traced"};
constexpr const char* kJournalTypes[] = {
    "process start", "module",       "segment map",  "unmap",      "process exit", "mark",
    "coverage",      "thread start", "signal",       "child exit", "protect",      "segment name",
    "promoted",      "maps",         "segment life", "pointers",   "brake"};
constexpr const char* kRecordKinds[] = {"read",  "write",        "read-write",   "read-then-write",
                                        "clock", "read-between", "write-between"};
constexpr const char* kTracings[] = {"traced", "native"};
constexpr const char* kRecordStates[] = {"none", "begun", "committed", "aborted", "inferred"};
constexpr const char* kEntryStates[] = {"free", "claimed", "live", "ended"};
constexpr const char* kChunkStates[] = {"free", "claimed", "ready", "full", "busy"};

constexpr const char* kLogFull =
    "the log was full and the oldest records made room; raise limits.logSize in the policy";
constexpr const char* kTableFull =
    "a table of the log was full; raise limits.logSize in the policy: tables grow with it";

constexpr LossWords kLosses[] = {
    {"recordsOverwritten", "records discarded with the oldest chunks", kLogFull, true},
    {"chunksOverwritten", "chunks of the log used again", "their records are counted apart", false},
    {"recordsDropped", "accesses made but not logged", "no chunk of the log could be had", true},
    {"journalDropped", "journal entries left out",
     "living processes filled the journal: modules or mappings may be unknown; "
     "raise limits.logSize",
     true},
    {"processesDropped", "processes that ran unrecorded", kTableFull, true},
    {"lanesDropped", "threads that ran unrecorded", kTableFull, true},
    {"segmentsDropped", "segments left untraced", kTableFull, true},
    {"usageDropped", "usage counters left out", "counts of reads and writes by segment are too low",
     true},
    {"stripesStolen", "lines of memory taken from a thread that was alive but did not move",
     "order of accesses to these lines may be wrong at that point", true},
    {"stripesRecovered", "lines of memory taken over from a thread that had died",
     "its last access is marked as inferred or in flight; nothing else is affected", false},
    {"journalOverwritten", "journal entries that nothing needed any more",
     "the oldest made room for newer ones", false},
    {"processesOverwritten", "recordings that had ended and of which no record is left",
     "the oldest made room for newer ones", false},
    {"usageOverwritten", "usage counters of such recordings, or of segments that are forgotten",
     "the oldest made room for newer ones", false},
    {"segmentsOverwritten", "segments that nobody mapped any more, with records of them left",
     "the oldest made room for newer ones; raise limits.logSize", true},
};
static_assert(std::size(kLosses) == static_cast<size_t>(shmlog::Loss::kCount));

}  // namespace

std::string segment_kind_name(uint32_t kind) { return name_in(kSegmentKinds, kind, 1); }
std::string segment_mode_name(uint32_t mode) { return name_in(kSegmentModes, mode, 1); }
std::string tracing_name(uint32_t tracing) { return name_in(kTracings, tracing, 0); }
std::string order_name(uint32_t order) { return name_in(kOrders, order, 1); }
std::string brake_name(uint32_t level) { return name_in(kBrakeLevels, level, 0); }
std::string accesses_name(uint32_t accesses) { return name_in(kAccesses, accesses, 0); }
bool has_writes_only(const shmlog::SegmentEntry& entry) {
  return entry.mode == static_cast<uint32_t>(shmlog::SegmentMode::kTrace) &&
         entry.accesses == static_cast<uint16_t>(shmlog::Accesses::kWrites);
}
std::string start_kind_name(uint32_t kind) { return name_in(kStartKinds, kind, 1); }
std::string degraded_name(uint32_t reason) { return name_in(kDegraded, reason, 0); }
std::string journal_type_name(uint32_t type) { return name_in(kJournalTypes, type, 1); }
std::string record_kind_name(uint32_t kind) { return name_in(kRecordKinds, kind, 1); }
std::string record_state_name(uint32_t state) { return name_in(kRecordStates, state, 0); }
std::string entry_state_name(uint32_t state) { return name_in(kEntryStates, state, 0); }
std::string chunk_state_name(uint32_t state) { return name_in(kChunkStates, state, 0); }

const LossWords& loss_words(shmlog::Loss loss) { return kLosses[static_cast<size_t>(loss)]; }

const PatchWords& patch_words(shmlog::PatchCount count) {
  static constexpr PatchWords kWords[] = {
      {"direct", "instructions that access shared memory became jumps"},
      {"relocated", "did so together with what is behind them"},
      {"punned", "did so by a jump that shares bytes with what is behind it"},
      {"calls", "system calls became jumps"},
      {"routines", "routines of libc are performed as a whole"},
      {"left", "instructions cost a fault for each access: they cannot be patched"},
      {"putBack", "jumps were taken out again"},
      {"strays", "times the program jumped into what a jump had overwritten"},
  };
  static_assert(std::size(kWords) == static_cast<size_t>(shmlog::PatchCount::kCount));
  return kWords[static_cast<size_t>(count)];
}

}  // namespace shmrec::recording
