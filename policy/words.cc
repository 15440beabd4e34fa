#include "policy/words.h"

#include <charconv>

#include "policy/suggest.h"

namespace shmrec {
namespace {

struct SizeUnit {
  std::string_view text;
  uint64_t bytes;
};
constexpr uint64_t kKilo = 1000;
constexpr SizeUnit kUnits[] = {{"Ti", uint64_t{1} << 40},
                               {"Gi", uint64_t{1} << 30},
                               {"Mi", uint64_t{1} << 20},
                               {"Ki", uint64_t{1} << 10},
                               {"T", kKilo* kKilo* kKilo* kKilo},
                               {"G", kKilo* kKilo* kKilo},
                               {"M", kKilo* kKilo},
                               {"k", kKilo},
                               {"", 1}};
constexpr size_t kBinaryUnits = 4;

struct DurationUnit {
  std::string_view text;
  uint64_t ms;
};
constexpr DurationUnit kDurationUnits[] = {
    {"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}};

// `count` of the unit `name`; nothing if there is none or it does not fit.
template <typename Unit, size_t N>
std::optional<uint64_t> in_units(uint64_t count, std::string_view name, const Unit (&units)[N],
                                 uint64_t Unit::*factor) {
  uint64_t value = 0;
  for (const Unit& unit : units) {
    if (unit.text != name) continue;
    if (__builtin_mul_overflow(count, unit.*factor, &value)) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

// The number that `text` begins with; `text` becomes what follows it.
std::optional<uint64_t> take_number(std::string_view& text) {
  uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc()) return std::nullopt;
  text = std::string_view(rest, static_cast<size_t>(end - rest));
  return count;
}

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
  const std::optional<uint64_t> count = take_number(text);
  if (!count) return std::nullopt;
  if (text.ends_with('B')) text.remove_suffix(1);
  return in_units(*count, text, kUnits, &SizeUnit::bytes);
}

std::string format_size(uint64_t bytes) {
  for (const SizeUnit& unit : std::span(kUnits).first(kBinaryUnits)) {
    if (bytes != 0 && bytes % unit.bytes == 0) {
      return std::to_string(bytes / unit.bytes) + std::string(unit.text) + "B";
    }
  }
  return std::to_string(bytes);
}

std::optional<uint64_t> parse_slowdown(std::string_view text) {
  constexpr double kMost = 1e9;
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || !(value >= 0 && value <= kMost))
    return std::nullopt;
  return static_cast<uint64_t>(value * 1000 + 0.5);
}

std::string format_slowdown(uint64_t thousandths) {
  std::string fraction = std::to_string(1000 + thousandths % 1000).substr(1);
  while (fraction.size() > 1 && fraction.back() == '0') fraction.pop_back();
  return std::to_string(thousandths / 1000) + "." + fraction;
}

std::string slowdown_problem(std::optional<uint64_t> thousandths, std::string_view text) {
  constexpr uint64_t kLeast = 1000, kMost = 1'000'000;
  if (!thousandths)
    return quoted(text) +
           " is no slowdown; expected a number, recorded time by time alone; write for example 2.0";
  if (*thousandths >= kLeast && *thousandths <= kMost) return "";
  return quoted(text) + " is out of range; expected " + format_slowdown(kLeast) + " to " +
         format_slowdown(kMost) + "; write a number in between";
}

std::optional<uint64_t> parse_duration(std::string_view text) {
  const std::optional<uint64_t> count = take_number(text);
  return count ? in_units(*count, text, kDurationUnits, &DurationUnit::ms) : std::nullopt;
}

std::string format_duration(uint64_t ms) {
  if (ms == 0) return "0s";
  for (const DurationUnit& unit : kDurationUnits)
    if (ms % unit.ms == 0) return std::to_string(ms / unit.ms) + std::string(unit.text);
  return "";
}

std::string wait_problem(std::optional<uint64_t> ms, std::string_view text) {
  if (!ms) {
    return quoted(text) +
           " is no duration; expected a whole number with a unit (ms, s, m, h, d); write for "
           "example 5s";
  }
  if (*ms <= kMaxSidecarWaitMs) return "";
  return quoted(text) + " is out of range; expected 0s to " + format_duration(kMaxSidecarWaitMs) +
         "; write a duration in between";
}

std::string size_problem(const SizeBounds& bounds, std::optional<uint64_t> bytes,
                         std::string_view text) {
  if (!bytes) {
    return quoted(text) +
           " is no size; expected a whole number with a unit (Ki, Mi, Gi, "
           "Ti, k, M, G, T); write for example 256MiB";
  }
  if (*bytes >= bounds.least && *bytes <= bounds.most) return "";
  return quoted(text) + " is out of range; expected " + format_size(bounds.least) + " to " +
         format_size(bounds.most) + "; write a size in between";
}

std::string size_problem(const LimitWord& limit, std::optional<uint64_t> bytes,
                         std::string_view text) {
  return size_problem(SizeBounds{limit.least, limit.most}, bytes, text);
}

const LimitWord* conflicting_limit(const Limits& limits) {
  for (const LimitWord& limit : kLimitWords) {
    if (limits.*limit.bytes > limits.spool_bytes) return &limit;
  }
  return nullptr;
}

std::string conflict_message(const LimitWord& limit, const Limits& limits) {
  return std::string(limit.key) + " (" + format_size(limits.*limit.bytes) +
         ") is larger than spoolSize (" + format_size(limits.spool_bytes) +
         "), which has to hold it; expected at most spoolSize; raise spoolSize or lower " +
         std::string(limit.key);
}

std::string directory_problem(std::string_view path) {
  constexpr size_t kMaxPathBytes = 1024;
  if (path.starts_with('/') && path.size() <= kMaxPathBytes) return "";
  return quoted(path) + " is no spool directory; expected an absolute path of at most " +
         std::to_string(kMaxPathBytes) + " bytes; write it from '/' on";
}

}  // namespace shmrec
