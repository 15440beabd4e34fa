// Events: the points at which something from outside enters a process, numbered in the order in
// which they happen. A record carries the number of its event; so does the time in a recording.
//
// What is an event, and when its number is taken:
//  - a syscall: when it traps, before anything of it is done. All that the kernel accesses for it
//    has this number, however late (a read that waits). A call that is made again after a signal
//    handler has trapped again: it is another event. At level replay, one that waits while other
//    threads have events takes a second number when it returns, for what it then writes and for
//    the stream (stream/turns.h).
//  - an instruction that accesses traced memory: when it is met, before its first byte is accessed.
//    All its pieces, elements and records have one number. An instruction that faults and is
//    executed again after the handler is another event.
//  - a signal that enters a handler: when its frame is written.
//  - the beginning of a forked child, which counts from 1: what its fork still writes has that
//    number. A vfork child counts for itself too, from its first syscall on, whether or not it ever
//    becomes a recording. Threads of a process count together.
//
// Owner: the counter is ProcessEntry::events (Process::dummy before the process has an entry).
// Threads: any.
//
// Invariants
//  1. next_event is the only place that takes a number: no number is taken twice in a process.
//  2. A thread has one event at a time and finishes its records before the next one begins (a
//     handler runs after the interrupted call is complete), so numbers never fall within a lane.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// The number of the event that happens now.
uint64_t next_event(Thread* thread);

}  // namespace shmrec::agent
