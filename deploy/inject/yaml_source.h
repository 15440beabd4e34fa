// A stream of YAML documents as trees that know where in the text each part stands, so that a text
// can be changed in place and keeps its comments, quotes and order.
//
// Ownership: nodes live as long as their YamlSource; an alias is a second pointer to its anchor's
// node. Units: offsets are bytes into the text that was read. Trust: the text is foreign. Depth,
// size and aliases that multiply are bounded while reading, before anything recurses.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/yaml_tree.h"

namespace shmrec::inject {

struct SourceNode {
  enum class Type { kNull, kScalar, kSequence, kMap };
  Type type = Type::kNull;
  std::string text;  // of scalars, its escapes resolved
  std::string tag;   // "?": plain, "!": quoted or a block
  Position where;
  size_t begin = 0;      // anchor and tag included; of an absent value, what follows
  size_t following = 0;  // of collections: what stands behind the end, or the end of the document
  bool flow = false;     // {...} or [...]
  bool aliased = false;  // stands in several places
  std::vector<const SourceNode*> items;  // of sequences
  struct Entry {
    const SourceNode* key;
    const SourceNode* value;
  };
  std::vector<Entry> entries;  // of maps
  size_t expanded = 1;         // nodes below and including this one, aliases followed
  size_t height = 1;
};

struct YamlSource {
  YamlSource() = default;
  YamlSource(YamlSource&&) = default;  // nodes keep their addresses; in a copy they would not
  YamlSource& operator=(YamlSource&&) = default;

  std::deque<SourceNode> nodes;
  std::vector<const SourceNode*> documents;
};

inline constexpr size_t kMaxSourceBytes = size_t{4} << 20;
inline constexpr size_t kMaxSourceDepth = 64;
inline constexpr size_t kMaxSourceNodes = 200'000;  // aliases expanded

// `file` is the text's name in messages.
Result<YamlSource> read_source(std::string_view text, std::string_view file);

// The value of `map`'s first key `name`, or nullptr.
const SourceNode* find_value(const SourceNode& map, std::string_view name);

// Is all of `part` in `whole`, in its order? Maps and sequences of `whole` may have more.
bool contains(const SourceNode& whole, const SourceNode& part);

}  // namespace shmrec::inject
