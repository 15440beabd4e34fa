// Puts the agent into the calling process: the image at the first place that is free, its BootInfo,
// the call. The same image that the launcher injects at exec; agent/agent_abi.h is the contract.
//
// Context: the process has one thread. On failure nothing stays mapped.
#pragma once

#include "api/log_file.h"

namespace shmrec::api {

// Starts recording into `log`. 0 or an errno of shmrec_start(). The descriptor stays the caller's.
int attach_agent(const LogFile& log);

}  // namespace shmrec::api
