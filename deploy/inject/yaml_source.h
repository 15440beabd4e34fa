// Manifests as YAML trees that can be changed in place, so that a text keeps its comments, quotes
// and order.
#pragma once

#include <string_view>

#include "base/result.h"
#include "policy/yaml_tree.h"

namespace shmrec::inject {

inline constexpr size_t kMaxSourceBytes = size_t{16} << 20;

// `file` is the text's name in messages, `first_line` the number of its first line there.
Result<YamlStream> read_source(std::string_view text, std::string_view file, int first_line = 1);

// Of a whole text, before it is taken apart.
Result<> check_source(std::string_view text, std::string_view file);

// The value of `map`'s first key `name`, or nullptr. Of a node that is no map too.
const YamlNode* find_value(const YamlNode& map, std::string_view name);

// Is all of `part` in `whole`, in its order? Maps and sequences of `whole` may have more.
bool contains(const YamlNode& whole, const YamlNode& part);

// Do both say the same, in the same order? Spaces, comments and style are no part of it.
bool same(const YamlNode& a, const YamlNode& b);

}  // namespace shmrec::inject
