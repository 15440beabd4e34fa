// Where the agent goes in the address space of a new process image (agent/agent_abi.h has the
// candidates).
//
// What the program has mapped at exec tells where it will map more: below the highest mapping under
// the stack, the kernel's search goes downwards; above the lowest one, with an unlimited stack,
// upwards.
//
// Trust: the maps are the workload's; whatever they say, the result is a candidate or none.
#pragma once

#include <cstdint>
#include <string_view>

namespace shmrec::launcher {

// The number of the best candidate from `first` on whose zone, and the room on both sides of it,
// holds nothing that `maps` (the text of /proc/PID/maps) lists; the number of candidates if there
// is none. Text that is no list of mappings holds nothing.
size_t choose_zone(std::string_view maps, size_t first);

// The same for a stopped process. Without a readable /proc the first candidate is taken, and
// whether it is free shows when it is mapped.
size_t choose_zone(int pid, size_t first);

}  // namespace shmrec::launcher
