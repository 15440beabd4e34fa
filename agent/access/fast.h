// The fast way of a patched site: loads and stores of up to 32 bytes within a line, by code that
// keeps the program's registers where they are. What it logs is what the other way logs
// (instructions.cc); what it does not do itself it leaves to that: it returns before anything was
// done.
//
//     load:    stub -> access_fast reads the line's part into Thread::value and logs it
//              -> the stub's end runs the instruction on that
//     store:   stub runs the instruction on Thread::value -> access_fast logs and stores it
//              -> behind the instruction
//
// A signal that finds a load between its record and its instruction makes the program execute it
// again: it is logged twice.
//
// Threads: the calling one.
#pragma once

#include "agent/process/thread.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

// Can the site go the fast way?
bool fast_possible(const Site& site);
// Where a thread in shmrec_fast_leave is in the program, and with which registers.
void fast_left(Thread* thread, struct Context* context);

}  // namespace shmrec::agent
