// Lanes: one entry of the log per recorded thread that has accessed traced memory. It names the
// thread to others, and says what recovery needs if it dies: its chunk, its record in flight, the
// stripes and robust mutexes it holds.
//
// Owner: an entry belongs to the thread that claimed it, from lane_take to lane_release or its
// death. Threads: a thread writes its own entry only; anybody may read, and take the entry of a
// thread that lane_dead() says is gone.
//
// Invariants
//  1. An entry is claimed by a compare-and-swap of its state, from free, ended, or live and dead.
//  2. Before the entry of a dead thread is used again its stripes are recovered; one that still
//     names robust mutexes is kept as long as there are others.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// Gives the thread its lane if it has none; false if the table is full.
bool lane_take(Thread* thread);
void lane_release(Thread* thread);  // the thread ends or its process does
shmlog::LaneEntry& lane_at(uint32_t lane);
// Is the thread of this lane gone for good?
bool lane_dead(const shmlog::LaneEntry& lane);

}  // namespace shmrec::agent
