// How a replay ends: what the agent tells the supervisor.
#pragma once

#include "agent/agent_abi.h"
#include "agent/runtime.h"

namespace shmrec::agent {

// Maps the report.
bool outcome_start();
ReplayReport& outcome();

[[noreturn]] void finish(ReplayEnd end, uint64_t detail = 0);
// What was to be, and what is.
[[noreturn]] void diverge(const char* what, uint64_t expected, uint64_t found);
// The same, at an address.
[[noreturn]] void diverge_at(const char* what, uint64_t address, uint64_t expected, uint64_t found);
[[noreturn]] void refuse(const char* why);

}  // namespace shmrec::agent
