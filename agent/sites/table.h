// The table of sites: finds, makes and frees them. Its principle is in table.cc.
//
// Ownership: the sites and their code are the table's. Who gets one by site_for holds it until
// site_leave; a thread holds at most one (Thread::site).
// Threads: any. Lookups take no lock.
// Units: at most kMaxSites sites at a time, whatever the program executes.
#pragma once

#include "agent/agent_abi.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

constexpr uint32_t kMaxSites = 1 << 16;

// Where generated code lies.
inline uint64_t code_base() { return agent_base() + kCodeOffset; }
inline bool in_generated(uint64_t ip) { return ip - code_base() < kCodeBytes; }

// The site of the instruction at ip, made if need be, and held by the thread. Null: its bytes are
// not readable or not known.
Site* site_for(Thread* thread, uint64_t ip);
// Sites by number, as stubs name them. REQUIRES of the second: it is patched.
uint32_t site_number(const Site& site);
// The site at `ip`, made if need be, that stays in the table until it is unpinned or its code goes:
// it is part of a patch. Null: its bytes are not readable or not known, or it is pinned already.
Site* site_pin(Thread* thread, uint64_t ip);
// The same for the first instruction of a routine. Null also if it accesses memory itself.
Site* site_pin_routine(Thread* thread, uint64_t ip, Routine routine);
void site_unpin(Site& site);
// The program's code at `ip`, without what patches have changed of it; what is not there is zero.
bool code_copy(uint64_t ip, uint8_t code[kMaxInstruction]);
Site& site_numbered(uint32_t number);
// The thread does not use its site any more.
void site_leave(Thread* thread);
// The code in [begin, end) is gone or replaced.
void sites_forget(uint64_t begin, uint64_t end);
// Around a fork: the child's table is whole.
void sites_before_fork();
void sites_after_fork();

}  // namespace shmrec::agent
