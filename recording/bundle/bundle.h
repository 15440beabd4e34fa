// A bundle: one run as one file, NAME-TIME.shmrec.tar.zst, made from a run directory
// (docs/spool.md) and understood without it (docs/bundle_format.md).
//
// create_bundle never changes the run directory and works on any: finished, still running, killed
// at any moment, with files missing; what is missing is said in the bundle (coverage.json).
// open_bundle trusts nothing in a bundle: an Error names the file, what is wrong and what to do.
// Threads: one at a time for one path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/bundle/archive.h"

namespace shmrec::recording {

class BundleParts;

// Bytes done of all bytes to do; called often, from the caller's thread.
using Progress = std::function<void(uint64_t done, uint64_t total)>;

struct CreateBundleOptions {
  // A file (replaced if it exists) or an existing directory, where the bundle gets the run's name
  // and a name that is free. Empty: the current directory.
  std::filesystem::path output;
  std::string trigger = "on demand";  // why it is made, for a person: "exit", "signal 6 (SIGABRT)"
  bool collect_binaries = true;       // the executables of the recorded processes
  bool collect_libraries = true;      // all else that was mapped executable
  bool collect_launcher_log = true;
  // Largest sum of the files inside, 0: any. The log and the texts always go in; binaries are left
  // out (and said to be) once they would exceed it.
  uint64_t max_bytes = 0;
  // What the bundle, and the copy of the log that it may be made from, may take where they lie. In
  // memory (tmpfs) it is three quarters of what is free at most. If log and texts may not fit, even
  // uncompressed, there is no bundle; binaries are left out.
  uint64_t room_bytes = UINT64_MAX;
  // The run was recorded in another container: paths of the log mean nothing here, so binaries come
  // from the run directory alone (kept_binaries.h), 1 GiB of them at most if max_bytes is 0; and
  // whoever writes there may be hostile, so texts have limits and the log is copied first.
  bool foreign = false;
  // Where binaries are kept as they go into bundles, and how much of them (packed_files.h). Empty:
  // nowhere.
  std::filesystem::path packed_directory;
  uint64_t max_packed_bytes = 0;
  // From as many bytes of records on the bundle has an index (recording/index).
  uint64_t least_indexed_bytes = uint64_t{4} << 20;
  Progress progress;
};

// Makes the bundle and returns its path. On failure there is no new file of the final name; death
// in between leaves at most NAME.partial.
Result<std::filesystem::path> create_bundle(const std::filesystem::path& run_dir,
                                            const CreateBundleOptions& options = {});

// A bundle's files in a directory of their own, or a run directory as it is. In `dir`:
//   always       run.shmlog
//   of a bundle  manifest.json coverage.json binaries.json SHA256SUMS binaries/BUILD-ID/NAME
//   if the run has them  run.json end.json events.jsonl launcher.log
// Owns `dir` if it came from a bundle: private (0700), removed with this object.
class OpenedBundle {
 public:
  std::filesystem::path dir;

  OpenedBundle() = default;
  OpenedBundle(OpenedBundle&& other) noexcept;
  OpenedBundle& operator=(OpenedBundle&& other) noexcept;
  ~OpenedBundle();

  bool is_run_directory() const { return !temporary_; }
  // Of a bundle opened in parts: its log in `dir` lacks the chunks, and binaries come when asked
  // for.
  const std::shared_ptr<const BundleParts>& parts() const { return parts_; }
  // The file that was mapped as `module_path` in the recorded processes: the bundle's copy, or for
  // a run directory the launcher's copy, else the file itself. Nothing if it was not kept.
  std::optional<std::filesystem::path> binary(const std::string& module_path) const;
  // The core that a recording's process left, if it left one.
  std::optional<std::filesystem::path> core(const std::string& recording_id) const;

 private:
  friend Result<OpenedBundle> open_bundle(const std::filesystem::path&, const Progress&);
  friend Result<OpenedBundle> open_bundle_in_parts(const std::filesystem::path&);
  bool temporary_ = false;
  std::shared_ptr<const BundleParts> parts_;
};

// Unpacks and checks a bundle, or takes a run directory as it is. The temporary directory is made
// in $TMPDIR, else /tmp.
Result<OpenedBundle> open_bundle(const std::filesystem::path& path, const Progress& progress = {});

// Unpacks of a bundle with an index what a question needs (bundle_parts.h). An empty `dir` if it
// has none; an Error if that cannot be used: open_bundle() may open it still.
Result<OpenedBundle> open_bundle_in_parts(const std::filesystem::path& path);

// manifest.json, as stored in a bundle or made anew for a run directory.
Result<std::string> manifest_json(const OpenedBundle& bundle);

// ---- Without unpacking all of it ----------------------------------------------------------------

struct BundleFile {
  std::string name;
  uint64_t bytes = 0;
  std::string sha256;  // 64 hex digits; empty for SHA256SUMS itself
};

// Reads all of the bundle and checks its structure and every sum. The files in their order.
Result<std::vector<BundleFile>> list_bundle(const std::filesystem::path& path,
                                            const Progress& progress = {});

// list_bundle, and that the manifest is true of the content, and that the log opens.
Result<std::vector<BundleFile>> verify_bundle(const std::filesystem::path& path,
                                              const Progress& progress = {});

// Writes `names` (empty: all) below `into`, which is made if missing; existing files are an error.
Result<std::vector<BundleFile>> extract_bundle(const std::filesystem::path& path,
                                               const std::filesystem::path& into,
                                               const std::vector<std::string>& names,
                                               const Progress& progress = {});

// The content of one file. Fails if it is larger than `limit`.
Result<std::string> read_bundle_file(const std::filesystem::path& path, const std::string& name,
                                     uint64_t limit = uint64_t{256} << 20);

}  // namespace shmrec::recording
