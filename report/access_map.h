// The map of a segment: a grid of offset against time. Each cell has how often it was read and
// written, by whom, and the newest few accesses.
//
// Rows begin with one line each and become wider when a higher offset is seen, columns when a later
// time is. An access that covers several rows counts in each.
// Units: time in ticks since the survey's first. Threads: one at a time.
#pragma once

#include <array>
#include <vector>

#include "report/axis.h"
#include "report/sighting.h"

namespace shmrec::report {

class AccessMap {
 public:
  static constexpr uint32_t kRows = 64, kColumns = 96;

  // Of each process the newest, of the few processes whose are the newest.
  class Newest {
   public:
    static constexpr uint8_t kMost = 3;
    void add(const Sighting& access);
    void merge(const Newest& other);
    const Sighting* begin() const { return kept_.data(); }
    const Sighting* end() const { return kept_.data() + count_; }
    // nullptr: there is none.
    const Sighting* newest() const;

   private:
    std::array<Sighting, kMost> kept_ = {};
    uint8_t count_ = 0;
  };

  struct Cell {
    uint64_t reads = 0, writes = 0;
    ProcessSet writers;
    Newest last_writes, last_reads;  // an access that does both is a write here
    void merge(const Cell& other);
    bool empty() const { return reads == 0 && writes == 0; }
  };

  // `column`: how many ticks a column begins with. REQUIRES: not 0.
  explicit AccessMap(uint64_t column);

  void add(const Sighting& access);

  const Cell& cell(uint32_t row, uint32_t column) const { return cells_[row * kColumns + column]; }
  uint64_t row_bytes() const { return rows_.width(); }
  uint64_t column_ticks() const { return columns_.width(); }

 private:
  Cell& at(uint32_t row, uint32_t column) { return cells_[row * kColumns + column]; }
  void widen_rows();
  void widen_columns();

  Axis rows_, columns_;
  std::vector<Cell> cells_;
};

}  // namespace shmrec::report
