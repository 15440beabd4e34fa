// How a process begins, as the first records of its stream: what is mapped, and what of it is in no
// file.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// Reads the processor's name, for all records of the start. Before cpuid traps.
void note_processor();
// Of an image that has just been executed: nothing but its stack differs from the files that it is
// made of. Null, or why that cannot be written down.
// `cpu`: the processor that it starts on.
const char* write_start_state(Thread* thread, const Regs& regs, uint32_t cpu);
// A fork is about to be made: what calls of other threads are writing meanwhile the child has as
// far as it has come. REQUIRES: the thread has the turn.
void note_pending_at_fork(Thread* thread);
// Of a forked child: all is as in its parent at that event, but for the registers, its tid and what
// was pending there.
const char* write_fork_state(Thread* thread, const shmlog::ProcessEntry& parent, uint64_t event,
                             uint64_t child_tid_at);

// Writes down the file that `fd` is and has its content kept. Returns its number; 0: it cannot be.
uint32_t write_file(uint64_t event, int fd, const char* path);

}  // namespace shmrec::agent
