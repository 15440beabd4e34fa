// Who called the code that makes an access, as far as the stack shows it.
//
// A store in memset says nothing of where the value came from; who called memset does. Nothing here
// can unwind a stack: it collects words that point behind a call instruction, and readers of the
// log, who have the code's unwind information, tell which is a return address. It looks along the
// frame pointers first, for code that keeps them and has large frames, and at the words next to the
// stack pointer.
//
// Units: words of 8 bytes above the program's stack pointer. Threads: any, without a lock; while
// modules are being mapped what is found may lack some.
#pragma once

#include "agent/process/thread.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::agent {

// The callers of the instruction at `pc` whose stack pointer is `stack` (0: there is none) and
// whose frame pointer may be `frame`. `caller`: who called it, where that is known, so that a
// function with many callers finds each of them again; else 0.
const Callers& callers_of(Thread* thread, uint64_t pc, uint64_t stack, uint64_t frame,
                          uint64_t caller = 0);

// Puts them at the end of a record.
inline void put_callers(const Callers& callers, shmlog::RecordHeader& header, uint8_t* end) {
  header.flags = static_cast<uint16_t>(header.flags | callers.count << shmlog::kCallersShift);
  memcpy(end - callers.count * 8, callers.words, callers.count * 8);
}

}  // namespace shmrec::agent
