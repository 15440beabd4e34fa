// Accesses as comma-separated values (RFC 4180), for tools that read tables. docs/export.md
// describes the columns.
//
// Text from the workload is made printable (base/printable.h) and quoted where it must be, so a
// line of the file is a row. Threads: one at a time. Memory: that of the walk, and a cache of the
// code that made accesses, which has a limit.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "recording/blame/symbols.h"
#include "recording/export/access_walk.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

// `write` returns false if no more is wanted. Returns what could not be read.
std::vector<Damage> write_access_csv(const Timeline& timeline, Symbols& symbols,
                                     const AccessFilter& filter,
                                     const std::function<bool(std::string_view)>& write);

// One cell, quoted if it must be.
std::string csv_cell(std::string_view text);

}  // namespace shmrec::recording
