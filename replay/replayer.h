// Executes a recording again and says whether it does what it did.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "agent/agent_abi.h"
#include "base/result.h"

namespace shmrec::replay {

struct ReplayOptions {
  std::filesystem::path run_directory;  // with recordings/ and mapped/
  std::string recording;                // ID
  std::span<const unsigned char> agent_image;
  // Called now and then with the number of the event that it is at.
  std::function<void(uint64_t event)> progress;
};

struct ReplayOutcome {
  agent::ReplayState state{};
  agent::ReplayEnd end{};
  uint64_t detail = 0;        // exit status, signal
  uint64_t event = 0;         // the last one
  uint64_t records = 0;       // that were followed
  uint64_t checks = 0;        // that were compared
  uint64_t memory_pages = 0;  // in the last of them
  double seconds = 0;
  std::string text;  // of a divergence, or why it was refused
};

// An Error: the recording cannot be opened.
Result<ReplayOutcome> replay_recording(const ReplayOptions& options);

// The IDs of all recordings with a stream.
Result<std::vector<std::string>> list_recordings(const std::filesystem::path& run_directory);

}  // namespace shmrec::replay
