// The journal: what happened beside accesses and is needed to understand them (processes, modules,
// mappings, signals, what was not recorded). shmlog_format.h describes the ring.
//
// Owner: nobody; every recorded process appends. Threads: any, under Header::journal_lock.
//
// Example: a shell has run a million commands. Its own start, modules and segments were journalled
// at places 0 to 400, and the head has come round many times. Each time the tail met them they were
// written again at the head, with their places; the starts and maps of commands that had ended, and
// of whose accesses no record was left, were given up and counted.
//
// Invariants
//  1. An entry is whole before the head passes it (one store). So a writer that is killed anywhere
//     leaves nothing half-done in the ring, and its lock is taken over.
//  2. An entry that is needed is written again before the tail passes it. Who is killed in between
//     leaves two of one place, which are one entry.
//  3. Nothing waits for a process that is dead or does not move (tables.h). One that lost the lock
//     because it was stopped for long may write over an entry when it goes on: the sums show it.
//  4. What is given up though it is needed is counted (Loss::kJournalDropped), and a process of
//     whose maps some were given up says from where on they are whole (ProcessEntry::maps_from): no
//     reader takes an old map for a current one.
//  5. What was not recorded (kCoverage) is told for the whole run: when nothing is left of the
//     processes, once for all that say the same but for numbers.
//  6. The work of appending is in proportion to what is appended, whatever the ring holds, unless
//     what has to be kept fills three quarters of it.
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

struct JournalValues {
  uint32_t segment = 0;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  const char* text = nullptr;
  uint32_t text_bytes = 0;  // 0: up to its NUL
};
// REQUIRES for entries about maps: regions_lock held, or the process has one thread.
void journal(const Process* process, shmlog::JournalType type, const JournalValues& values);
// The same, for lists of all maps. Returns the entry's place.
uint64_t journal_append(const Process* process, shmlog::JournalType type,
                        const JournalValues& values);
// Says once per process that something is not recorded: a literal text, told apart by its address,
// or one that is made up, by its content. Each forked child says it for itself.
void coverage(const Process* process, const char* why, shmlog::DegradedReason reason = {});
void coverage_text(const Process* process, const char* why);

}  // namespace shmrec::agent
