// The address space of a replayed program: built as the recorded one was.
//
// Everything comes to lie where it lay then; what was shared is private, files are the copies that
// the recording kept.
#pragma once

#include "agent/process/thread.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Makes the mapping of a start.
void map_recorded(Thread* thread, const stream::MappingRecord& mapping);
// The heap as it is at a start.
void heap_recorded(uint64_t begin, uint64_t end);
// Does a call with this number change the address space?
bool makes_memory(uint64_t number);
// Does such a call leave all stubs where they are? `a`: its arguments.
bool leaves_stubs(const stream::CallRecord& call, const uint64_t* a);
// A call that changes the address space, as it was recorded. False: it is none.
bool memory_call(Thread* thread, const stream::CallRecord& call);

// What the next shmat attaches.
void attach_recorded(const stream::MappingRecord& mapping);

// PROT_* of the page, code or a stub's.
int protection_at(uint64_t address);

// Puts bytes where the kernel had put them.
void put_bytes(uint64_t address, const void* from, uint64_t bytes);

}  // namespace shmrec::agent
