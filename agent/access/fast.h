// The fast way of a patched site: loads and stores of up to 32 bytes within a line, and
// what reads and writes up to 16 bytes of it, by code that keeps the program's registers where they
// are. What it logs is what the other way logs (instructions.cc); what it does not do itself it
// leaves to that: it returns before anything was done.
//
//     load:    stub -> quick.S reads the line's part into Thread::value and logs it
//              -> the stub's end runs the instruction on that
//     store:   stub runs the instruction on Thread::value -> quick.S logs and stores it
//              -> behind the instruction
//     both:    stub -> quick.S reads into Thread::value
//              -> stub runs the instruction on that -> quick.S logs and stores it
//     atomic:  stub -> quick.S locks the stripe -> stub runs the instruction on the alias
//              -> quick.S logs it and gives the stripe back
//
// quick.S makes accesses that are like one before: of the same site with the same stack, callers
// and region. Any other it passes on to access_fast in fast.cc, or the two ends of what reads and
// writes to access_fast_begin and access_fast_end, which do the same in C++, and leave in a
// QuickSite what the next one needs.
//
// What accesses have in common (where, of what segment, called by whom) is written once in a chunk,
// as a place; their records are short.
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
// Where a thread in shmrec_fast_leave, or in shmrec_quick_leave, is in the program, and with which
// registers.
void fast_left(Thread* thread, struct Context* context);
void quick_left(Thread* thread, struct Context* context);
// ...and one of a stub.
void stub_left(Thread* thread, struct Context* context);
void fast_end_left(Thread* thread, struct Context* context);
// The instruction between the two ends faulted: nothing of it happened.
void fast_abandon(Thread* thread, struct Context* context);

}  // namespace shmrec::agent
