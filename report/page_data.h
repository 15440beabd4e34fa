// What the page shows, as the one JSON object in it (format shmrec-report/1, read by
// share/page.js).
//
// Processes are numbered by their place in "processes", -1: one that is not among them. Times are
// microseconds since the recording began; numbers beyond 2^53, which only damaged logs have, are
// texts.
//
// Invariants
//  1. The size is bounded whatever the log's: every list has a limit, and what is beyond it is
//     counted, in words in "limits".
// Trust: texts come from the workload; control characters in them are escapes here, the page takes
// them for text only.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "recording/run/run_files.h"
#include "report/story.h"
#include "report/survey.h"

namespace shmrec::report {

struct PageLimits {
  size_t cells = 24000;      // of all maps
  size_t rows = 24000;       // of all tables behind cells
  size_t used_bins = 60000;  // of the timeline
  size_t places = 3000;      // whose function and line are looked up
  size_t lines = 20;         // that are hot, and as many with several writers
  size_t processes = 400;
  size_t segments = 40;
  size_t marks = 1000;
  size_t coverage = 400;
};

struct PageSource {
  const recording::RunFiles& files;
  const recording::Timeline& timeline;
  const recording::AccessIndex& index;
  recording::Symbols& symbols;
  const Survey& survey;
  const Story& story;
  std::string name;  // of the bundle
};

nlohmann::json page_data(const PageSource& source, const PageLimits& limits);

}  // namespace shmrec::report
