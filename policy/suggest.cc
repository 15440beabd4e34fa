#include "policy/suggest.h"

#include <algorithm>
#include <vector>

#include "base/printable.h"

namespace shmrec {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Edit distance; swapping two neighbours is one edit.
size_t distance(std::string_view a, std::string_view b) {
  const size_t width = b.size() + 1;
  std::vector<size_t> table((a.size() + 1) * width);
  const auto cell = [&](size_t i, size_t j) -> size_t& { return table[i * width + j]; };
  const auto same = [&](size_t i, size_t j) { return lower(a[i - 1]) == lower(b[j - 1]); };
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cell(i, j) = i + j;
        continue;
      }
      const size_t change = cell(i - 1, j - 1) + (same(i, j) ? 0 : 1);
      cell(i, j) = std::min({change, cell(i - 1, j) + 1, cell(i, j - 1) + 1});
      const bool swapped = i > 1 && j > 1 && same(i, j - 1) && same(i - 1, j);
      if (swapped) cell(i, j) = std::min(cell(i, j), cell(i - 2, j - 2) + 1);
    }
  }
  return table.back();
}

// The one entry that begins with `name`, or "": "log" for "logSize".
std::string only_longer(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kShortestName = 3;
  std::string found;
  for (const std::string& candidate : known) {
    if (name.size() < kShortestName || candidate.size() < name.size() ||
        distance(name, std::string_view(candidate).substr(0, name.size())) != 0)
      continue;
    if (!found.empty()) return "";
    found = candidate;
  }
  return found;
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kLongestName = 64;
  if (name.empty() || name.size() > kLongestName) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t d = distance(name, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best.empty() ? only_longer(name, known) : best;
}

std::string did_you_mean(std::string_view name, std::span<const std::string> known) {
  const std::string nearest = nearest_name(name, known);
  return nearest.empty() ? "" : " (did you mean " + quoted(nearest) + "?)";
}

std::string quoted(std::string_view text) {
  constexpr size_t kLongest = 80;
  size_t end = std::min(text.size(), kLongest);
  const auto continues = [&](size_t i) { return (text[i] & 0xC0) == 0x80; };
  // Not within a character.
  while (end < text.size() && end > kLongest - 4 && continues(end)) --end;
  return "'" + printable(text.substr(0, end)) + (end < text.size() ? "...'" : "'");
}

std::string one_of(std::span<const std::string> names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

}  // namespace shmrec
