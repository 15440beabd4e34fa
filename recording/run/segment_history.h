// What happened to a segment while the run went on: the names that it had, and who gave and took
// them, its sizes. A name can have been that of several segments, one after the other: this tells
// which at what time.
//
// Source: the journal's entries of types segment name and segment life, of which a log that wraps
// keeps the newest six of each kind for each segment. Threads: as Timeline.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recording/run/timeline.h"

namespace shmrec::recording {

struct Happening {
  uint64_t tsc = 0;
  const Recording* recording = nullptr;  // who did it; nullptr: not known any more
  uint64_t event = 0;
  std::string what;  // "renamed to /data/index"
};

// Oldest first; begins with how it was first mapped.
std::vector<Happening> segment_history(const Timeline& timeline, uint32_t segment);

// "renamed to /data/index at 0.012345 s by writer 41713553-6d4f"
std::string happening_text(const Timeline& timeline, const Happening& happening);

// Has anything happened to it since it was first mapped?
inline bool is_eventful(const std::vector<Happening>& history) { return history.size() > 1; }

}  // namespace shmrec::recording
