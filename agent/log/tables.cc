#include "agent/log/tables.h"

#include "agent/log/lanes.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// Whether the holder of a lock is dead. One of another namespace never is: its pid means nothing
// here.
bool holder_dead(uint32_t word) {
  const uint32_t pid = word & ((1u << kLockPidBits) - 1);
  if (word != lock_holder_word(pid_namespace(), pid)) return false;
  LaneEntry probe = {};
  probe.pid = probe.tid = static_cast<int32_t>(pid);
  probe.pid_namespace = static_cast<uint32_t>(pid_namespace());
  return lane_dead(probe);
}

// A vfork child that has not entered yet does not know its pid.
uint32_t word_of(const Process* process) {
  const int32_t pid = process->pid ? process->pid : static_cast<int32_t>(sys(__NR_getpid));
  return lock_holder_word(pid_namespace(), static_cast<uint32_t>(pid));
}

}  // namespace

LogLock::LogLock(uint64_t* lock, const Process* process) : lock_(lock) {
  const uint32_t self = word_of(process);
  uint64_t holder = 0, since = 0;
  for (uint32_t tries = 1;; ++tries) {
    const uint64_t word = load(lock);
    turn_ = lock_word_taken(word, self);
    if (!lock_holder(word) && compare_exchange(lock, word, turn_)) return;
    sys(__NR_sched_yield);
    if (tries % 64) continue;
    if (word != holder) since = rdtsc();
    holder = word;
    if (!lock_holder(word)) continue;
    const bool dead = holder_dead(lock_holder(word));
    if (!dead && rdtsc() - since < log_header().tsc_hz) continue;
    taken_from_living_ = !dead;
    if (compare_exchange(lock, word, turn_)) return;
    taken_from_living_ = false;
  }
}

LogLock::~LogLock() { compare_exchange(lock_, turn_, lock_word_free(turn_)); }

}  // namespace shmrec::agent
