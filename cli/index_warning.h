// How commands read a bundle that has an index: by it, and if that turns out to be wrong, which is
// said on standard error, once more by all of its log.
#pragma once

#include <cstdio>

#include "base/printable.h"
#include "recording/run/run_files.h"

namespace shmrec::cli {

// True: what was found out from `files` is worth nothing; they are to be opened whole.
inline bool warn_of_index(const recording::RunFiles& files) {
  const std::string trouble = files.index_trouble();
  if (trouble.empty()) return false;
  std::fprintf(stderr, "shmrec: warning: the bundle's index is not used: %s; all of it is read\n",
               printable(trouble).c_str());
  return !files.is_whole();
}

// `command`: takes how to read, returns an exit code, or nothing after warn_of_index() was true.
template <typename Command>
int in_parts_or_whole(const Command& command) {
  using Read = recording::RunFiles::Read;
  const auto status = command(Read::kParts);
  return status ? *status : command(Read::kWhole).value_or(1);
}

}  // namespace shmrec::cli
