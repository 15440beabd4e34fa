// Changes to a YAML text in place: what is not changed keeps every byte.
//
// The new parts are written in the style of their surroundings: lines in block style, {...} and
// [...] inside of flow style. JSON that is written in lines stays so, with its own indentation.
// Removing what was added gives the text of before, byte for byte; only a line end that the last
// line got stays.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "deploy/inject/yaml_source.h"
#include "policy/yaml_fields.h"

namespace shmrec::inject {

using Json = nlohmann::ordered_json;

// Borrows the text, the nodes and the problems.
class YamlEditor {
 public:
  YamlEditor(std::string_view text, Problems& problems);

  // Each reports a place that is written in a way it cannot add to. Additions to one node appear in
  // the order of the calls. REQUIRES: the node is of that type.
  void prepend_items(const YamlNode& sequence, const Json& items);
  void append_items(const YamlNode& sequence, const Json& items);
  void append_field(const YamlNode& map, const std::string& name, const Json& value);
  // REQUIRES: entry.value is kNull.
  void set_value(const YamlNode::Entry& entry, const Json& value);

  // `gone` says of each item, or entry, whether it goes; those that go beside each other are one
  // piece. Where all of them go the brackets of flow style stay; in block style the caller removes
  // the field. Each counts what goes (removed_nodes).
  void remove_items(const YamlNode& sequence, const std::vector<bool>& gone);
  void remove_entries(const YamlNode& map, const std::vector<bool>& gone);
  // The inverse of set_value: `word` in place of a value in flow style, with the spaces before it.
  void restore_empty(const YamlNode::Entry& entry, const std::string& word);
  size_t removed_nodes() const { return removed_nodes_; }

  // What stands where an entry that is null has its value: "", " ~", "  null".
  std::string empty_word(const YamlNode::Entry& entry);

  // Drops what was noted since, which must be about other nodes. The problems stay.
  struct Checkpoint;
  Checkpoint checkpoint() const;
  void roll_back(const Checkpoint& to);

  std::string apply() const;
  // What apply() keeps of the text: each piece's offset in the result, and where it comes from.
  struct Piece {
    size_t result, source;
  };
  std::vector<Piece> pieces() const;

 private:
  struct Edit {
    size_t at;
    size_t removed;
    size_t depth;  // of two at one place the deeper comes first
    std::string text;
  };
  struct FlowFields {
    const YamlNode* map;
    Json fields;
  };

  struct Run {  // of parts that go
    size_t from, to;
    bool is_last, is_all;
  };
  struct Pretty {
    std::string outer, inner;  // indentation of the closing bracket, and of what is in it
  };

  bool begins_with(const YamlNode& node, char c);
  // How a collection in flow style is written; nothing if it is on one line.
  std::optional<Pretty> pretty_style(const YamlNode& node) const;
  std::string pretty(const Json& value, const std::string& indent) const;
  void prepend_flow(const YamlNode& collection, const std::vector<std::string>& parts,
                    const std::optional<Pretty>& style);
  void remove(size_t from, size_t to);
  size_t end_of_flow(const YamlNode& node) const;
  void remove_flow_run(const YamlNode& collection, size_t begin, const YamlNode& last, Run run);
  template <typename Remove>
  void for_each_run(const std::vector<bool>& gone, Remove remove_run);
  size_t behind_colon(const YamlNode::Entry& entry);
  size_t comma_before(size_t at);
  size_t dash_before(size_t at) const;
  size_t end_of_item(const YamlNode& node) const;
  std::vector<Edit> all_edits() const;
  std::string indent_of(size_t offset) const;
  size_t column_of(size_t offset) const;
  size_t line_start(size_t offset) const;
  size_t end_of_block(const YamlNode& node) const;
  std::string last_line_end() const;
  void insert(size_t at, size_t depth, std::string text, size_t removed = 0);

  std::string_view text_;
  Problems& problems_;
  std::string eol_;
  std::vector<Edit> edits_;
  std::vector<FlowFields> flow_fields_;
  std::unordered_map<const YamlNode*, size_t> flow_index_;  // into flow_fields_
  size_t removed_nodes_ = 0;
  std::string step_;  // indentation of JSON in lines; "": the text is none
};

struct YamlEditor::Checkpoint {
  size_t edits, flow_fields, removed_nodes;
};

// Where what stands at `offset` of the result comes from. REQUIRES: there are pieces.
size_t source_of(const std::vector<YamlEditor::Piece>& pieces, size_t offset);

// Block style: lines of which all but the first are indented by `column`.
std::string render_block(const Json& value, size_t column, const std::string& eol);
// Flow style: one line, valid JSON.
std::string render_flow(const Json& value);

}  // namespace shmrec::inject
