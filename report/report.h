// A bundle as one page to look at: docs/report.md.
//
// One pass over all accesses (survey.h), some questions of blame, and the page, which is bounded:
// below kMostPageBytes whatever the log's size.
// Trust: as RunFiles; nothing of a bundle becomes markup or script (page.h).
#pragma once

#include <string>

#include "recording/run/run_files.h"

namespace shmrec::report {

inline constexpr size_t kMostPageBytes = 5'000'000;

// `name`: of the bundle, for the title.
std::string make_report(const recording::RunFiles& files, const std::string& name);

}  // namespace shmrec::report
