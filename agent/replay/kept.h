// A thread of the recording that the one thread of the replay is not at present.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

constexpr uint64_t kMostFpBytes = 16 * 1024;

// What a thread of the recording has in its Thread for itself.
// clang-format off
#define SHMREC_KEPT_FIELDS(X) \
  X(regs) X(call) X(call_behind) X(exit_ip) X(call_exit) X(virtual_mask) X(left_swapped) \
  X(forbids_counter) X(forbids_cpuid) X(shown_fault) X(altstack) X(robust_head) \
  X(robust_bytes) X(clear_tid)
// clang-format on

struct KeptThread {
  int32_t tid;   // of the recording; 0: there is none here
  bool in_call;  // it has begun the call that it makes
  Regs context;  // with which it goes on, if it is in none
#define SHMREC_DECLARE(field) decltype(Thread::field) field;
  SHMREC_KEPT_FIELDS(SHMREC_DECLARE)
#undef SHMREC_DECLARE
  uint64_t fs_base, gs_base, mask;
  uint64_t fp_bytes;
  alignas(64) uint8_t fp[kMostFpBytes];
};

// What the thread is now. `context`: of the program.
void keep_thread(const Thread* thread, const Context& context, KeptThread* kept);
// The thread becomes that one.
void become_thread(Thread* thread, Context* context, const KeptThread& kept);

}  // namespace shmrec::agent
