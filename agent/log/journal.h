// The journal: what happened beside accesses and is needed to understand them (processes, modules,
// mappings, signals, what was not recorded).
//
// Owner: nobody; every recorded process appends. Threads: any, without a lock.
//
// Invariants
//  1. An entry becomes part of the log by its magic, which is written last.
//  2. What does not fit is counted (Loss::kJournalDropped).
#pragma once

#include "agent/log/attach.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

struct JournalValues {
  uint32_t segment = 0;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  const char* text = nullptr;
};
void journal(const Process* process, shmlog::JournalType type, const JournalValues& values);
// Says once per process that something is not recorded. The key tells what; of a literal text its
// address does. Each forked child says it for itself.
void coverage_once(const Process* process, uint64_t key, const char* why,
                   shmlog::DegradedReason reason = {});
void coverage(const Process* process, const char* why, shmlog::DegradedReason reason = {});

}  // namespace shmrec::agent
