// This process's mapping of the shared-memory log, and what the rest of the room needs to know of
// itself: where its areas are, which PID namespace and launcher it belongs to.
// recording/log/shmlog_format.h is the format; nobody but log_header() knows where the log lies.
//
// Owner: the mapping is made once by log_attach and lasts as long as the process; forked children
// inherit it. The file belongs to nobody: every recorded process and the launcher map it.
// Threads: log_attach and pid_namespace_refresh run while the process has one recorded thread; the
// rest by any thread.
//
// Invariants
//  1. After log_attach every area lies inside the mapping and has entries of the size compiled in.
//  2. count_loss is the only way by which something goes missing: a caller that drops anything
//     counts it.
#pragma once

#include "agent/runtime.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::agent {

// Maps the log from `fd`. 0 or -errno; checks magic, version and areas. `launcher`: number of the
// one that started this process, or 0.
int64_t log_attach(int fd, uint64_t bytes, uint32_t launcher);
bool log_attached();
shmlog::Header& log_header();
template <typename T>
T* log_area(const shmlog::Area& area) {
  return reinterpret_cast<T*>(reinterpret_cast<uint64_t>(&log_header()) + area.offset);
}
void count_loss(shmlog::Loss loss, uint64_t by = 1);

uint64_t pid_namespace();        // of this process, 0 if unknown
void pid_namespace_refresh();    // a child of fork may be in another one than its parent
uint32_t own_launcher_number();  // as given to log_attach

}  // namespace shmrec::agent
