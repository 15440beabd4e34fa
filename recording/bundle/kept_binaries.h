// The programs and libraries that a launcher kept in its run directory, for one who cannot open
// them by path: binaries/ID files and binaries/index.jsonl (docs/spool.md).
//
// The lines are written by the launcher's binary keeper and read by KeptBinaries.
// Trust: the workload can write all of it. A file is handed out if it is a regular file of that
// directory itself, of the length, sum and build-id that the index gives, an ELF file, and named by
// one of the two; what it holds is still the workload's word.
// Owner: holds the directory open. Threads: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/bundle/bundle_files.h"

namespace shmrec::recording {

inline constexpr const char* kKeptFolder = "binaries";
inline constexpr const char* kKeptIndexName = "index.jsonl";

// One line of the index.
struct KeptBinary {
  std::string path;      // as mapped
  uint64_t inode = 0;    // of the file that was mapped, 0: unknown
  std::string build_id;  // hex, "" if it has none
  std::string sha256;
  std::string file;  // its name in binaries/; "" if it was not kept
  uint64_t bytes = 0;
  std::string missing;  // why it was not kept
};

std::string to_line(const KeptBinary& binary);  // with its newline

class KeptBinaries {
 public:
  // Of a run directory; empty if it has none, or none that may be used (problem()).
  static KeptBinaries open(int run_dir);

  // Whether there is an index at all.
  bool present() const { return static_cast<bool>(folder_); }
  const std::string& problem() const { return problem_; }

  // The line about a mapped file, the newest; `inode` 0: of any. nullptr if there is none.
  const KeptBinary* find(const std::string& path, uint64_t inode) const;
  // Its file, checked. An Error whose message says why not, without the path.
  Result<UniqueFd> open_checked(const KeptBinary& binary, uint64_t max_bytes) const;

 private:
  void read_index();
  void take_line(std::string_view line);

  UniqueFd folder_;
  std::string problem_;
  std::map<std::string, std::vector<KeptBinary>> by_path_;
};

}  // namespace shmrec::recording
