// Time that no clock step moves, for waiting.
#pragma once

#include <time.h>

#include <cstdint>

namespace shmrec::launcher {

inline constexpr int64_t kForeverMs = INT64_MAX;

inline int64_t now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

}  // namespace shmrec::launcher
