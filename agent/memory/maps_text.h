// What the program reads in /proc about its mappings: maps, smaps, smaps_rollup, numa_maps, its own
// or another recorded process's.
//
// The kernel opens the file, under whatever name it was found. Then the text is read, written anew
// without the agent's mappings and with the program's own protection of what is traced, and put
// under the same descriptor, as a file in memory: it can be read, sought and passed on. It is the
// state at the moment of the open; the kernel's file would be made again at each reading from the
// beginning.
//
// Threads: the calling one. Ownership: the file in memory belongs to the program's descriptor.
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

Answer do_open(Thread* thread, void* context);  // open, openat, openat2

}  // namespace shmrec::agent
