// What a syscall writes to the program's memory, as the table of syscalls says it.
//
// Threads: the calling one. Trust: all addresses and lengths are the program's; nothing is read or
// written but by safe_copy.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

struct OutputRange {
  uint64_t address, bytes;
};
constexpr uint32_t kMaxOutputs = 1100;
struct OutputList {
  const char* unknown;  // not null: why it is not known what is written
  uint32_t count;
  OutputRange item[kMaxOutputs];
};

// How many of the six arguments the syscall has.
uint32_t argument_count(uint64_t number);
// Null, or why the pending call ends what can be replayed.
const char* not_replayable(const Thread* thread);
// Before the call is made: what has to be known of its arguments' memory then.
void outputs_prepare(Thread* thread);
// After it, with its result.
void find_outputs(const Thread* thread, uint64_t result, OutputList* outputs);

}  // namespace shmrec::agent
