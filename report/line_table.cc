#include "report/line_table.h"

#include <algorithm>
#include <utility>

namespace shmrec::report {
namespace {

uint64_t hash_of(uint32_t segment, uint64_t line) {
  uint64_t x = line + uint64_t{segment} * 0xD6E8FEB86659FD93u;
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 29;
}

// Equal ones by their place, so that a report of the same log is the same.
bool is_hotter(const LineTable::Line& a, const LineTable::Line& b) {
  if (a.accesses() != b.accesses()) return a.accesses() > b.accesses();
  return std::pair(a.segment, a.line) < std::pair(b.segment, b.line);
}

template <typename Before>
std::vector<LineTable::Line> first_of(std::vector<LineTable::Line> lines, size_t count,
                                      const Before& before) {
  count = std::min(count, lines.size());
  std::partial_sort(lines.begin(), lines.begin() + static_cast<ptrdiff_t>(count), lines.end(),
                    before);
  lines.resize(count);
  return lines;
}

}  // namespace

LineTable::LineTable(size_t most) : most_(most), slots_(most * 2) {}

LineTable::Line& LineTable::find(uint32_t segment, uint64_t line) {
  const size_t mask = slots_.size() - 1;
  size_t at = hash_of(segment, line) & mask;
  while (slots_[at].segment != 0 && (slots_[at].segment != segment || slots_[at].line != line))
    at = (at + 1) & mask;
  return slots_[at];
}

void LineTable::add(uint32_t segment, uint64_t line, uint32_t process, bool reads, bool writes) {
  Line* found = &find(segment, line);
  if (found->segment == 0) {
    if (used_ == most_) {
      forget_half();
      found = &find(segment, line);
    }
    ++used_;
    found->segment = segment, found->line = line;
  }
  found->reads += reads, found->writes += writes;
  if (writes) found->writers.add(process);
}

void LineTable::forget_half() {
  std::vector<Line> all;
  all.reserve(used_);
  for (const Line& line : slots_)
    if (line.segment != 0) all.push_back(line);
  const auto middle = all.begin() + static_cast<ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end(), is_hotter);
  missed_ = std::max(missed_, middle->accesses());
  std::fill(slots_.begin(), slots_.end(), Line{});
  for (auto line = all.begin(); line != middle; ++line) find(line->segment, line->line) = *line;
  used_ = all.size() / 2;
}

std::vector<LineTable::Line> LineTable::hottest(size_t count) const {
  std::vector<Line> lines;
  for (const Line& line : slots_)
    if (line.segment != 0) lines.push_back(line);
  return first_of(std::move(lines), count, is_hotter);
}

std::vector<LineTable::Line> LineTable::contested(size_t count) const {
  std::vector<Line> lines;
  for (const Line& line : slots_)
    if (line.writers.count > 1) lines.push_back(line);
  return first_of(std::move(lines), count, [](const Line& a, const Line& b) {
    return a.writes != b.writes ? a.writes > b.writes : is_hotter(a, b);
  });
}

}  // namespace shmrec::report
