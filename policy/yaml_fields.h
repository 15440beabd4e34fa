// Reading a YAML document's objects into structs, by tables.
//
// Each kind of object has a table of its keys, each key a function that reads one value. read_map
// walks an object against its table, so that unknown and repeated keys are found in one place, and
// the tables can be held against a schema. All mistakes are collected; a value with a mistake
// leaves the default in place, and the caller throws the result away if there was any.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/suggest.h"
#include "policy/words.h"
#include "policy/yaml_tree.h"

namespace shmrec {

struct Field {
  const YamlNode& key;
  const YamlNode& value;
  // An absent value has no place of its own.
  Position where() const { return value.type == YamlNode::Type::kNull ? key.where : value.where; }
};

// Where a position of the text that is read stands in the one that a person has.
using Moved = std::function<Position(Position)>;

class Problems {
 public:
  explicit Problems(std::string_view file, Moved moved = {})
      : file_(file), moved_(std::move(moved)) {}

  // `message`: "what; expected ...; do ...".
  void report(Position where, const std::string& message);
  bool any() const { return count_ > 0; }
  size_t count() const { return count_; }
  std::string text() const;  // a line for each, the first ones if there are many

 private:
  std::string file_;
  Moved moved_;  // none: they are the same
  std::string text_;
  size_t count_ = 0;
};

template <typename T>
struct Key {
  std::string_view name;
  void (*read)(Problems&, const Field&, T&);
};

template <typename T, size_t N>
std::vector<std::string> names_of(const Key<T> (&keys)[N]) {
  std::vector<std::string> names;
  for (const Key<T>& key : keys) names.emplace_back(key.name);
  return names;
}

inline constexpr size_t kMaxListItems = 64;

// "a map", "a number": what a node is, for messages.
const char* describe(const YamlNode& node);
void report_type(Problems& problems, const Field& field, const std::string& expected,
                 const std::string& fix);
// Reports if it is not.
bool is_type(Problems& problems, const Field& field, YamlNode::Type type,
             const std::string& expected, const std::string& fix);
void report_unknown_key(Problems& problems, const YamlNode& key, std::string_view object,
                        const std::vector<std::string>& known);

// ---- Maps and lists

template <typename T, size_t N>
void read_map(Problems& problems, const YamlNode& map, std::string_view object,
              const Key<T> (&keys)[N], T& out) {
  std::set<std::string_view> seen;
  for (const YamlNode::Entry& entry : map.entries) {
    const std::string_view name = entry.key->text;
    const auto known = std::find_if(std::begin(keys), std::end(keys),
                                    [&](const Key<T>& key) { return key.name == name; });
    if (known == std::end(keys)) {
      report_unknown_key(problems, *entry.key, object, names_of(keys));
    } else if (!seen.insert(name).second) {
      problems.report(entry.key->where, "key " + shmrec::quoted(name) + " is given twice in " +
                                            std::string(object) + "; expected it once; remove one");
    } else {
      known->read(problems, Field{*entry.key, *entry.value}, out);
    }
  }
}

template <typename T, size_t N>
void read_submap(Problems& problems, const Field& field, const Key<T> (&keys)[N], T& out) {
  if (is_type(problems, field, YamlNode::Type::kMap, "a map", "write its keys indented below")) {
    read_map(problems, field.value, field.key.text, keys, out);
  }
}

std::optional<Field> find_field(const YamlNode& map, std::string_view name);
// Of the map if it has no such key.
Position key_position(const YamlNode& map, std::string_view name);

// Is it a list of at most `most` items? Reports if not.
bool is_list(Problems& problems, const Field& field, size_t most);
// Calls read(item) for each item.
template <typename Read>
void read_list(Problems& problems, const Field& field, size_t most, Read read) {
  if (!is_list(problems, field, most)) return;
  for (const YamlNode* item : field.value.items) read(Field{field.key, *item});
}

// ---- Values

// A string that is not empty and has no control characters; else reported and nothing.
std::optional<std::string> read_string(Problems& problems, const Field& field, size_t most);
std::optional<std::string> read_glob(Problems& problems, const Field& field, size_t most);
void read_globs(Problems& problems, const Field& field, std::vector<std::string>& out);
void read_bool(Problems& problems, const Field& field, bool& out);
// REQUIRES: node.type == kInteger. Nothing if it does not fit.
std::optional<int64_t> integer_of(const YamlNode& node);
// Bytes from a whole number or a text with a unit. Nothing if it is something else or does not fit.
std::optional<uint64_t> size_of(const YamlNode& node);

template <typename T, size_t N>
std::optional<T> read_word(Problems& problems, const Field& field, const Word<T> (&words)[N]) {
  const std::vector<std::string> texts = texts_of(words);
  if (!is_type(problems, field, YamlNode::Type::kString, one_of(texts), "write " + texts[0])) {
    return std::nullopt;
  }
  const std::optional<T> value = find_word(words, field.value.text);
  if (value) return value;
  const std::string nearest = nearest_name(field.value.text, texts);
  problems.report(field.value.where,
                  shmrec::quoted(field.key.text) + " is " + shmrec::quoted(field.value.text) +
                      did_you_mean(field.value.text, texts) + "; expected " + one_of(texts) +
                      "; write " + (nearest.empty() ? texts[0] : nearest));
  return std::nullopt;
}

template <typename T, size_t N>
void assign_word(Problems& problems, const Field& field, const Word<T> (&words)[N], T& out) {
  if (const std::optional<T> value = read_word(problems, field, words)) out = *value;
}

// ---- Documents

inline constexpr std::string_view kApiVersion = "shmrec/v1";

// Reports a value that is not `expected`.
void check_constant(Problems& problems, const Field& field, std::string_view expected);
template <typename T, const std::string_view& kExpected>
void read_constant(Problems& problems, const Field& field, T&) {
  check_constant(problems, field, kExpected);
}
// Is the document a map? Reports if not, and if it lacks apiVersion or kind.
bool check_header(Problems& problems, const YamlNode& root, std::string_view kind);

}  // namespace shmrec
