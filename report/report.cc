#include "report/report.h"

#include <nlohmann/json.hpp>

#include "recording/blame/symbols.h"
#include "report/page.h"
#include "report/page_data.h"

namespace shmrec::report {
namespace {

// Less of what makes a page large.
PageLimits smaller(const PageLimits& limits) {
  PageLimits less = limits;
  for (size_t* limit : {&less.cells, &less.rows, &less.used_bins, &less.places, &less.lines,
                        &less.processes, &less.segments, &less.marks, &less.coverage})
    *limit = *limit / 2;
  return less;
}

}  // namespace

std::string make_report(const recording::RunFiles& files, const std::string& name) {
  const recording::Timeline timeline = files.timeline();
  const auto index = files.access_index();
  recording::Symbols symbols([&](const std::string& path) { return files.binary(path); });
  const Story story = tell_story(files, *index, timeline, symbols);
  const Survey survey = survey_log(timeline);
  const PageSource source{files, timeline, *index, symbols, survey, story, name};
  PageLimits limits;
  std::string page = page_text(page_data(source, limits));
  constexpr int kMostTries = 8;
  for (int i = 1; page.size() >= kMostPageBytes && i < kMostTries; ++i) {
    limits = smaller(limits);
    page = page_text(page_data(source, limits));
  }
  return page;
}

}  // namespace shmrec::report
