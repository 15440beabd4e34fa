// A YAML document as a tree of nodes that know where they were written. What a policy has no use
// for (tags, several documents, keys that are not words) and what could do harm (depth, size,
// aliases that multiply) is refused while reading, before anything recurses.
//
// Ownership: nodes live as long as their YamlDocument; an alias is a second pointer to its anchor's
// node.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/policy.h"

namespace shmrec {

struct YamlNode {
  // Plain scalars have the type that the YAML 1.2 core schema gives them; quoted ones are strings.
  enum class Type { kNull, kBool, kInteger, kFloat, kString, kSequence, kMap };
  Type type = Type::kNull;
  std::string text;  // of scalars
  Position where;
  std::vector<const YamlNode*> items;  // of sequences
  struct Entry {
    const YamlNode* key;  // kString
    const YamlNode* value;
  };
  std::vector<Entry> entries;  // of maps
  size_t expanded = 1;         // nodes below and including this one, aliases followed
  size_t height = 1;
};

struct YamlDocument {
  YamlDocument() = default;
  YamlDocument(YamlDocument&&) = default;  // nodes keep their addresses; in a copy they would not
  YamlDocument& operator=(YamlDocument&&) = default;

  std::deque<YamlNode> nodes;
  const YamlNode* root = nullptr;
};

// The first place in `text` that is not UTF-8, or a control character other than tab and line ends.
std::optional<Position> find_non_text(std::string_view text);

// "FILE:LINE:COL: TEXT".
std::string at_position(std::string_view file, Position where, const std::string& text);

Result<YamlDocument> parse_yaml(std::string_view text, std::string_view file);

}  // namespace shmrec
