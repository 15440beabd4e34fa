// Bins of equal width for numbers from 0 up. They become twice as wide when a number lies beyond
// the last, so that any number has its place in memory that does not grow.
//
// Invariants
//  1. bin(n) < bins() for all n that holds() is true for; after 63 times widen() it is for all.
// Units: those of the numbers.
#pragma once

#include <cstdint>

namespace shmrec::report {

class Axis {
 public:
  // REQUIRES: bins is even, width is not 0.
  Axis(uint32_t bins, uint64_t width) : bins_(bins), width_(width) {}

  uint32_t bins() const { return bins_; }
  uint64_t width() const { return width_; }
  bool holds(uint64_t number) const { return number / width_ < bins_; }
  uint32_t bin(uint64_t number) const { return static_cast<uint32_t>(number / width_); }
  // Whoever keeps something by bin folds it (fold_bins).
  void widen() { width_ = width_ > UINT64_MAX / 2 ? UINT64_MAX : width_ * 2; }

 private:
  uint32_t bins_;
  uint64_t width_;
};

// Makes each two neighbours one, and empties the second half. `at(i)`: a reference to what bin i
// has; it can be merged (merge()) and made empty (= {}).
template <typename At>
void fold_bins(uint32_t bins, const At& at) {
  for (uint32_t i = 0; i < bins / 2; ++i) {
    if (i != 0) at(i) = at(2 * i);
    at(i).merge(at(2 * i + 1));
  }
  for (uint32_t i = bins / 2; i < bins; ++i) at(i) = {};
}

}  // namespace shmrec::report
