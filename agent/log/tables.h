// The locks in the log's header, over all processes: one of the tables, for the time of entering
// something that must be entered once; one of the journal, for the time of appending an entry. And
// what the tables have in common whose entries are used again under new numbers.
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

// ---- Entries that are used again ----------------------------------------------------------------

template <typename Entry>
bool is_used(const Entry& entry) {
  const uint32_t state = load(&entry.state);
  return state == static_cast<uint32_t>(shmlog::EntryState::kLive) ||
         state == static_cast<uint32_t>(shmlog::EntryState::kEnded);
}

// The entry at a number's place, whoever's it is at the moment.
template <typename Entry>
Entry& entry_at(const shmlog::Area& area, uint32_t number) {
  return log_area<Entry>(area)[shmlog::table_slot(number, area.count)];
}

// The entry of a number, null if it has been used again or never been.
template <typename Entry>
Entry* entry_of(const shmlog::Area& area, uint32_t number) {
  if (!number) return nullptr;
  Entry& entry = entry_at<Entry>(area, number);
  return is_used(entry) && load(&entry.number) == number ? &entry : nullptr;
}

// After a search that found no entry the next is worth it when some may have ended: it asks the
// kernel about thousands of processes or threads.
class SearchPause {
 public:
  bool over() const { return rdtsc() >= load(&until_); }
  void begin() { store(&until_, rdtsc() + log_header().tsc_hz / 10); }

 private:
  uint64_t until_ = 0;
};

}  // namespace shmrec::agent
