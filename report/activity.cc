#include "report/activity.h"

namespace shmrec::report {

void Activity::add(uint32_t process, uint32_t segment, uint64_t time, bool reads, bool writes) {
  const Pair pair{process, segment};
  if (last_ == nullptr || last_pair_ != pair) {
    auto found = pairs_.find(pair);
    if (found == pairs_.end() && pairs_.size() < kMostPairs)
      found = pairs_.emplace(pair, std::vector<Counts>(kBins)).first;
    if (found == pairs_.end()) {
      ++left_out_;
      return;
    }
    last_pair_ = pair, last_ = &found->second;
  }
  while (!axis_.holds(time)) widen();
  (*last_)[axis_.bin(time)].merge({reads, writes});
}

void Activity::widen() {
  for (auto& [pair, counts] : pairs_)
    fold_bins(kBins, [&bins = counts](uint32_t i) -> Counts& { return bins[i]; });
  axis_.widen();
}

size_t Activity::used() const {
  size_t used = 0;
  for (const auto& [pair, counts] : pairs_)
    for (const Counts& bin : counts) used += bin.reads + bin.writes != 0;
  return used;
}

void Activity::coarsen(size_t most_used) {
  for (uint32_t bins = kBins; bins > 1 && used() > most_used; bins /= 2) widen();
}

}  // namespace shmrec::report
