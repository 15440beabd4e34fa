#include "report/access_map.h"

namespace shmrec::report {

void AccessMap::Newest::add(const Sighting& access) {
  Sighting* place = nullptr;
  for (uint8_t i = 0; i < count_; ++i)
    if (kept_[i].process == access.process) place = &kept_[i];
  if (place == nullptr && count_ < kMost) {
    kept_[count_++] = access;
    return;
  }
  if (place == nullptr)
    place = std::min_element(kept_.begin(), kept_.end(),
                             [](const Sighting& a, const Sighting& b) { return is_newer(b, a); });
  if (!is_newer(*place, access)) *place = access;
}

void AccessMap::Newest::merge(const Newest& other) {
  for (const Sighting& access : other) add(access);
}

const Sighting* AccessMap::Newest::newest() const {
  const Sighting* best = nullptr;
  for (const Sighting& access : *this)
    if (best == nullptr || is_newer(access, *best)) best = &access;
  return best;
}

void AccessMap::Cell::merge(const Cell& other) {
  reads += other.reads, writes += other.writes;
  writers.merge(other.writers);
  last_writes.merge(other.last_writes);
  last_reads.merge(other.last_reads);
}

AccessMap::AccessMap(uint64_t column)
    : rows_(kRows, shmlog::kLineBytes), columns_(kColumns, column), cells_(kRows * kColumns) {}

void AccessMap::add(const Sighting& access) {
  while (!rows_.holds(access.last_byte())) widen_rows();
  while (!columns_.holds(access.time)) widen_columns();
  const uint32_t column = columns_.bin(access.time);
  for (uint32_t row = rows_.bin(access.offset); row <= rows_.bin(access.last_byte()); ++row) {
    Cell& cell = at(row, column);
    cell.reads += access.reads, cell.writes += access.writes;
    if (access.writes) cell.writers.add(access.process);
    (access.writes ? cell.last_writes : cell.last_reads).add(access);
  }
}

void AccessMap::widen_rows() {
  for (uint32_t column = 0; column < kColumns; ++column)
    fold_bins(kRows, [&](uint32_t row) -> Cell& { return at(row, column); });
  rows_.widen();
}

void AccessMap::widen_columns() {
  for (uint32_t row = 0; row < kRows; ++row)
    fold_bins(kColumns, [&](uint32_t column) -> Cell& { return at(row, column); });
  columns_.widen();
}

}  // namespace shmrec::report
