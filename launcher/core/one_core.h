// One core: stops a process's threads, reads them and their memory, writes the file, lets go.
//
// Threads: a thread of its own, which ends afterwards (stopped_threads.h). It acts for the
// process's user (ActAs). Trust: all that is read is the workload's.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "agent/agent_abi.h"
#include "base/result.h"
#include "policy/policy.h"

namespace shmrec::launcher {

// Of which process, and what is known of it.
struct CoreSubject {
  pid_t pid = 0;
  uint32_t id_high = 0, id_low = 0;  // of its recording
  uint64_t zone = 0;                 // where the agent's begins
  // Of one that is about to end, what the thread says that waits for the core; of one that runs on:
  // nothing.
  std::optional<agent::CoreRequest> request;
  pid_t waiting_thread = 0;
  // Of one that runs on, where the log has the number of its newest event.
  int log_fd = -1;  // stays the caller's
  int64_t event_at = 0;
};

struct CorePlace {
  int folder = -1;  // stays the caller's
  mode_t file_mode = 0600;
};

struct TakenCore {
  uint64_t bytes = 0, left_out_bytes = 0;
  size_t missing_threads = 0;
  std::chrono::steady_clock::duration pause{};  // how long the threads stood
};

// "1234abcd-00ff"
std::string recording_name(const CoreSubject& subject);
// The file's name in its folder.
std::string core_file_name(const CoreSubject& subject);

// A recording has one core, the newest. `give_way`: see StoppedThreads::stop().
Result<TakenCore> take_core(const CoreSubject& subject, const CoreChoice& choice,
                            const CorePlace& place, const std::atomic<bool>& give_way);

// "1234 bytes in 5 ms, without 2 threads"
std::string describe(const TakenCore& taken);

}  // namespace shmrec::launcher
