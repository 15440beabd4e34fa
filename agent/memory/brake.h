// The brake (limits.maxSlowdown): segments that cost too much are recorded in less detail for a
// while. log/brake_rule.h decides; here what a thread has spent is measured, and the regions of
// this process are made to follow.
//
// Who decides: any thread. It adds up when it claims a new chunk; the outcome is a word in the
// segment's entry of the log, changed by compare-and-swap, and Header::promotions, which everybody
// compares anyway. Nobody waits for anybody, and no launcher has to live.
// Who follows: each process at its next event, under regions_lock. A mapping's protection is
// changed, then its regions. In between, and before, an access may find either: each of them
// performs it as alone, and logs as much as the tighter level or as little as the looser.
//
//     level     the program's view     regions                    recorded
//     off       as the policy says     kNo
//     writes    readable               kWrites                    what writes
//     sampled   as the program has it  kOpen, and some kSampled   what writes to those
//
// The sample is another one each second. A process in which its faults take more than their share
// of the processor time opens the rest of it until then.
//
// Patched sites go the fast way whatever a region says, and need not any more: they are put back
// when they are met (brake_frees), and patched again by their faults.
//
// Invariants
//  1. A region that is braked is still a region: it has its alias, and an access that comes to the
//     agent is performed on that, and logged as if it were not open. The kernel reaches it by the
//     alias only (bounce.cc), so that protections change under no call that waits.
//  2. No page is open while a thread of this process holds a robust mutex in it that was taken
//     unseen when the page is closed: who dies then leaves it to the agent (kernel/robust.h).
// Threads: any. Lock order: regions_lock is taken here; REQUIRES: no RegionUse.
#pragma once

#include "agent/memory/regions.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

// Is there something to follow, or to be released?
bool brake_waits();
// At each event.
void brake_look(Thread* thread);

// The thread is about to leave its chunk, in which it has written `bytes`.
void brake_meter(Thread* thread, const uint8_t* chunk, uint64_t bytes);
// It has faulted in a region.
void brake_fault(Thread* thread, const Region& region);

// Has a patched site no need of its patch where the region is braked? One that is put back again
// and again under one brake keeps it.
bool brake_frees(const Site& site, Braked braked);
// It is put back if it has none where its access leads. REQUIRES: thread->regs are the program's.
void brake_put_back(Thread* thread, Site& site);
// What the brake says of a new mapping's region. REQUIRES: a MapsLock.
void brake_new(const Process* process, Region* region);
// A forked child goes on as its parent was.
void brake_after_fork(const Process* process);
// The brake lets go of what is mapped in the range, up to its next look; `least`: as far as that.
// REQUIRES: a MapsLock.
void brake_unite(uint64_t begin, uint64_t end, Braked least);

}  // namespace shmrec::agent
