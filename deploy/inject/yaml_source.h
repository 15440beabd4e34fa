// Manifests as YAML trees that can be changed in place, so that a text keeps its comments, quotes
// and order.
#pragma once

#include <string_view>

#include "base/result.h"
#include "policy/yaml_tree.h"

namespace shmrec::inject {

inline constexpr size_t kMaxSourceBytes = size_t{4} << 20;

// `file` is the text's name in messages.
Result<YamlStream> read_source(std::string_view text, std::string_view file);

// The value of `map`'s first key `name`, or nullptr. Of a node that is no map too.
const YamlNode* find_value(const YamlNode& map, std::string_view name);

// Is all of `part` in `whole`, in its order? Maps and sequences of `whole` may have more.
bool contains(const YamlNode& whole, const YamlNode& part);

}  // namespace shmrec::inject
