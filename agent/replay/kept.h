// A thread of the recording that the one thread of the replay is not at present.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

constexpr uint64_t kMostFpBytes = 16 * 1024;

struct KeptThread {
  int32_t tid;   // of the recording; 0: there is none here
  bool in_call;  // it has begun the call that it makes
  Regs context;  // with which it goes on, if it is in none
  Regs regs;
  PendingSyscall call;
  uint64_t call_behind, exit_ip, call_exit;
  uint64_t fs_base, gs_base;
  uint64_t mask, virtual_mask;
  uint32_t left_swapped, forbids_counter, forbids_cpuid;
  decltype(Thread::shown_fault) shown_fault;
  AltStack altstack;
  uint64_t robust_head, robust_bytes, clear_tid;
  uint64_t fp_bytes;
  alignas(64) uint8_t fp[kMostFpBytes];
};

// What the thread is now. `context`: of the program.
void keep_thread(const Thread* thread, const Context& context, KeptThread* kept);
// The thread becomes that one.
void become_thread(Thread* thread, Context* context, const KeptThread& kept);

}  // namespace shmrec::agent
