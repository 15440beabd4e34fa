// Memory that stands in for traced memory while the kernel works on it for the program. The
// program's view of traced memory is PROT_NONE, so the kernel is given private memory instead: what
// it shall read is copied there before the call (and logged), what it has written is copied back
// after it (and logged). Where only writes are traced the view can be read, and the kernel reads
// there.
//
// A stand-in has the rights and the offset within its page of what it stands for: where the program
// could not read or write, the kernel faults at the same byte as it would alone, so that partial
// results and EFAULT come out the same.
//
// Ownership: one set of stand-ins per thread and syscall, in thread->bounce and, when that is full,
// in blocks mapped for the call. thread->call.bounce points to it while it exists. bounce_free
// gives all of it back; it may be called at any moment, from a signal handler too.
#pragma once

#include "agent/kernel/syscalls.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using syscalls::Direction;
using syscalls::Written;

// Reads program memory without logging. Returns how many bytes could be read.
uint64_t peek(void* to, uint64_t address, uint64_t bytes);

// How a stand-in is copied back when the call has returned.
struct CopyBack {
  Written written = Written::kNothing;
  uint8_t field = 0;
  uint8_t field_bytes = 0;
  uint8_t length_bytes = 0;  // kLength: width of the word at length_at
  uint32_t base = 0;
  uint32_t unit = 0;
  uint64_t position = 0;   // kResult: result bytes that belong to others before this one
  uint64_t length_at = 0;  // kLength: where the kernel leaves the length
  const uint32_t* result_at = nullptr;  // kResult: the result is here instead of in rax
  int64_t least_result = 0;             // nothing is copied if rax is less
};

// The address to give to the kernel for [address, address + bytes): a stand-in if any of it is
// traced, else the address itself.
uint64_t stand_in(Thread* thread, Direction direction, uint64_t address, uint64_t bytes,
                  const CopyBack& back);
// A private copy of program memory that the caller may change before the kernel reads it; what is
// traced of it is logged as read. Null if the program could not read it all or memory is out.
void* copy_in(Thread* thread, uint64_t address, uint64_t bytes);
// Copies `bytes` of `from` (within a copy_in) back to the program when the call has returned.
void copy_back(Thread* thread, uint64_t address, void* from, uint64_t bytes, const CopyBack& back);

// Memory that lasts as long as the stand-ins; null if memory is out.
void* bounce_memory(Thread* thread, uint64_t bytes);

// The kernel will use the pages of this call's stand-ins after it (MSG_ZEROCOPY): none of them may
// lie in memory that the next call uses again.
void bounce_own_pages(Thread* thread);

// Copies back what the kernel wrote; regs.rax is its result and may become -EFAULT.
void bounce_finish(Thread* thread);
void bounce_free(Thread* thread);

}  // namespace shmrec::agent
