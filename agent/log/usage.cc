#include "agent/log/usage.h"

#include "agent/log/processes.h"
#include "agent/log/records.h"
#include "agent/log/segments.h"
#include "agent/log/tables.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kProbes = 64;  // entries looked at for a pair, from the one it hashes to on

UsageEntry* probe(const Process* process, uint32_t segment, uint32_t i) {
  const Area& area = log_header().usage;
  const uint32_t first = static_cast<uint32_t>(
      (uint64_t{process->index} * kStripeSpread + uint64_t{segment} * 0x85EBCA6Bu) >> 7);
  return &log_area<UsageEntry>(area)[1 + (first + i) % (area.count - 1)];
}

// Counters of a process that is gone and has no records left, or of a segment that is forgotten,
// say nothing about the log any more.
bool usage_needed(const UsageEntry& entry) {
  ProcessEntry* process = process_entry(load(&entry.process));
  return process && segment_known(entry.segment) &&
         (process_living(*process) || ticket_in_log(load(&process->last_ticket)));
}

UsageEntry* usage_claim(UsageEntry* entry, const Process* process, uint32_t segment) {
  if (entry->process) count_loss(Loss::kUsageOverwritten);
  store(&entry->process, kUsageClaimed);
  memset(&entry->segment, 0, sizeof *entry - offsetof(UsageEntry, segment));
  entry->segment = segment;
  store(&entry->process, process->index);
  store(&log_header().next_usage, log_header().usage.count);  // they lie scattered
  return entry;
}

}  // namespace

UsageEntry* usage_find(const Process* process, uint32_t segment) {
  for (uint32_t i = 0; process->index && i < kProbes; ++i) {
    UsageEntry* entry = probe(process, segment, i);
    if (load(&entry->process) == process->index && entry->segment == segment) return entry;
  }
  return nullptr;
}

UsageEntry* usage_entered(const Process* process, uint32_t segment) {
  static UsageEntry spare;
  if (UsageEntry* found = usage_find(process, segment)) return found;
  for (uint32_t i = 0; process->index && i < kProbes; ++i) {
    UsageEntry* entry = probe(process, segment, i);
    const uint32_t owner = load(&entry->process);
    // One that is being filled under the lock that is ours was left by a claimer that died.
    const bool left = !owner || owner == kUsageClaimed;
    if (left || !usage_needed(*entry)) return usage_claim(entry, process, segment);
  }
  count_loss(Loss::kUsageDropped);
  return &spare;
}

UsageEntry* usage_enter(const Process* process, uint32_t segment) {
  if (UsageEntry* found = usage_find(process, segment)) return found;
  const TablesLock lock(process);
  return usage_entered(process, segment);
}

}  // namespace shmrec::agent
