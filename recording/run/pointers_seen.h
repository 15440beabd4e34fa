// Pointers in a recording's private memory that led into traced memory, as its process saw them
// when it was looked at: at its end, and now and then before (JournalType::kPointers).
//
// Threads: as Timeline. Trust: the recorded program can have written all of it; a value is an
// address to look up, and no more.
#pragma once

#include <cstdint>
#include <optional>

#include "recording/run/timeline.h"

namespace shmrec::recording {

struct PointerSeen {
  uint64_t value = 0;
  uint64_t event = 0;      // of its process when it was seen
  bool inherited = false;  // by the process that it was forked from, before that
  bool led_away = false;   // a later look, not after the asked time, did not find it
};

// The pointer at `address` at or before `event`, else as it was seen first after that. None: no
// look found it leading into traced memory.
std::optional<PointerSeen> pointer_seen(const Timeline& timeline, const Recording& recording,
                                        uint64_t address, uint64_t event);

// The pairs of an entry, as many as its text has.
std::vector<shmlog::PointerPair> pointer_pairs(const JournalItem& item);

}  // namespace shmrec::recording
