#include "deploy/inject/yaml_source.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>

namespace shmrec::inject {

using Type = YamlNode::Type;

namespace {

constexpr YamlLimits kLimits = {kMaxSourceBytes, 64, 1'000'000, SIZE_MAX, "give fewer at once"};

std::optional<uint32_t> escaped_unit(std::string_view text, size_t at) {
  uint32_t unit = 0;
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return std::nullopt;
  const char* end = text.data() + at + 6;
  const auto [rest, error] = std::from_chars(text.data() + at + 2, end, unit, 16);
  return rest == end && error == std::errc() ? std::optional(unit) : std::nullopt;
}

// JSON writes what is beyond U+FFFF as two escapes, which YAML's parser refuses. One escape of the
// same length, spaces behind it, stands for them while reading; the text itself stays as it is.
std::string join_surrogates(std::string_view text) {
  std::string out(text);
  for (size_t at = out.find("\\u"); at != out.npos; at = out.find("\\u", at + 2)) {
    const bool escaped = at > 0 && out[at - 1] == '\\';  // or not: then the parser refuses it
    const std::optional<uint32_t> high = escaped_unit(out, at), low = escaped_unit(out, at + 6);
    if (escaped || !high || !low || *high >> 10 != 0x36 || *low >> 10 != 0x37) continue;
    char joined[16];
    const uint32_t code = 0x10000 + ((*high & 0x3FF) << 10 | (*low & 0x3FF));
    std::snprintf(joined, sizeof joined, "\\U%08x  ", code);
    out.replace(at, 12, joined);
  }
  return out;
}

}  // namespace

Result<> check_source(std::string_view text, std::string_view file) {
  // yaml-cpp skips a byte order mark, and all offsets would be wrong.
  if (text.starts_with("\xEF\xBB\xBF")) {
    return Error{at_position(
        file, {1, 1}, "a byte order mark; expected plain UTF-8; remove the first three bytes")};
  }
  if (text.size() <= kMaxSourceBytes) return Unit{};
  return Error{at_position(file, {1, 1},
                           "the text has more than " + std::to_string(kMaxSourceBytes) +
                               " bytes; expected at most that; " + kLimits.advice)};
}

Result<YamlStream> read_source(std::string_view text, std::string_view file, int first_line) {
  return read_yaml(join_surrogates(text), file, kLimits, first_line);
}

const YamlNode* find_value(const YamlNode& map, std::string_view name) {
  for (const YamlNode::Entry& entry : map.entries) {
    if (entry.key->is_scalar() && entry.key->text == name) return entry.value;
  }
  return nullptr;
}

namespace {

bool contains_items(const YamlNode& whole, const YamlNode& part) {
  auto at = whole.items.begin();
  for (const YamlNode* item : part.items) {
    at = std::find_if(at, whole.items.end(),
                      [&](const YamlNode* other) { return contains(*other, *item); });
    if (at++ == whole.items.end()) return false;
  }
  return true;
}

bool contains_entries(const YamlNode& whole, const YamlNode& part) {
  auto at = whole.entries.begin();
  for (const YamlNode::Entry& entry : part.entries) {
    at = std::find_if(at, whole.entries.end(), [&](const YamlNode::Entry& other) {
      return contains(*other.key, *entry.key) && contains(*other.value, *entry.value);
    });
    if (at++ == whole.entries.end()) return false;
  }
  return true;
}

}  // namespace

bool contains(const YamlNode& whole, const YamlNode& part) {
  // What had no value may get one.
  if (part.type == Type::kNull) return true;
  if (whole.type != part.type || whole.tag != part.tag) return false;
  if (part.type == Type::kSequence) return contains_items(whole, part);
  return part.type == Type::kMap ? contains_entries(whole, part) : whole.text == part.text;
}

bool same(const YamlNode& a, const YamlNode& b) {
  if (a.type != b.type || a.tag != b.tag || a.text != b.text) return false;
  return a.items.size() == b.items.size() && a.entries.size() == b.entries.size() &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(),
                    [](const YamlNode* x, const YamlNode* y) { return same(*x, *y); }) &&
         std::equal(a.entries.begin(), a.entries.end(), b.entries.begin(),
                    [](const YamlNode::Entry& x, const YamlNode::Entry& y) {
                      return same(*x.key, *y.key) && same(*x.value, *y.value);
                    });
}

}  // namespace shmrec::inject
