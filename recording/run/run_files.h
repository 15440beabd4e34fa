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
#include "recording/log/shmlog_reader.h"
#include "recording/run/listing.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

class OpenedBundle;

class RunFiles {
 public:
  static Result<std::unique_ptr<RunFiles>> open(const std::string& bundle_or_directory_or_log);
  ~RunFiles();

  const ShmlogReader& log() const { return *log_; }
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

 private:
  RunFiles();

  std::filesystem::path directory_;
  std::unique_ptr<OpenedBundle> bundle_;
  std::unique_ptr<ShmlogReader> log_;
};

}  // namespace shmrec::recording
