#include "agent/memory/outside.h"

#include "agent/memory/window.h"

namespace shmrec::agent {

namespace {

constexpr uint64_t kPageShift = 12;
constexpr uint64_t kMostPages = kOutsideCounters / 16;

uint64_t total = 0;  // pages

void count_in_stretches(uint64_t begin, uint64_t end, bool more) {
  for (uint64_t at = begin, next; at < end; at = next) {
    next = min(end, ((at >> outside.shift) + 1) << outside.shift);
    const uint32_t pages = static_cast<uint32_t>((next - at) >> kPageShift);
    uint32_t& counter = outside.pages[(at >> outside.shift) % kOutsideCounters];
    store(&counter, more ? counter + pages : counter - pages);
  }
}

// Calls `count` with what of the range is below the window, and what is above it.
template <typename Count>
void for_each_outside(uint64_t begin, uint64_t end, Count count) {
  const uint64_t window = uint64_t{window_number()} << kWindowShift;
  const uint64_t window_end = window + (uint64_t{1} << kWindowShift);
  if (begin < window) count(begin, min(end, window));
  if (end > window_end) count(max(begin, window_end), end);
}

}  // namespace

Outside outside;

bool outside_add(uint64_t begin, uint64_t end) {
  if (!outside.shift) store(&outside.shift, kPageShift);
  const uint64_t shift = outside.shift;
  for_each_outside(begin, end, [](uint64_t from, uint64_t to) {
    total += (to - from) >> kPageShift;
    while (total >> (outside.shift - kPageShift) > kMostPages)
      store(&outside.shift, outside.shift + 1);
  });
  if (outside.shift != shift) {
    total = 0;
    memset(outside.pages, 0, sizeof outside.pages);
    return false;
  }
  for_each_outside(begin, end,
                   [](uint64_t from, uint64_t to) { count_in_stretches(from, to, true); });
  return true;
}

void outside_remove(uint64_t begin, uint64_t end) {
  for_each_outside(begin, end, [](uint64_t from, uint64_t to) {
    total -= (to - from) >> kPageShift;
    count_in_stretches(from, to, false);
  });
  if (!total) store(&outside.shift, kPageShift);
}

}  // namespace shmrec::agent
