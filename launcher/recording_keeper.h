// The files of recordings at level replay, made for agents that ask (agent_abi.h: kCallStream,
// kCallKeep): recordings/ID/N.stream and, once for each content, mapped/NAME in the run directory
// (recording/stream/stream_format.h).
//
// Invariants
//  1. A stream file has all its blocks before its agent gets it: no store into it can fail.
//  2. A mapped file has its name when its copy is whole.
//  3. What would go beyond the policy's limits is refused, and the agent says so. What is refused
//     takes no room.
//  4. Nothing is written through a link, whatever the workload has put into the run directory.
// Threads: one. Trust: requests are the workload's; what is opened is a descriptor of the asking
// process, and only a regular file is copied.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "agent/agent_abi.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::launcher {

struct RecordingKeeperOptions {
  std::filesystem::path run_directory;
  mode_t file_mode = 0600;
  uint64_t max_bytes = 0;  // of all files together
};

class RecordingKeeper {
 public:
  static Result<std::unique_ptr<RecordingKeeper>> create(RecordingKeeperOptions options);

  // The next file of a stream. -1: errno says why not.
  UniqueFd make_stream(const agent::StreamRequest& request);
  // Copies the file that descriptor `fd` of process `pid` is. 0, or why not: an errno.
  int keep(pid_t pid, int fd);

 private:
  explicit RecordingKeeper(RecordingKeeperOptions options) : options_(std::move(options)) {}
  bool take_room(uint64_t bytes);
  UniqueFd make_file(int folder, const agent::StreamRequest& request) const;
  int copy(int from, const struct stat& file, const std::string& name) const;

  RecordingKeeperOptions options_;
  UniqueFd recordings_, mapped_;
  std::set<std::string> kept_;
  uint64_t bytes_ = 0;
};

}  // namespace shmrec::launcher
