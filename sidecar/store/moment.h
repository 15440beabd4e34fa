// A point in time that stays comparable when somebody sets the clock.
//
// The wall clock may step either way; the clock of the boot does not, but means nothing after a
// restart of the machine. A Moment has both, and a difference is taken of the better one.
#pragma once

#include <cstdint>
#include <string>

namespace shmrec::sidecar {

struct Moment {
  int64_t wall_ns = 0;  // since the epoch
  int64_t boot_ns = 0;  // since the boot, sleep included
  std::string boot_id;  // of the kernel, "" if unknown

  static Moment now();
};

// Nanoseconds from `then` to `now`, never negative: what seems to lie in the future has no age.
int64_t age_ns(const Moment& then, const Moment& now);

// "2026-01-31T08:15:00Z"
std::string rfc3339(int64_t wall_ns);

}  // namespace shmrec::sidecar
