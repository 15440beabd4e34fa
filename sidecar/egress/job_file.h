// The queue's memory on disk: one small file for each bundle that still has to go to a destination,
//   <store>/.egress/<BUNDLE>.<DESTINATION>
// JSON, `shmrec-egress/1`. Replaced whole (written as .new, synced, renamed), so that it is of one
// moment after any death.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sidecar/egress/destination.h"

namespace shmrec::sidecar::egress {

struct Job {
  Bundle bundle;
  std::string destination;
  unsigned attempts = 0;     // that failed
  int64_t next_unix_ms = 0;  // by the wall clock, only for the next life; 0: at once
};

// Letters, digits, '_' and '-', at most 24.
bool is_destination_name(const std::string& name);

// Threads: one at a time.
class JobFiles {
 public:
  // Makes <store>/.egress if it is missing.
  static Result<JobFiles> open(const std::filesystem::path& store);

  // On disk when it returns.
  Result<> write(const Job& job);
  // True if it is gone, or never was.
  bool remove(const Job& job);
  // All of them, by time of the bundle. What is not a job is left where it is and told in
  // `skipped`.
  Result<std::vector<Job>> read_all(std::vector<std::string>& skipped) const;

 private:
  Result<Job> read(const std::string& file_name) const;

  std::filesystem::path store_;
  UniqueFd directory_;
};

}  // namespace shmrec::sidecar::egress
