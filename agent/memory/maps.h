// The program's memory maps: traces what the policy wants traced, and keeps regions, aliases and
// the journal in step with mmap, munmap, mremap, mprotect, madvise, shmat and their kin.
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

Answer do_mmap(Thread* thread, void* context);
Answer do_munmap(Thread* thread, void* context);
Answer do_mremap(Thread* thread, void* context);
Answer do_mprotect(Thread* thread, void* context);
Answer do_remap_file_pages(Thread* thread, void* context);
Answer do_madvise(Thread* thread, void* context);  // this and the next three: ranges.cc
Answer do_msync(Thread* thread, void* context);
Answer do_mbind(Thread* thread, void* context);
Answer do_mlock(Thread* thread, void* context);  // mlock2, munlock too
Answer do_shmat(Thread* thread, void* context);
Answer do_shmctl(Thread* thread, void* context);
Answer do_shmdt(Thread* thread, void* context);

// Journals the executable mappings that are there already; with `adopt`, traces the shared ones.
void maps_start(Thread* thread, bool adopt);
// In a forked child: nothing has been counted for it yet; what was not inherited is gone.
void maps_after_fork(const Process* process);

}  // namespace shmrec::agent
