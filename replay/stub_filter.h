// The seccomp filter of a replaying process: what the agent needs there, and nothing that reaches
// out of it.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"

namespace shmrec::replay {

// All else fails with EPERM.
Result<std::vector<sock_filter>> stub_filter();

}  // namespace shmrec::replay
