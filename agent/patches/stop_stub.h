// The code that the place of a stop jumps to while replay looks for it: it compares what the
// program has with what it had there (recording/stream/stream_format.h, StopRecord), at each visit.
//
//     site:  jmp stub                  stub:   mov    %rcx, saved(%rip)
//            ...rest of what the               movabs $-VALUE, %rcx        one register after
//            jump overwrote                    lea    (%rcx,%rax), %rcx    the other, then words
//     back:                                    jrcxz  1f                   of memory
//                                              jmp    missed
//                                        1:    ...
//                                              mov    saved(%rip), %rcx
//                                              int3                        met: the agent looks
//                                      missed: mov    saved(%rip), %rcx       at the rest
//                                              what was at the site
//                                              jmp    back
//                                              the first instruction       repeat: only of one that
//                                              int3                        repeats itself
//
// No flags change, and the stack is not used.
//
// Replay alone: stubs can be written there by the code in them.
#pragma once

#include "agent/patches/stub.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

struct StopTest {
  uint64_t ip;
  const uint64_t* regs;  // stream::kRegisters
  uint32_t changing;     // as StopRecord
  bool repeats;
  const stream::StopWord* words;  // those to compare here
  uint32_t word_count;
};

// Can the program stop at the instruction at `ip`? `repeats`: within it.
bool stop_possible(Thread* thread, uint64_t ip, bool* repeats);
// Adds the next instruction of a stop's site. False: it cannot be moved.
bool stop_cover_next(Thread* thread, CoveredCode* covered);
// stub_emit for a stop.
bool stop_stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout);

}  // namespace shmrec::agent
