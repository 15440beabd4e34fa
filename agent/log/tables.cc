#include "agent/log/tables.h"

#include "agent/log/lanes.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// Whether the holder of the tables is dead. One of another namespace never is: its pid means
// nothing here.
bool table_holder_dead(uint32_t word) {
  const uint32_t pid = word & ((1u << kTableLockPidBits) - 1);
  if (word != table_lock_word(pid_namespace(), pid)) return false;
  LaneEntry probe = {};
  probe.pid = probe.tid = static_cast<int32_t>(pid);
  probe.pid_namespace = static_cast<uint32_t>(pid_namespace());
  return lane_dead(probe);
}

}  // namespace

void tables_lock(const Process* process) {
  Header& header = log_header();
  const uint32_t self = table_lock_word(pid_namespace(), static_cast<uint32_t>(process->pid));
  for (uint32_t tries = 1; !compare_exchange(&header.table_lock, 0u, self); ++tries) {
    sys(__NR_sched_yield);
    const uint32_t holder = load(&header.table_lock);
    if (holder && tries % 64 == 0 && (table_holder_dead(holder) || tries > 100000))
      compare_exchange(&header.table_lock, holder, 0u);
  }
}

void tables_unlock() { store(&log_header().table_lock, 0u); }

}  // namespace shmrec::agent
