// Which memory of the program a syscall may have written: for a recorder that keeps these bytes,
// and puts them back in a replay instead of making the call.
//
//     WrittenCall call = {number, {args...}};
//     written_prepare(&call, memory);      // before the call: lengths that it overwrites
//     ... the call ...
//     written_ranges(call, result, memory, ranges);
//
// 1. Every byte that the kernel writes in the call lies in a range, whether the call succeeds,
//    fails or is interrupted, given that the table (syscall_table.h) describes it: a call whose
//    ReplayRule is kEnds is in no way complete.
// 2. A range may hold bytes that the kernel did not write (an address shorter than its buffer, a
//    structure of which it fills a part), and may reach beyond what is mapped: who keeps them keeps
//    what can be read. To a replay it does not matter: at that event these bytes are the same.
// 3. Ranges come in no order and may overlap; all are handed over before the bytes of any need to
//    be read. Memory that is traced (shared, or written by peers) may be among them.
// 4. A call that fails with EFAULT, EINVAL or EIO may have done a part, and one that succeeds with
//    less than it was asked for, because memory ended, more than it says: ranges then reach as far
//    as the program allowed, which can be as much as the length it gave.
//
// What no row can say, and whoever calls this must know by other means: what is written through a
// descriptor (a write to /proc/self/mem), what another process writes (process_vm_writev, ptrace),
// the words that the kernel sets for a new thread in the new thread's time (CLONE_CHILD_SETTID) and
// for a thread that ends (its tid, robust and priority-inheriting mutexes), frames of signals, what
// changes with mappings, and vectors that a call reads into while it uses them. FUTEX_LOCK_PI and
// its like set FUTEX_WAITERS before they wait: others see that word before the call returns.
//
// Cost: a call that writes nothing is known by its number alone. Context: freestanding and host; no
// allocation, no state; any thread, any signal.
#pragma once

#include "syscalls/syscall_table.h"

namespace shmrec::syscalls {

// The program's memory, and what else has to be asked.
struct ProgramMemory {
  void* context;
  // Returns how many of the bytes could be read.
  uint64_t (*read)(void* context, void* to, uint64_t address, uint64_t bytes);
  // How many semaphores the System V set has.
  uint64_t (*semaphores)(void* context, int64_t set);
  // Does this ID name a thread of the calling process? (process_vm_writev)
  bool (*is_own)(void* context, int64_t tid);
};

struct WrittenRanges {
  void* context;
  void (*add)(void* context, uint64_t address, uint64_t bytes);
};

struct WrittenCall {
  uint32_t number;
  uint64_t args[6];  // as the program has them
  // From before the call, by written_prepare: how far the pointers of its rules reach where memory
  // says so; and what the pointers within a structure lead to.
  uint64_t extents[kMaxCallPointers] = {};
  uint64_t inner_at[kMaxInner] = {};
  uint64_t inner_bytes[kMaxInner] = {};
};

// Does nothing for a syscall that does not overwrite lengths (overwrites_lengths).
void written_prepare(WrittenCall* call, const ProgramMemory& memory);
// REQUIRES: written_prepare before the call; `result` as the kernel returns it.
void written_ranges(const WrittenCall& call, int64_t result, const ProgramMemory& memory,
                    const WrittenRanges& ranges);

}  // namespace shmrec::syscalls
