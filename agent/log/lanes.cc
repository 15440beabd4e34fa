#include "agent/log/lanes.h"

#include <initializer_list>

#include "agent/access/stripes.h"
#include "agent/log/processes.h"
#include "agent/log/records.h"
#include "agent/memory/modules.h"

namespace shmrec::agent {

using namespace shmlog;

LaneEntry& lane_at(uint32_t lane) { return log_area<LaneEntry>(log_header().lanes)[lane]; }

bool lane_dead(const LaneEntry& lane) {
  if (load(&lane.state) == static_cast<uint32_t>(EntryState::kEnded)) return true;
  if (load(&lane.launcher) == kLauncherGone) return true;
  // Its pid means nothing here; stripes.cc takes its stripes in time.
  if (load(&lane.pid_namespace) != pid_namespace()) return false;
  const int32_t pid = load(&lane.pid), tid = load(&lane.tid);
  if (pid <= 0 || sys(__NR_tgkill, pid, tid, 0) == -ESRCH) return true;
  const int64_t pidfd = sys(__NR_pidfd_open, pid, 0);  // a zombie still takes signals
  if (failed(pidfd)) return pidfd == -ESRCH;
  struct {
    int32_t fd;
    int16_t events, revents;
  } poll = {static_cast<int32_t>(pidfd), 1, 0};
  const bool gone = sys(__NR_poll, &poll, 1, 0) == 1;
  sys(__NR_close, pidfd);
  return gone;
}

namespace {

bool claim_lane(uint32_t index, bool ended) {
  LaneEntry& lane = lane_at(index);
  const uint32_t from = static_cast<uint32_t>(ended ? EntryState::kEnded : EntryState::kFree);
  return compare_exchange(&lane.state, from, static_cast<uint32_t>(EntryState::kClaimed));
}

bool take_dead_lane(uint32_t index, bool with_robust) {
  LaneEntry& lane = lane_at(index);
  const uint32_t live = static_cast<uint32_t>(EntryState::kLive);
  const uint32_t robust = load(&lane.robust_count);
  if (load(&lane.state) != live || (robust && !with_robust) || !lane_dead(lane)) return false;
  if (!compare_exchange(&lane.state, live, static_cast<uint32_t>(EntryState::kClaimed)))
    return false;
  if (robust) fetch_add(&log_header().robust_held, 0u - min(robust, kRobustSlots));
  stripes_recover(index);
  return true;
}

uint32_t find_lane() {
  const Area& lanes = log_header().lanes;
  const uint32_t fresh = fetch_add(&log_header().next_lane, 1u);
  if (fresh && fresh < lanes.count && claim_lane(fresh, false)) return fresh;
  for (uint32_t i = 1; i < lanes.count; ++i)
    if (claim_lane(i, true)) return i;
  // What a dead thread's lane says of its robust mutexes is for their next owner: the last to be
  // reused.
  for (const bool with_robust : {false, true})
    for (uint32_t i = 1; i < lanes.count; ++i)
      if (take_dead_lane(i, with_robust)) return i;
  return 0;
}

}  // namespace

bool lane_take(Thread* thread) {
  // A vfork child becomes a recording only if it touches shared memory before its exec.
  Process* process = thread->process;
  if (!process->index) {
    process_enter(process, process->parent_index, StartKind::kVfork);
    maps_list_if_still(process);
  }
  static SearchPause pause;
  const bool search = pause.over();
  const uint32_t index = search ? find_lane() : 0;
  if (!index) {
    if (search) pause.begin();
    // Once for each thread, however many of its accesses come here and whether it searched or not.
    if (!thread->lane_missed) count_loss(Loss::kLanesDropped);
    thread->lane_missed = 1;
    return false;
  }
  LaneEntry& lane = lane_at(index);
  memset(&lane.process, 0, sizeof lane - offsetof(LaneEntry, process));
  lane.process = thread->process->index;
  lane.pid = thread->process->pid;
  lane.tid = thread->tid;
  lane.pid_namespace = static_cast<uint32_t>(pid_namespace());
  lane.launcher = own_launcher_number();
  store(&lane.state, static_cast<uint32_t>(EntryState::kLive));
  thread->lane = index;
  thread->lane_entry = &lane;
  thread->lane_locks = stripe_word_locked(0, index);
  return true;
}

void lane_release(Thread* thread) {
  if (!thread->lane) return;
  record_chunk_give_up(thread);
  const bool keep = thread->lane_entry->robust_count != 0;
  if (!keep) store(&thread->lane_entry->state, static_cast<uint32_t>(EntryState::kEnded));
  thread->lane = 0;
  thread->lane_entry = nullptr;
}

}  // namespace shmrec::agent
