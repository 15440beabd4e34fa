// The locks in the log's header, over all processes: one of the tables, for the time of entering
// something that must be entered once; one of the journal, for the time of appending an entry.
//
// Owner: the process whose word is in the lock. Threads: any; not recursive. Order: the journal's
// is the inner one.
//
// Invariants
//  1. A holder that is dead, or that has held it for a second, is replaced. So whoever holds a lock
//     leaves what it guards usable at every instruction, and bears it that another does the same
//     work at the same time: what numbers entries, the head and the tail of the journal move by
//     compare-and-swap, and an entry's state is written last.
//  2. Each taking is a turn of its own, counted in the lock's word: nobody takes one holder that
//     comes back again and again for one that has stopped, and who lost its turn frees nobody
//     else's.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

class LogLock {
 public:
  LogLock(uint64_t* lock, const Process* process);
  ~LogLock();
  // The holder before was alive, and may still write what it was writing.
  bool taken_from_living() const { return taken_from_living_; }

  LogLock(const LogLock&) = delete;
  LogLock& operator=(const LogLock&) = delete;

 private:
  uint64_t* lock_;
  uint64_t turn_;  // the word while it is ours
  bool taken_from_living_ = false;
};

class TablesLock : public LogLock {
 public:
  explicit TablesLock(const Process* process) : LogLock(&log_header().table_lock, process) {}
};

}  // namespace shmrec::agent
