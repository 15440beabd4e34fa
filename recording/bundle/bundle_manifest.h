// manifest.json, the first file of a bundle: what run it is, how complete, and which files follow.
// Format shmrec-bundle/1, docs/bundle_format.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "recording/bundle/bundle_log.h"
#include "recording/bundle/bundle_run.h"
#include "recording/bundle/coverage.h"

namespace shmrec::recording {

inline constexpr const char* kBundleFormat = "shmrec-bundle/1";
inline constexpr const char* kBundleFormatWithMembers = "shmrec-bundle/2";  // of several launchers
// With cores, of any number of launchers.
inline constexpr const char* kBundleFormatWithCores = "shmrec-bundle/3";
inline constexpr const char* kBundleFormatWithRecordings = "shmrec-bundle/4";  // at level replay
inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kCoverageName = "coverage.json";
inline constexpr const char* kBinariesName = "binaries.json";
inline constexpr const char* kLogName = "run.shmlog";
inline constexpr const char* kSumsName = "SHA256SUMS";

struct FileSize {
  std::string name;
  uint64_t bytes = 0;
  bool operator==(const FileSize&) const = default;
};

// ---- Writing ------------------------------------------------------------------------------------

struct ManifestInput {
  std::string name;  // of the run
  std::string trigger;
  const RunFacts& facts;
  const LogImage& image;
  const ShmlogReader* log;  // nullptr: does not open, because of log_error
  std::string log_error;
  const std::vector<CoverageItem>& coverage;
  std::vector<FileSize> files;  // in their order, without manifest.json and SHA256SUMS
};

// The text of manifest.json. Depends on nothing but its input.
std::string make_manifest(const ManifestInput& input);
std::string make_binaries(const BinaryCollection& binaries);

// JSON as it is stored: indented, newline at the end, invalid UTF-8 replaced.
std::string to_text(const nlohmann::ordered_json& document);

// ---- Reading ------------------------------------------------------------------------------------

// What opening a bundle needs of its manifest, checked: every name is one that a bundle may hold
// and occurs once, and the log's sizes agree with its file.
struct Manifest {
  std::string run_id;
  std::vector<FileSize> files;
  bool log_opens = false;
  uint64_t log_stored_bytes = 0;
  uint64_t log_present_bytes = 0;
  std::vector<std::string> processes;  // recording IDs
};

// `bundle` stands for the bundle in messages.
Result<Manifest> parse_manifest(std::string_view text, const std::string& bundle);

// That the manifest is true of the log. `log` may be nullptr.
Result<> check_manifest(const Manifest& manifest, const ShmlogReader* log,
                        const std::string& bundle);

// That every file that binaries.json speaks of is listed, and the other way round.
Result<> check_binaries(const Manifest& manifest, const nlohmann::json& binaries,
                        const std::string& bundle);

}  // namespace shmrec::recording
