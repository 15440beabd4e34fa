// How many accesses each process made to each segment, in bins of time.
//
// Memory is bounded: the pairs beyond kMostPairs are only counted.
// Units: time in ticks since the survey's first. Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "report/axis.h"

namespace shmrec::report {

class Activity {
 public:
  static constexpr uint32_t kBins = 2048;
  static constexpr size_t kMostPairs = 1024;

  struct Counts {
    uint64_t reads = 0, writes = 0;
    void merge(const Counts& other) { reads += other.reads, writes += other.writes; }
  };
  using Pair = std::pair<uint32_t, uint32_t>;  // process, segment

  // `width`: of a bin, to begin with. REQUIRES: not 0.
  explicit Activity(uint64_t width) : axis_(kBins, width) {}

  void add(uint32_t process, uint32_t segment, uint64_t time, bool reads, bool writes);
  // Makes bins wider until not more than so many are in use, over all pairs.
  void coarsen(size_t most_used);

  const Axis& axis() const { return axis_; }
  const std::map<Pair, std::vector<Counts>>& pairs() const { return pairs_; }
  uint64_t left_out() const { return left_out_; }  // accesses, of further pairs

 private:
  void widen();
  size_t used() const;

  Axis axis_;
  std::map<Pair, std::vector<Counts>> pairs_;
  Pair last_pair_;
  std::vector<Counts>* last_ = nullptr;
  uint64_t left_out_ = 0;
};

}  // namespace shmrec::report
