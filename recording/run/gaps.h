// What was not recorded, for those who read `shmrec ls`: the rows of the coverage list
// (coverage.h), those alike made one. Words and judgement are the list's.
#pragma once

#include <string>
#include <vector>

#include "recording/bundle/coverage.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

// Two sections: what is missing, and what is merely worth knowing; the latter if there is any.
std::string gaps_text(const Timeline& timeline, const std::vector<CoverageItem>& items);

// Of these, what concerns a segment: losses of the whole log, what names the segment, and what
// recordings that mapped it say.
std::vector<CoverageItem> gaps_of_segment(const Timeline& timeline, uint32_t segment,
                                          const std::vector<CoverageItem>& items);

}  // namespace shmrec::recording
