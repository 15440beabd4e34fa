// Pointers of the program that lead into traced memory: where it keeps them, in the static data of
// its modules, and what they are. A question like "ring->slot[3]" begins at such a pointer, which
// lies in private memory, where no access is recorded.
//
//     static struct ring *ring;        the word at &ring is 0x7fe5f0f2f000, in segment 1:
//     journalled
//
// The data is looked at when the process ends, by exit or by a fatal signal, before traced memory
// is unmapped, and now and then in between, at a syscall: at most each tenth of a second. Before
// the end, looking takes no more than a fiftieth of the time. What is the same as last time is not
// said again.
//
// Threads: any; one looks at a time, who finds another looking does without. Units: words of 8
// bytes that are aligned.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// At a syscall: if it is time.
void pointers_if_due(Thread* thread);
// Traced memory is to be unmapped, to which pointers may lead now and not at the end.
void pointers_before_unmap(Thread* thread);
// The process ends.
void pointers_at_end(const Process* process);
// Around a fork: a child says its own.
void pointers_after_fork();

}  // namespace shmrec::agent
