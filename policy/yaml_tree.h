// YAML documents as trees of nodes that know where in the text they were written, so that a message
// can point at a place and a text can be changed in it.
//
// Ownership: nodes live as long as their YamlStream; an alias is a second pointer to its anchor's
// node. Units: offsets are bytes into the text that was read. Trust: the text is foreign. Depth,
// size and aliases that multiply are bounded while reading, before anything recurses.
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
  std::string text;  // of scalars, its escapes resolved
  std::string tag;   // "?" or "": plain, "!": quoted or a block
  Position where;
  size_t begin = 0;      // anchor and tag included; of an absent value, what follows
  size_t following = 0;  // of collections: what stands behind the end, or the end of the document
  bool flow = false;     // {...} or [...]
  bool aliased = false;  // stands in several places
  std::vector<const YamlNode*> items;  // of sequences
  struct Entry {
    const YamlNode* key;
    const YamlNode* value;
  };
  std::vector<Entry> entries;  // of maps
  size_t expanded = 1;         // nodes below and including this one, aliases followed
  size_t height = 1;

  bool is_scalar() const { return type > Type::kNull && type < Type::kSequence; }
};

struct YamlStream {
  YamlStream() = default;
  YamlStream(YamlStream&&) = default;  // nodes keep their addresses; in a copy they would not
  YamlStream& operator=(YamlStream&&) = default;

  std::deque<YamlNode> nodes;
  std::vector<const YamlNode*> documents;  // their roots
};

struct YamlLimits {
  size_t bytes;
  size_t depth;
  size_t nodes;  // aliases expanded
  size_t documents;
  const char* advice;  // to who exceeds one: "make it smaller"
};

// `file` is the text's name in messages, `first_line` the number of its first line there; nodes
// count from 1 nevertheless.
Result<YamlStream> read_yaml(std::string_view text, std::string_view file, const YamlLimits& limits,
                             int first_line = 1);

// The first place in `text` that is not UTF-8, or a control character other than tab and line ends.
std::optional<Position> find_non_text(std::string_view text);

// "FILE:LINE:COL: TEXT", printable: both may be foreign. One line.
std::string at_position(std::string_view file, Position where, const std::string& text);

}  // namespace shmrec
