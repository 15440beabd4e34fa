// What a syscall writes to the program's memory, as the table of syscalls says it
// (syscalls/written.h), for the stream.
//
// Threads: the calling one. Trust: all addresses and lengths are the program's; nothing is read or
// written but by safe_copy.
#pragma once

#include "agent/process/thread.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

struct OutputRange {
  uint64_t address, bytes;
};
// More than a vector call has: those that do not fit end the stream.
constexpr uint32_t kMaxOutputs = 1100;
struct OutputList {
  const char* unknown;  // not null: why it is not known what is written
  uint32_t count;
  OutputRange item[kMaxOutputs];
};

// Before the call is made: what has to be known of its arguments' memory then.
void outputs_prepare(Thread* thread);
// After it, with its result.
void find_outputs(Thread* thread, uint64_t result, OutputList* outputs);
// What calls of other threads that have not returned may be writing meanwhile. False: that is in
// more than kMaxRanges places, or not known. Uses bounce2.
bool find_pending_outputs(Thread* thread, stream::Range ranges[stream::kMaxRanges],
                          uint32_t* count);

}  // namespace shmrec::agent
