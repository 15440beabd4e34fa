// All that goes into a bundle of a run directory, gathered and held still before a byte is written:
// the manifest comes first in a bundle and is about everything after it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_binaries.h"
#include "recording/bundle/bundle_log.h"
#include "recording/bundle/bundle_run.h"
#include "recording/bundle/cores.h"

namespace shmrec::recording {

// One file of the bundle: `text`, the first `bytes` bytes of `fd` (the plan's), or what is stored
// of `log` (likewise).
struct PlannedFile {
  std::string name;
  uint64_t bytes = 0;
  int fd = -1;
  std::string text;
  const LogImage* log = nullptr;
  bool binary = false;
};

struct BundlePlan {
  RunFacts facts;
  LogImage image;
  std::unique_ptr<LogView> log;  // nullptr: does not open
  std::vector<RunFile> cores;
  std::vector<RunFile> recordings;  // at level replay: streams and mapped files
  BinaryCollection binaries;
  int64_t start_s = 0;  // the run's start, seconds since 1970; 0 if unknown
  // In their order, manifest.json first; SHA256SUMS is not among them.
  std::vector<PlannedFile> files;
  uint64_t total_bytes = 0;
};

// `scratch`: where a copy of a log that may still be written is kept, unnamed, while the plan
// lives. Fails before it is made if options.room_bytes is too little.
Result<std::unique_ptr<BundlePlan>> plan_bundle(const std::filesystem::path& run_dir,
                                                const CreateBundleOptions& options,
                                                const std::filesystem::path& scratch);

// "NAME-20261122T031500Z" of ".../NAME-20261122T031500Z-4711".
std::string run_name(const std::filesystem::path& run_dir);

}  // namespace shmrec::recording
