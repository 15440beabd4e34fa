// What a report counts, from one pass over all accesses of a log, in memory that does not grow with
// it.
//
// Time begins with the first chunk of the log (`origin`). An access has the reading of the clock
// that is known to lie before it: its own time is not in the log.
// Trust: as ShmlogReader. Units: ticks of the log's clock.
#pragma once

#include <cstddef>
#include <map>

#include "recording/run/timeline.h"
#include "report/access_map.h"
#include "report/activity.h"
#include "report/line_table.h"

namespace shmrec::report {

struct Survey {
  static constexpr size_t kMostMaps = 16;

  uint64_t origin = 0;  // reading of the clock
  uint64_t end = 0;     // the latest time that was seen, of accesses and ends of processes
  uint64_t accesses = 0;
  Activity activity;
  std::map<uint32_t, AccessMap> maps;  // by segment: of those with the most accesses
  LineTable lines;
};

Survey survey_log(const recording::Timeline& timeline);

}  // namespace shmrec::report
