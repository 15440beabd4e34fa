// What a run directory says beside its log: run.json, end.json and a digest of events.jsonl, its
// own and those of its members, the launchers of other containers that record into the same log.
//
// The directory may be a workload's to write: no link in it is followed.
// Any of the files may be missing, cut off or damaged: what cannot be used is noted in `problems`.
// The files are opened once and read up to the size they had then; they may be growing. They are
// regular files in the directory itself, whoever may write there; links are not followed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/bundle/bundle_files.h"
#include "recording/run/pid_lookup.h"

namespace shmrec::recording {

// A value that the launcher did not write down stands there as this word (policy/redact.h).
inline constexpr const char* kRedactedMark = "<redacted>";

struct RunFile {
  std::string name;  // in the run directory and in the bundle
  UniqueFd fd;
  uint64_t bytes = 0;
};

struct ReportedGap {  // a coverage line of events.jsonl
  std::string what;
  std::string why;
  uint64_t count = 0;
};

struct ReportedExit {  // an exit line of events.jsonl
  PidSeen seen;
  int wait_status = 0;
};

// Another launcher of the run.
struct MemberFacts {
  std::string name;    // its directory in members/
  nlohmann::json run;  // its run.json and end.json: objects, empty if there is none
  nlohmann::json end;
};

struct RunFacts {
  // Those that are there of: run.json end.json events.jsonl launcher.log, and of the same in
  // members/NAME, by name.
  std::vector<RunFile> files;
  nlohmann::json run;                // an object; empty if there is none
  nlohmann::json end;                // likewise
  std::vector<MemberFacts> members;  // by name
  std::vector<ReportedExit> exits;   // as they were written
  std::vector<ReportedGap> gaps;
  std::set<std::string> redacted;  // names whose values were left out
  struct Problem {
    std::string file;
    std::string why;
    bool expected = false;  // as it is while the run goes on or after the launcher was killed
  };
  std::vector<Problem> problems;

  // A member of run.json as text; "" if missing or of another type.
  std::string run_text(const char* key) const;
};

// Whether a bundle may hold a file of this name for a member: members/NAME/run.json and its like.
bool is_member_file(const std::string& name);

// The PID namespace that a run.json says, 0 if none.
uint64_t pid_namespace_of(const nlohmann::json& run);

// `foreign`: whoever writes the directory is not the one who reads it, so texts have limits; what
// is behind them is left out and noted.
RunFacts read_run_facts(int run_dir, bool with_launcher_log, bool foreign);
// Of one's own, without launcher.log. Nothing of a directory that cannot be opened.
RunFacts read_run_facts(const std::filesystem::path& run_dir);

}  // namespace shmrec::recording
