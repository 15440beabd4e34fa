// Descriptors that are known to lead to no segment, so that a write to a socket need not ask the
// kernel each time what it is.
//
// What a descriptor leads to changes only where the program closes it or puts another in its place
// (close, dup2, dup3, close_range), which the agent sees before it happens. A file of which the run
// knows no segment may become one: what was found of it holds as long as the run enters none.
//
//     write(5, ...)    5 leads to a socket: known from here on
//     write(5, ...)    nothing to do
//     close(5)         nothing is known of 5, and nothing will be until this thread's next call
//     open(...) = 5
//
// Invariants
//  1. What is noted of a descriptor was found after it came to lead where it does. A thread that
//     closes it says so before (Thread::closing), and forgets once more at its next call; who notes
//     something looks for such threads in between.
//  2. Nothing is noted or used where descriptors may change unseen: processes that live in
//  another's
//     memory have descriptors of their own; where a process shares them with another memory, or a
//     thread has its own, or calls are not seen, it ends for good.
// Threads: any, without a lock. Owner: this address space.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// What is known at the beginning of a look at where a descriptor leads.
struct DescriptorLook {
  int fd;
  uint64_t word;
};
DescriptorLook plain_descriptor_look(const Thread* thread, int fd);
// It leads to no segment: never, or as long as the run has not entered another one than those below
// number `next_segment`.
void plain_descriptor_found(const Thread* thread, const DescriptorLook& look);
void plain_descriptor_found(const Thread* thread, const DescriptorLook& look,
                            uint32_t next_segment);
bool plain_descriptor(const Thread* thread, int fd);

// The pending syscall is about to be made, and those before it are over.
void plain_descriptors_call(Thread* thread);
// From now on nothing is known.
void plain_descriptors_end();

}  // namespace shmrec::agent
