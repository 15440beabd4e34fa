// The coverage list of a run: what was not captured, and why. A gap that nobody is told of makes an
// answer wrong; every part that can lose something has its line here.
//
// Sources: the log's loss counters, its damage, its journal and process table; events.jsonl;
// missing files of the run directory; modules that could not be collected.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "recording/bundle/bundle_binaries.h"
#include "recording/bundle/bundle_run.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

struct CoverageItem {
  std::string source;   // log | journal | process | launcher | run | binaries
  std::string what;     // what is missing, or happened
  std::string why;      // and what to do, where something can be done
  uint64_t count = 1;   // of what `what` names
  std::string process;  // recording ID; empty if it is not about one
  bool gap = true;      // false: worth knowing, but nothing is missing
};

// `log` may be nullptr: then `log_error` says why it does not open.
std::vector<CoverageItem> list_coverage(const ShmlogReader* log, const std::string& log_error,
                                        const RunFacts& facts, const BinaryCollection& binaries);

// coverage.json, format shmrec-coverage/1.
nlohmann::ordered_json coverage_document(const std::vector<CoverageItem>& items);
// Its items again. REQUIRES: coverage_trouble(document) is "" (run_schema.h).
std::vector<CoverageItem> coverage_items(const nlohmann::json& document);

// "292b1631-c83d"; "" for entry 0 or one that is not there.
std::string recording_id(const ShmlogReader& log, uint32_t process);

// What a segment of which only writes are recorded lacks.
std::string unlogged_reads(uint32_t number, const shmlog::SegmentEntry& entry);
inline constexpr const char* kWritesOnly =
    "this segment records writes only (accesses: writes in the policy)";

// Why a process went on unrecorded, in words. `reason`: shmlog::DegradedReason.
const char* degraded_words(uint64_t reason);

// How a process ended, as far as anybody knows.
struct ProcessEnd {
  enum class Source { kUnknown, kProcess, kLauncher, kParent } source = Source::kUnknown;
  int wait_status = 0;
  bool replaced = false;  // by execve: another recording continues it
};

// By process entry. What the process itself said counts first, then the launcher, then its parent.
std::map<uint32_t, ProcessEnd> process_ends(const ShmlogReader& log, const RunFacts& facts);

}  // namespace shmrec::recording
