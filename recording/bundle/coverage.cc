#include "recording/bundle/coverage.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "recording/blame/locate.h"
#include "recording/log/brakes.h"
#include "recording/log/names.h"

namespace shmrec::recording {
namespace {

using shmlog::DegradedReason;
using shmlog::JournalType;
using shmlog::Loss;

// Indexed by DegradedReason.
constexpr const char* kDegradedWords[] = {
    "unknown reason",
    "it was executed after the launcher had died",
    "the launcher was not permitted to trace it",
    "a table of the log was full; raise limits.logSize in the policy",
    "the program uses the gs base register itself",
    "a fault inside the recording agent; please report it",
    "the program called shmrec_stop",
    "it is not x86-64 code",
    "syscall user dispatch is refused here (shmrec doctor)",
    "an instruction touched shared memory that shmrec cannot perform (README, Limits)",
    "slower, but every access was recorded",
    "its own seccomp filter refuses what recording needs",
    "it made a 32-bit system call (int 0x80) that cannot be followed",
    "a process of the workload traces it",
};

std::string process_title(const Numbered<shmlog::ProcessEntry>& process) {
  const std::string name = fixed_text(process.entry.name);
  return (name.empty() ? "process" : name) + " (pid " + std::to_string(process.entry.pid) + ")";
}

class CoverageList {
 public:
  std::vector<CoverageItem> items;

  void add(CoverageItem item) {
    if (items.size() < kMaxItems)
      items.push_back(std::move(item));
    else
      ++left_out_;
  }

  // Last.
  void add_left_out() {
    if (left_out_ > 0)
      items.push_back({"log", "lines of this list",
                       "more than " + std::to_string(kMaxItems) + "; the log tells the others",
                       left_out_});
  }

  void add_run(const RunFacts& facts) {
    for (const auto& problem : facts.problems) {
      items.push_back({"run", problem.file, problem.why});
    }
    for (const ReportedGap& gap : facts.gaps) {
      items.push_back({"launcher", gap.what, gap.why, gap.count});
    }
  }

  void add_log(const ShmlogReader& log) {
    for (uint32_t i = 0; i < static_cast<uint32_t>(Loss::kCount); ++i) {
      const uint64_t count = log.header().losses[i];
      const LossWords& words = loss_words(static_cast<Loss>(i));
      if (count > 0) items.push_back({"log", words.what, words.why, count, "", words.gap});
    }
    for (const Damage& damage : log.damage()) {
      items.push_back({"log", damage.reason, "torn by death or damaged; left out", damage.count});
    }
  }

  // What the policy leaves out of segments that are traced; of many only how many there are.
  void add_segments(const ShmlogReader& log) {
    constexpr uint64_t kNamed = 64;
    uint64_t count = 0;
    for (const auto& segment : log.segments())
      if (has_writes_only(segment.entry) && count++ < kNamed)
        add({"journal", unlogged_reads(segment.index, segment.entry), kWritesOnly});
    if (count > kNamed) add({"log", "more segments without reads", kWritesOnly, count - kNamed});
  }

  // What the brake left out, and when.
  void add_brakes(const ShmlogReader& log) {
    constexpr size_t kNamed = 64;  // of one segment
    for (const auto& segment : log.segments()) {
      const std::vector<BrakePeriod> periods = brake_periods(log, segment.index);
      const std::string name = "segment " + std::to_string(segment.index) + " (" +
                               segment_label(segment.index, &segment.entry) + ")";
      for (size_t i = 0; i < std::min(periods.size(), kNamed); ++i)
        add({"journal",
             name + ": " + brake_words(periods[i].level) + " recorded " +
                 brake_time(log, periods[i]),
             brake_cause(log, periods[i].slowdown)});
      if (periods.size() > kNamed)
        add({"journal", name + ": recorded in part more often", "limits.maxSlowdown",
             periods.size() - kNamed});
      if (periods.empty() && segment.entry.braked != 0)
        add({"journal", name + ": recorded in part; when is no longer in the log",
             "limits.maxSlowdown", segment.entry.braked});
    }
  }

  void add_journal(const ShmlogReader& log) {
    // What a process says again and again is one line.
    std::map<std::tuple<uint32_t, std::string, std::string>, size_t> lines;
    for (const JournalItem& item : log.journal()) {
      if (item.entry.type != static_cast<uint16_t>(JournalType::kCoverage)) continue;
      if (item.entry.a != 0) told_.insert({item.entry.process, item.entry.a});
      const std::string what =
          item.text.empty() ? "recording stopped" : item.text.substr(0, kMaxText);
      const std::string why = item.entry.a == 0 ? "not recorded" : degraded_words(item.entry.a);
      const auto known = lines.find({item.entry.process, what, why});
      if (known != lines.end()) {
        ++items[known->second].count;
        continue;
      }
      if (items.size() < kMaxItems) lines.insert({{item.entry.process, what, why}, items.size()});
      add({"journal", what, why, 1, recording_id(log, item.entry.process)});
    }
    if (log.journal_left_out() > 0)
      add({"journal", "journal entries", "too many for this list: the log has them all",
           log.journal_left_out()});
  }

  void add_processes(const ShmlogReader& log, const std::map<uint32_t, ProcessEnd>& ends) {
    for (const auto& process : log.processes()) {
      const std::string id = recording_id(log, process.index);
      const uint32_t degraded = process.entry.degraded;
      if (degraded != 0 && !told_.contains({process.index, degraded})) {
        add({"process", process_title(process) + " ran on unrecorded", degraded_words(degraded), 1,
             id});
      }
      const auto end = ends.find(process.index);
      if (end != ends.end() && end->second.source != ProcessEnd::Source::kUnknown) continue;
      add({"process", "end of " + process_title(process),
           "no exit record: killed, or still running when the bundle was made", 1, id});
    }
  }

  void add_binaries(const BinaryCollection& binaries) {
    for (const Module& module : binaries.modules) {
      if (module.file.empty()) add({"binaries", module.path, module.why, 1, "", !module.unwanted});
    }
    if (binaries.left_out > 0)
      add({"binaries", "executables and libraries", "there are too many: these were left out",
           binaries.left_out});
  }

 private:
  static constexpr size_t kMaxItems = 10000, kMaxText = 512;
  uint64_t left_out_ = 0;
  std::set<std::pair<uint32_t, uint64_t>> told_;  // process, reason
};

}  // namespace

const char* degraded_words(uint64_t reason) {
  return reason < std::size(kDegradedWords) ? kDegradedWords[reason] : kDegradedWords[0];
}

std::string unlogged_reads(uint32_t number, const shmlog::SegmentEntry& entry) {
  return "reads of segment " + std::to_string(number) + " (" + segment_label(number, &entry) + ")";
}

std::string recording_id(const ShmlogReader& log, uint32_t process) {
  const shmlog::ProcessEntry* entry = log.process(process);
  if (entry == nullptr) return "";
  char text[32];
  std::snprintf(text, sizeof(text), "%08x-%04x", entry->id_high, entry->id_low & 0xFFFF);
  return text;
}

std::map<uint32_t, ProcessEnd> process_ends(const ShmlogReader& log, const RunFacts& facts) {
  using Source = ProcessEnd::Source;
  std::map<uint32_t, ProcessEnd> ends;
  const PidLookup by_pid(log);
  for (const JournalItem& item : log.journal()) {
    if (item.entry.type != static_cast<uint16_t>(JournalType::kChildExit)) continue;
    const shmlog::ProcessEntry* parent = log.process(item.entry.process);
    const uint32_t child = by_pid.find(
        {static_cast<int32_t>(item.entry.a), parent ? parent->pid_namespace : 0, item.entry.tsc});
    if (child != 0) ends[child] = {Source::kParent, static_cast<int>(item.entry.b)};
  }
  for (const ReportedExit& exit : facts.exits) {
    const uint32_t process = by_pid.find(exit.seen);
    if (process != 0) ends[process] = {Source::kLauncher, exit.wait_status};
  }
  for (const auto& process : log.processes()) {
    if (process.entry.exit_known == 0) continue;
    ends[process.index] = {Source::kProcess, process.entry.exit_status,
                           process.entry.exit_known == 2};
  }
  return ends;
}

std::vector<CoverageItem> list_coverage(const ShmlogReader* log, const std::string& log_error,
                                        const RunFacts& facts, const BinaryCollection& binaries) {
  CoverageList list;
  list.add_run(facts);
  if (log == nullptr) {
    list.items.push_back({"log", "run.shmlog", "does not open: " + log_error});
    return list.items;
  }
  list.add_log(*log);
  list.add_journal(*log);
  list.add_segments(*log);
  list.add_brakes(*log);
  list.add_processes(*log, process_ends(*log, facts));
  list.add_binaries(binaries);
  list.add_left_out();
  return list.items;
}

nlohmann::ordered_json coverage_document(const std::vector<CoverageItem>& items) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  bool complete = true;
  for (const CoverageItem& item : items) {
    nlohmann::ordered_json row = {{"source", item.source}, {"what", item.what}, {"why", item.why}};
    if (item.count != 1) row["count"] = item.count;
    if (!item.process.empty()) row["process"] = item.process;
    row["gap"] = item.gap;
    complete = complete && !item.gap;
    rows.push_back(std::move(row));
  }
  return {{"format", "shmrec-coverage/1"}, {"complete", complete}, {"items", std::move(rows)}};
}

std::vector<CoverageItem> coverage_items(const nlohmann::json& document) {
  std::vector<CoverageItem> items;
  for (const auto& row : document["items"])
    items.push_back({row["source"], row["what"], row["why"], row.value("count", uint64_t{1}),
                     row.value("process", ""), row["gap"]});
  return items;
}

}  // namespace shmrec::recording
