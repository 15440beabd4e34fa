// Changes to a YAML text in place: what is not changed keeps every byte.
//
// The new parts are written in the style of their surroundings: lines in block style, {...} and
// [...] inside of flow style, which JSON is a case of.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
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

  std::string apply() const;

 private:
  struct Edit {
    size_t at;
    size_t removed;
    size_t column;  // of two at one place the deeper comes first
    std::string text;
  };
  struct FlowFields {
    const YamlNode* map;
    Json fields;
  };

  bool begins_with(const YamlNode& node, char c);
  size_t column_of(size_t offset) const;
  size_t line_start(size_t offset) const;
  size_t end_of_block(const YamlNode& node) const;
  std::string last_line_end() const;
  void insert(size_t at, size_t column, std::string text, size_t removed = 0);

  std::string_view text_;
  Problems& problems_;
  std::string eol_;
  std::vector<Edit> edits_;
  std::vector<FlowFields> flow_fields_;
};

// Block style: lines of which all but the first are indented by `column`.
std::string render_block(const Json& value, size_t column, const std::string& eol);
// Flow style: one line, valid JSON.
std::string render_flow(const Json& value);

}  // namespace shmrec::inject
