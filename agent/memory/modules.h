// The executable file mappings of this address space, and the listing of all its maps (modules and
// traced regions) in the journal.
//
// The journal gives up old entries (log/journal.h), so each recording lists its maps as its own: a
// forked process at its start, and any process after it has journalled several times as many
// changes as it has maps.
//
// Owner: this address space. Threads: under regions_lock, but for module_add at the start, when
// there is one thread.
//
// Invariants
//  1. Between the entries of a list there is no change of its process's maps, for regions_lock is
//     held. The list counts once its last entry, kMaps, is there.
#pragma once

#include "agent/log/journal.h"
#include "agent/memory/exports.h"
#include "agent/memory/regions.h"

namespace shmrec::agent {

void module_add(const Process* process, uint64_t begin, uint64_t bytes, uint64_t offset,
                uint64_t inode, const char* path);
// [begin, end) is something else now, also for the sites in it. True if a module was there.
bool modules_forget(uint64_t begin, uint64_t end);

// Whose code lies at an address. The C library and what else is under every program is called for
// what it does: who called it is what a reader wants to know.
enum class CodeOwner : uint8_t { kNobody, kProgram, kRuntime };
// Without a lock: right but while the modules change, and for a while after that.
CodeOwner code_owner(uint64_t address);
// Does it lie behind a call instruction?
bool behind_call(uint64_t address);
// Is it an address of code that does? What was found lately is known; wrong as code_owner is.
bool may_be_return(uint64_t address);
// May code lie there? Quicker, and mostly right.
struct CodeRange {
  uint64_t begin, end;
};
extern CodeRange program_range, library_range;  // below and above kLibraries
inline bool may_be_code(uint64_t address) {
  return (address >= load(&program_range.begin) && address < load(&program_range.end)) ||
         (address >= load(&library_range.begin) && address < load(&library_range.end));
}

// May [address, address + bytes) be patched? It is the code of a file, and was never writable.
// REQUIRES for these: regions_lock held.
bool module_patchable(uint64_t address, uint64_t bytes);
void modules_written(uint64_t begin, uint64_t end);  // it becomes writable
// The library that the code at `address` belongs to. False: it is none that is known.
bool module_image(uint64_t address, CodeImage* found);
// Does any of the code read or write the gs base? What is new is looked through.
bool modules_use_gs();
uint64_t modules_unread();  // how many bytes are new

// The static data of the program's modules, runtime libraries left out. Returns how many ranges
// there are. REQUIRES: regions_lock held.
struct DataRange {
  uint64_t begin, end;
};
uint32_t modules_data(DataRange* ranges, uint32_t room);

// What a `segment mapped` entry says of a region.
JournalValues values_of(const Region& region);

// REQUIRES for both: regions_lock held, or one thread.
void maps_list(const Process* process);
void maps_journalled(const Process* process);  // a change of the maps has been journalled
// For a vfork child that makes an access, while its parent's other threads may change the maps: if
// they do, its maps are told by what its parent has journalled.
void maps_list_if_still(const Process* process);

}  // namespace shmrec::agent
