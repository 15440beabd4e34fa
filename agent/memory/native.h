// Mappings of segments that are still native (shmlog_format.h, Tracing): files that nobody in the
// run can have written, which the program reads at full speed and unlogged. When somebody promotes
// the segment, each process that has it mapped notices it at its next event, by comparing one word
// of the log, and turns its native mappings into regions (regions.h).
//
// A conversion takes the pages away from the program's view. A thread that waits in a syscall whose
// pointers lie in such a mapping would be told EFAULT: it says so in PendingSyscall::uses_native,
// and the conversion waits for a later event. The two sides look at each other's word after writing
// their own, so that one of them sees the other.
//
// Invariants
//  1. Native mappings do not overlap each other or regions.
//  2. A segment that was promoted never becomes native again.
// Threads: changes take a MapsLock; native_overlaps may be asked without it.
#pragma once

#include "agent/memory/regions.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// REQUIRES for these: a MapsLock.
bool native_add(const Region& mapping);            // false: the table is full
bool native_remove(uint64_t begin, uint64_t end);  // true: there was something
void native_update(uint64_t begin, uint64_t end, void (*change)(Region& piece, void* context),
                   void* context);
// If it was the last mapping of the segment here, native or traced, the log is told.
void native_or_alias_gone(uint32_t segment);
void native_for_each(void (*visit)(const Region& piece, void* context), void* context);
void native_after_fork();
// Turns the mappings of promoted segments into regions.
void native_join(Thread* thread);
// Promotes what is mapped in the range, and turns it into regions.
void native_promote(Thread* thread, uint64_t begin, uint64_t end);

// Any native byte in the range? May say yes where there is none any more.
bool native_overlaps(uint64_t address, uint64_t bytes);
bool native_empty();

// Is there something to look at?
bool native_waits();
// At each event.
void native_look(Thread* thread);
// How often mappings were turned into regions here.
uint32_t native_joins();
// The syscall that the thread is about to make uses memory that was native when native_joins() said
// `joins`. False: it may be none any more, look again.
bool native_use(Thread* thread, uint32_t joins);
inline void native_used(Thread* thread) { store(&thread->call.uses_native, 0u); }

}  // namespace shmrec::agent
