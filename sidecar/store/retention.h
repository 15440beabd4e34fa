// Which bundles go, to stay within the limits: pure, so that every case can be tested.
//
// Invariants
//  1. A bundle with `keep` (the first failure of a crash loop) never goes.
//  2. Of the others those go first that are about no failure: they were made by request, mark or
//     file, as often as somebody liked. But for the newest four, so that who asked gets his bundle.
//  3. Of each kind the oldest go first. The order is that of arrival, not of the clock: after the
//     clock was set back, the newest bundle is not the oldest.
//  4. Nothing goes in vain: a limit that cannot be met is said to be, with what to do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/memory_room.h"
#include "sidecar/store/stored_bundle.h"

namespace shmrec::sidecar {

// 0: no limit.
struct RetentionLimits {
  uint64_t count = 0;
  uint64_t bytes = 0;  // of all bundles
  uint64_t age_s = 0;
  uint64_t free_bytes = 0;  // to be left on the volume
};

struct RetentionDrop {
  std::string name;  // of the bundle
  std::string rule;  // "retention.count", ".bytes", ".age" or ".free"
};

struct RetentionPlan {
  std::vector<RetentionDrop> drops;  // in the order in which they are to go
  std::string unmet;                 // limits that remain exceeded, for a person; "": none
};

RetentionPlan plan_retention(std::vector<StoredBundle> bundles, const RetentionLimits& limits,
                             const Moment& now, uint64_t free_bytes);

// A store in memory (an emptyDir of medium Memory) must not get the sidecar killed: its bundles
// take at most half of what is free, they themselves included. Other limits are left as they are.
RetentionLimits within_memory(RetentionLimits limits, const DiskRoom& disk,
                              const MemoryRoom& memory, uint64_t store_bytes);

}  // namespace shmrec::sidecar
