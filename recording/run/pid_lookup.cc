#include "recording/run/pid_lookup.h"

#include <algorithm>

namespace shmrec::recording {

PidLookup::PidLookup(const ShmlogReader& log) {
  for (const auto& [index, entry] : log.processes())
    by_pid_[entry.pid].push_back({entry.start_tsc, entry.pid_namespace, index});
  for (auto& [pid, candidates] : by_pid_)
    std::stable_sort(
        candidates.begin(), candidates.end(),
        [](const Candidate& a, const Candidate& b) { return a.start_tsc < b.start_tsc; });
}

uint32_t PidLookup::find(const PidSeen& seen) const {
  const auto known = by_pid_.find(seen.pid);
  if (known == by_pid_.end()) return 0;
  const auto fits = [&](const Candidate& candidate) {
    return (seen.tsc == 0 || candidate.start_tsc <= seen.tsc) &&
           (seen.pid_namespace == 0 || candidate.pid_namespace == 0 ||
            candidate.pid_namespace == seen.pid_namespace);
  };
  const auto newest = std::find_if(known->second.rbegin(), known->second.rend(), fits);
  return newest == known->second.rend() ? 0 : newest->process;
}

}  // namespace shmrec::recording
