// A folder in a run directory that whoever may read the run's files may enter: a sidecar reads by
// its group alone (run_directory.h).
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::launcher {

// Makes it if need be, and opens it; never through a link. `file_mode`: of the files in it.
// Threads: the main one; the process's umask is changed for a moment.
Result<UniqueFd> make_shared_folder(const std::filesystem::path& path, mode_t file_mode);
// The same for `name` in an open directory. -1: errno says why not.
UniqueFd make_shared_folder_at(int directory, const char* name, mode_t file_mode);

}  // namespace shmrec::launcher
