#include "deploy/inject/yaml_source.h"

#include <algorithm>
#include <cstdint>

namespace shmrec::inject {

using Type = YamlNode::Type;

namespace {

constexpr YamlLimits kLimits = {kMaxSourceBytes, 64, 200'000, SIZE_MAX, "give fewer at once"};

}  // namespace

Result<YamlStream> read_source(std::string_view text, std::string_view file) {
  // yaml-cpp skips a byte order mark, and all offsets would be wrong.
  if (text.starts_with("\xEF\xBB\xBF")) {
    return Error{at_position(
        file, {1, 1}, "a byte order mark; expected plain UTF-8; remove the first three bytes")};
  }
  return read_yaml(text, file, kLimits);
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

}  // namespace shmrec::inject
