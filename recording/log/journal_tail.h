// Reading the journal of a log that is being written: one entry at a time, by
// its place.
//
// Trust: the workload can write every byte. An entry is read by one pread, and
// taken only if its sizes fit the area and its sum is right. Owner: holds
// nothing. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "recording/log/shmlog_format.h"

namespace shmrec::recording {

struct TailEntry {
  shmlog::JournalEntry entry;  // of type kNothing where there is nothing but filling
  std::string text;
  uint32_t units = 0;  // to the next place
};

// The entry at a place, if a sound one is there. REQUIRES: journal.count > 0,
// of units of kJournalUnitBytes that lie in the file.
std::optional<TailEntry> read_journal_entry(int log, const shmlog::Area& journal, uint64_t place);

// Where a reader that has come to `next` goes on when `head` units have been
// handed out: at `next`, or, if it has fallen behind by more than a round, at
// the oldest place that may still be whole. `missed` grows by the units in
// between.
uint64_t journal_resume(const shmlog::Area& journal, uint64_t next, uint64_t head,
                        uint64_t& missed);

}  // namespace shmrec::recording
