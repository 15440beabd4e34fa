// Cores of a run: copies of the memory of processes that died, as launcher/core/ writes them into
// the run directory's cores/, one file for a recording: cores/ID.core.
//
// The directory may be a workload's to write: no link is followed, and only regular files with such
// a name are taken.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "recording/bundle/bundle_run.h"

namespace shmrec::recording {

// "292b1631-c83d", as recording_id() makes them.
bool is_recording_id(std::string_view text);
// "cores/292b1631-c83d.core"; the ID is that of recording_id().
bool is_core_name(const std::string& name);
std::string core_name(const std::string& recording_id);

// Those of the run directory, by name, as far as they fit in `most_bytes` together; what does not,
// and what cannot be opened, is added to `problems`.
std::vector<RunFile> open_cores(int run_dir, uint64_t most_bytes,
                                std::vector<RunFacts::Problem>& problems);

}  // namespace shmrec::recording
