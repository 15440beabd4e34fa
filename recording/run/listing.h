// What `shmrec ls` says of a run: its recordings, its segments with who mapped them where and how
// often they were read and written, and what was not recorded.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "recording/bundle/coverage.h"
#include "recording/run/segment_history.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

struct SegmentUser {
  const Recording* recording = nullptr;
  std::vector<Mapping> mappings;  // inherited ones first; several if it was mapped anew
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t kernel = 0;  // of these, made by the kernel for a syscall
};

struct SegmentListing {
  uint32_t index = 0;
  std::string label;
  shmlog::SegmentEntry entry;
  std::vector<std::string> other_names;  // that it had later
  std::vector<Happening> history;        // oldest first
  std::string creator;                   // "first mapped by mmap in init_zone, nginx 292b1631-c83d"
  std::vector<SegmentUser> users;        // in the order of the recordings' start
};

// A launcher of the run: the first, or one of another container that joined.
struct LauncherListing {
  std::string name;       // of its directory in members/, "" of the first
  std::string container;  // "" if it did not say
  std::string command;
  std::string end;  // "exit 0", "SIGKILL", "running or killed"
  uint64_t pid_namespace = 0;
};

struct Listing {
  const Timeline* timeline = nullptr;
  std::vector<SegmentListing> segments;
  std::vector<LauncherListing> launchers;  // empty: one alone
  std::vector<CoverageItem> coverage;      // what was not recorded and why
};

// `place_of`: the function that holds the pc in the recording's code when it had `event` events, ""
// if nobody knows; and its module's path.
struct CodePlace {
  std::string function, module;
};
using PlaceOf = std::function<CodePlace(const Recording& recording, uint64_t pc)>;
// Launchers and coverage are left to who has the run's other files (RunFiles).
Listing make_listing(const Timeline& timeline, const PlaceOf& place_of = nullptr);
std::string listing_text(const Listing& listing);
nlohmann::json listing_json(const Listing& listing);

// "exit 0", "SIGABRT", "exec", "running or killed"
std::string end_of_recording(const Recording& recording);

}  // namespace shmrec::recording
