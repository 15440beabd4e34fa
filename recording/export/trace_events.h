// A run as Chrome trace events (JSON), which Perfetto's UI opens. docs/export.md says what becomes
// what, with the format's fields.
//
// Accesses are counted per time bin, recording and segment, so the size depends on how many of
// these there are, and not on how many accesses. Threads: one at a time.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "recording/export/access_walk.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

// `deaths`: a sentence on where a process died, by recording ID (crash/core_backtrace.h).
// `write` returns false if no more is wanted. Returns what could not be read.
std::vector<Damage> write_trace_events(const Timeline& timeline, const AccessFilter& filter,
                                       const std::map<std::string, std::string>& deaths,
                                       const std::function<bool(std::string_view)>& write);

// Microseconds: the smallest of 1, 2, 5, 10, 20... of which `bins` cover `length`.
uint64_t bin_width(double length_us, uint64_t bins);

}  // namespace shmrec::recording
