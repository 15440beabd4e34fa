// Keeps the programs and libraries of a run in its directory, for a collector that cannot open
// them: a sidecar has another root (docs/spool.md, recording/bundle/kept_binaries.h).
//
// The run's journal says what is mapped; a thread of its own looks at it a few times a second and
// copies what is new to binaries/, through a temporary name. finish() copies what is still missing.
//
// Where several containers record into one log, each launcher keeps what its own processes map: in
// its PID namespace, or one that it does not see. All write into the one run's binaries/.
//
// Invariants
//  1. The workload is not disturbed: nothing is traced, no lock is shared with the supervisor, the
//     thread is the least urgent one of the machine, takes no signals, and leaves room in the
//     spool.
//  2. finish() returns in bounded time, whatever file systems do; what it could not wait for is
//     lost.
//  3. What is not kept is counted, and named with its reason in the index.
//  4. Only regular ELF files are kept, and only those that were mapped (same inode): the journal is
//     writable by the workload, which must not be able to have any file of its choice kept.
// Trust: the journal and the run directory are the workload's to write.
// Owner: borrows nothing. Threads: one at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"

namespace shmrec::launcher {

struct BinaryKeeperOptions {
  std::filesystem::path run_directory;  // of the run, not of a member of it
  int log = -1;                         // the run's log; a copy of the descriptor is taken
  mode_t file_mode = 0600;  // of the files; the folder can be entered by whoever may read them
  bool executables = true;  // the recorded processes' own
  bool libraries = true;    // all else that is mapped as code
  uint64_t max_bytes = 0;   // of all files together, 0: any
  std::chrono::milliseconds interval{250};
};

class BinaryKeeper {
 public:
  struct Summary {
    uint64_t files = 0;
    uint64_t bytes = 0;
    uint64_t lost = 0;  // files that should have been kept
    std::string why;    // of the first that was lost, with its path
  };

  static Result<std::unique_ptr<BinaryKeeper>> start(const BinaryKeeperOptions& options);
  ~BinaryKeeper();  // as finish() with no patience, if it was not called
  BinaryKeeper(const BinaryKeeper&) = delete;
  BinaryKeeper& operator=(const BinaryKeeper&) = delete;

  // Copies what the journal names and is not there yet, and ends. REQUIRES: not called before.
  Summary finish(std::chrono::milliseconds limit = std::chrono::seconds(10));

 private:
  struct Work;
  explicit BinaryKeeper(std::shared_ptr<Work> work) : work_(std::move(work)) {}
  std::shared_ptr<Work> work_;  // shared with a thread that is stuck in a file system
};

}  // namespace shmrec::launcher
