// The files of one run as the readers of it want them, wherever they came from: a bundle, a run
// directory of the spool, or a shared-memory log alone.
//
// Owner: holds the opened log and, for a bundle, the directory it was unpacked to.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/blame/access_index.h"
#include "recording/log/shmlog_reader.h"
#include "recording/run/listing.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

class OpenedBundle;

class RunFiles {
 public:
  // kParts: a bundle with an index is not unpacked; what a question needs is read of it.
  enum class Read { kParts, kWhole };
  static Result<std::unique_ptr<RunFiles>> open(const std::string& bundle_or_directory_or_log,
                                                Read read = Read::kParts);
  ~RunFiles();

  const ShmlogReader& log() const { return *log_; }
  // The bundle's, or one made by reading all of the log. Borrows this object.
  std::unique_ptr<AccessIndex> access_index() const;
  // What is wrong with the bundle's index, "" if nothing was found. What was found out from it
  // since open() is worth nothing then, unless nothing was: opened with kWhole all of it is read.
  std::string index_trouble() const;
  // Is all of the log read?
  bool is_whole() const;
  // The log's timeline, with the ends of processes that only the launcher saw (SIGKILL).
  Timeline timeline() const;
  // The launchers that recorded into the log, the first one first; empty if it was one alone.
  std::vector<LauncherListing> launchers() const;
  // What was not recorded: the bundle's coverage.json, or what would stand in it now, but for
  // binaries that could not be had.
  std::vector<CoverageItem> coverage() const;
  // Directory with run.json and its neighbours; empty for a log alone.
  const std::filesystem::path& directory() const { return directory_; }
  // The file to read for a program or library of the recorded system: its copy in the bundle, else
  // the path itself.
  std::string binary(const std::string& path) const;
  // The same for all that is known by its build-id, in hex digits; "" if there is none.
  std::string binary_of_build_id(const std::string& build_id) const;
  // The core that a recording's process left; "" if it left none.
  std::string core(const std::string& recording_id) const;

 private:
  RunFiles();
  // Leaves log_ empty if that is not possible.
  void open_in_parts(const std::string& path);

  std::filesystem::path directory_;
  std::unique_ptr<OpenedBundle> bundle_;
  std::string index_trouble_;  // found at opening
  std::unique_ptr<ShmlogReader> log_;
};

}  // namespace shmrec::recording
