// Executes a recording again and says whether it does what it did.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "agent/agent_abi.h"
#include "base/result.h"
#include "recording/run/run_files.h"
#include "replay/access_file.h"

namespace shmrec::replay {

struct ReplayOptions {
  std::string recording;  // ID
  std::span<const unsigned char> agent_image;
  uint64_t until_event = 0;  // stop there; 0: at its end
  // For so long it may execute without meeting an event; then it is said to have diverged.
  std::chrono::seconds patience{300};
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
  uint64_t stops = 0;         // that were found,
  uint64_t visits = 0;        // and how often their instructions were looked at for it
  double seconds = 0;
  std::string text;  // of a divergence, or why it was refused
};

// An Error: the recording cannot be opened. REQUIRES: `files` were opened whole.
Result<ReplayOutcome> replay_recording(const recording::RunFiles& files, AccessFiles& accesses,
                                       const ReplayOptions& options);

// Does the recording have a stream?
bool has_stream(const recording::RunFiles& files, const std::string& recording);

}  // namespace shmrec::replay
