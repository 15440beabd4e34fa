#include "sidecar/http/byte_range.h"

#include <strings.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace shmrec::sidecar {
namespace {

constexpr std::string_view kUnit = "bytes=";

// Digits and nothing else. One that is too large for 64 bits is the largest: it is beyond any end.
std::optional<uint64_t> number(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return {};
  uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc{} ? value : UINT64_MAX;
}

}  // namespace

ByteRange parse_range(std::string_view value, uint64_t total) {
  const ByteRange whole{ByteRange::Kind::kWhole, 0, total};
  const ByteRange unsatisfiable{ByteRange::Kind::kUnsatisfiable, 0, 0};
  if (value.size() < kUnit.size() || strncasecmp(value.data(), kUnit.data(), kUnit.size()) != 0)
    return whole;
  value.remove_prefix(kUnit.size());
  const size_t dash = value.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view first_text = value.substr(0, dash), last_text = value.substr(dash + 1);
  const auto first = number(first_text), last = number(last_text);

  if (first_text.empty()) {  // the last so many bytes
    if (!last) return whole;
    const uint64_t bytes = std::min(*last, total);
    if (bytes == 0) return unsatisfiable;
    return {ByteRange::Kind::kPart, total - bytes, bytes};
  }
  if (!first || (!last_text.empty() && (!last || *last < *first))) return whole;
  if (*first >= total) return unsatisfiable;
  const uint64_t end = std::min(last.value_or(UINT64_MAX), total - 1);
  return {ByteRange::Kind::kPart, *first, end - *first + 1};
}

}  // namespace shmrec::sidecar
