// Creates a shared-memory log: lays out its areas, allocates every block, measures the clock.
//
// Owner: the caller owns the returned descriptor (read and write, close-on-exec).
// Invariants
//  1. On success the file has exactly `log_bytes` bytes and all of them are allocated: a later
//     store through a mapping cannot fail for lack of space (shmlog_format.h, invariant 1).
//  2. The magic is written last: a file cut off by death during creation does not open.
//  3. On failure no file is left behind.
// Dependencies: libc only, because libshmrec links this into the recorded program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::recording {

inline constexpr uint64_t kMinLogBytes = uint64_t{8} << 20;
inline constexpr uint64_t kMaxLogBytes = uint64_t{1} << 36;  // the agent has room for no more

struct CreateOptions {
  uint64_t log_bytes = 0;  // size of the whole file; rounded down to pages
  std::vector<shmlog::PolicyRule> rules;
  shmlog::SegmentMode default_mode = shmlog::SegmentMode::kTrace;
  shmlog::Order default_order = shmlog::Order::kExact;
  shmlog::Accesses default_accesses = shmlog::Accesses::kAll;
  uint32_t max_slowdown = 0;  // thousandths; 0: no brake
  bool failure_closed = false;
  bool slow = false;
  uint64_t run_id = 0;
  uint32_t launcher_pid = 0;
  std::string build;        // cut to 31 bytes
  mode_t file_mode = 0600;  // whatever the umask
  // The processor's clock is measured for at least this long, below a second. Less will do for who
  // calls refine_clock() later.
  uint64_t clock_ns = 10'000'000;
};

// A new file at `path`; an existing one is an error. Returns its descriptor.
Result<int> create_shmlog(const std::string& path, const CreateOptions& options);

// Measures `tsc_hz` again, over all the time since the log `log` was created. An error of the
// clocks (some 50 ns) is so a constant in what is computed, however long the run. REQUIRES:
// CLOCK_MONOTONIC is the creator's (not one of another time namespace).
void refine_clock(int log);

// Sets `header` to what create_shmlog would write, clock fields zero. Fails if log_bytes is out of
// range.
Result<> plan_layout(const CreateOptions& options, shmlog::Header& header);

}  // namespace shmrec::recording
