// The program's memory maps: traces what the policy wants traced, and keeps regions, aliases and
// the journal in step with mmap, munmap, mremap, mprotect, madvise, shmat and their kin.
#pragma once

#include "agent/kernel/syscalls.h"
#include "agent/memory/identity.h"

namespace shmrec::agent {

Answer do_mmap(Thread* thread, void* context);
Answer do_munmap(Thread* thread, void* context);
Answer do_mremap(Thread* thread, void* context);
Answer do_mprotect(Thread* thread, void* context);
Answer do_remap_file_pages(Thread* thread, void* context);
Answer do_madvise(Thread* thread, void* context);  // ranges.cc
Answer do_mbind(Thread* thread, void* context);    // ranges.cc
Answer do_mseal(Thread* thread, void* context);    // ranges.cc
// locking.cc; this one answers mlock, mlock2 and munlock.
Answer do_mlock(Thread* thread, void* context);
Answer do_mlockall(Thread* thread, void* context);
Answer do_munlockall(Thread* thread, void* context);

Answer do_brk(Thread* thread, void* context);
Answer do_shmat(Thread* thread, void* context);  // this and the next two: sysv.cc
Answer do_shmctl(Thread* thread, void* context);
Answer do_shmdt(Thread* thread, void* context);

// The agent's parts of the address space: its zone, which is taken also where nothing is mapped (a
// program that was put there, because it named a free address, could not map anything at a fixed
// one near it), and the arenas of stubs.
bool in_agents_part(uint64_t address, uint64_t bytes);
struct AgentsPart {
  uint64_t begin, end;
};
// The lowest of them that reaches into [begin, end). False: none does.
bool next_agents_part(uint64_t begin, uint64_t end, AgentsPart* part);

// Has the program asked for its future mappings to be locked? Locks one of them: 0 or -EAGAIN.
bool locks_new();
int64_t lock_new(uint64_t begin, uint64_t bytes);
void locking_after_fork();  // locks are not inherited

// ---- For those who change mappings. REQUIRES: a MapsLock.
// [begin, end) means something else from now on.
void maps_forget(const Process* process, uint64_t begin, uint64_t end);
// The regions are as the program will find its mappings: the accesses that began before come to
// their end.
void maps_settle(const Thread* thread);
// What to do with a mapping that was just made with its own protection: the result of the syscall.
int64_t maps_admit(Thread* thread, uint64_t address, uint64_t bytes, uint64_t offset,
                   uint32_t protection, const SegmentIdentity& identity, bool sysv);
// maps_admit for a mapping that is to replace what is at `address`, and waits at `staged`: it is
// hidden before it comes there, and until then what was there can be accessed. 0: the mapping is
// not to be traced, or could not be placed; `staged` is gone.
int64_t maps_place(Thread* thread, uint64_t address, uint64_t staged, uint64_t bytes,
                   uint64_t offset, uint32_t protection, const SegmentIdentity& identity,
                   bool sysv);

// Is [begin, end) all that is attached anywhere of a removed segment of System V, but for its
// alias? Then the segment is gone with it (sysv.cc).
bool sysv_would_end(const Region& region, uint64_t begin, uint64_t end);

// Turns a native mapping into a traced one. REQUIRES: a MapsLock.
void maps_trace_native(Thread* thread, const Region& mapping);
// Journals the executable mappings that are there already; with `adopt`, traces the shared ones.
void maps_start(Thread* thread, bool adopt);
// In a forked child: what was not inherited is gone.
void maps_after_fork(const Process* process);

}  // namespace shmrec::agent
