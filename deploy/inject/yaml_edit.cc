// Where a new part goes. The parser says where a node begins and what stands behind a collection,
// not where the collection ends; between the two are only comments, blank lines and markers. New
// lines go before the line of what follows, and before the comments that belong to it:
//
//     containers:
//     - name: app
//       image: a
//                      <- a new field of the container, then a new container
//     # where it runs
//     nodeName: n
//
// A comment line belongs to what follows if it is indented no deeper than that: then it cannot be
// part of a block scalar of the collection either. inject() compares the result with the original,
// so that a text that outwits this is refused and never damaged.
#include "deploy/inject/yaml_edit.h"

#include <algorithm>

namespace shmrec::inject {
namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kPlain =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:";
// Strings that some YAML reader takes for something else.
constexpr std::string_view kNotStrings[] = {"true", "false", "null", "yes", "no",
                                            "on",   "off",   "y",    "n"};

// "64Mi", "10m": never a number.
bool is_quantity(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view unit = text.substr(digits);
  return digits > 0 &&
         (unit == "m" || unit == "Ki" || unit == "Mi" || unit == "Gi" || unit == "Ti");
}

bool is_plain(std::string_view text) {
  if (is_quantity(text)) return true;
  if (text.empty() || (text[0] != '/' && kLetters.find(text[0]) == kLetters.npos)) return false;
  if (text.find_first_not_of(kPlain) != text.npos || text.ends_with(':')) return false;
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return tolower(c); });
  return std::find(std::begin(kNotStrings), std::end(kNotStrings), lower) == std::end(kNotStrings);
}

std::string render_string(const std::string& text) {
  return is_plain(text) ? text : Json(text).dump();
}

bool fits_line(const Json& value) {
  return !value.is_structured() || value.empty() ||
         (value.is_array() && std::none_of(value.begin(), value.end(),
                                           [](const Json& item) { return item.is_structured(); }));
}

std::string render_line(const Json& value) {
  if (value.is_string()) return render_string(value.get<std::string>());
  return render_flow(value);
}

std::string render_field(const std::string& name, const Json& value, size_t column,
                         const std::string& eol) {
  const std::string key = render_string(name) + ":";
  if (fits_line(value)) return key + " " + render_line(value) + eol;
  const size_t inner = value.is_array() ? column : column + 2;
  return key + eol + std::string(inner, ' ') + render_block(value, inner, eol);
}

// The offset behind the bracket that closes the one at `open`; npos if it is not found.
size_t behind_flow(std::string_view text, size_t open) {
  size_t depth = 0;
  bool token_start = true;  // where a quote begins a quoted scalar
  for (size_t i = open; i < text.size(); ++i) {
    const char c = text[i];
    if (token_start && (c == '"' || c == '\'')) {
      for (++i; i < text.size() && text[i] != c; ++i) {
        if (c == '"' && text[i] == '\\') ++i;
      }
    } else if (c == '#' && i > 0 &&
               std::string_view(" \t\n").find(text[i - 1]) != std::string_view::npos) {
      i = std::min(text.find('\n', i), text.size());
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if ((c == ']' || c == '}') && --depth == 0) {
      return i + 1;
    }
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) {
      token_start = std::string_view("[{,:").find(c) != std::string_view::npos;
    }
  }
  return std::string_view::npos;
}

// The length of a null at the start of `text`.
size_t null_bytes(std::string_view text) {
  for (std::string_view word : {"null", "Null", "NULL", "~"}) {
    if (text.starts_with(word)) return word.size();
  }
  return 0;
}

}  // namespace

std::string render_flow(const Json& value) {
  if (!value.is_structured()) return value.dump();
  std::string out;
  for (const auto& [name, item] : value.items()) {
    if (!out.empty()) out += ", ";
    if (value.is_object()) out += Json(name).dump() + ": ";
    out += render_flow(item);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

std::string render_block(const Json& value, size_t column, const std::string& eol) {
  if (fits_line(value)) return render_line(value) + eol;
  std::string out;
  for (const auto& [name, item] : value.items()) {
    if (!out.empty()) out.append(column, ' ');
    out += value.is_object() ? render_field(name, item, column, eol)
                             : "- " + render_block(item, column + 2, eol);
  }
  return out;
}

YamlEditor::YamlEditor(std::string_view text, Problems& problems)
    : text_(text), problems_(problems) {
  const size_t newline = text.find('\n');
  eol_ = newline != text.npos && newline > 0 && text[newline - 1] == '\r' ? "\r\n" : "\n";
}

bool YamlEditor::begins_with(const YamlNode& node, char c) {
  if (node.begin < text_.size() && text_[node.begin] == c) return true;
  problems_.report(
      node.where,
      "a tag or an anchor stands before a value that is to be changed; expected the value "
      "alone; remove it");
  return false;
}

size_t YamlEditor::line_start(size_t offset) const {
  return offset == 0 ? 0 : text_.rfind('\n', offset - 1) + 1;  // npos + 1 == 0
}

size_t YamlEditor::column_of(size_t offset) const { return offset - line_start(offset); }

size_t YamlEditor::end_of_block(const YamlNode& node) const {
  if (node.following >= text_.size()) return text_.size();
  size_t at = line_start(node.following);
  const size_t indent = std::min(text_.find_first_not_of(' ', at), text_.size()) - at;
  while (at > node.begin) {
    const size_t before = line_start(at - 1);
    const size_t first = text_.find_first_not_of(' ', before);
    if (before <= node.begin || text_[first] != '#' || first - before > indent) break;
    at = before;
  }
  return at;
}

void YamlEditor::insert(size_t at, size_t column, std::string text, size_t removed) {
  edits_.push_back({at, removed, column, std::move(text)});
}

void YamlEditor::prepend_items(const YamlNode& sequence, const Json& items) {
  if (!begins_with(sequence, sequence.flow ? '[' : '-')) return;
  const size_t column = column_of(sequence.begin);
  if (sequence.flow) {
    std::string list = render_flow(items);
    list = list.substr(1, list.size() - 2) + (sequence.items.empty() ? "" : ", ");
    return insert(sequence.begin + 1, column, std::move(list));
  }
  std::string lines;
  for (const Json& item : items) {
    lines += "- " + render_block(item, column + 2, eol_) + std::string(column, ' ');
  }
  insert(sequence.begin, column, std::move(lines));
}

void YamlEditor::append_items(const YamlNode& sequence, const Json& items) {
  if (sequence.items.empty()) return prepend_items(sequence, items);
  if (!begins_with(sequence, sequence.flow ? '[' : '-')) return;
  const size_t column = column_of(sequence.begin);
  if (sequence.flow) {
    const size_t end = behind_flow(text_, sequence.begin);
    if (end == text_.npos)
      return problems_.report(sequence.where, "the end of this list was not found");
    const std::string list = render_flow(items);
    // Behind the last item and a comma that may follow it.
    size_t last = text_.find_last_not_of(" \t\r\n", end - 2);
    const bool comma = text_[last] == ',';
    return insert(last + 1, column, (comma ? " " : ", ") + list.substr(1, list.size() - 2));
  }
  std::string lines;
  for (const Json& item : items) {
    lines += std::string(column, ' ') + "- " + render_block(item, column + 2, eol_);
  }
  insert(end_of_block(sequence), column, std::move(lines));
}

void YamlEditor::append_field(const YamlNode& map, const std::string& name, const Json& value) {
  if (map.flow) {
    if (!begins_with(map, '{')) return;
    auto known = std::find_if(flow_fields_.begin(), flow_fields_.end(),
                              [&](const FlowFields& fields) { return fields.map == &map; });
    if (known == flow_fields_.end()) known = flow_fields_.insert(known, {&map, Json::object()});
    known->fields[name] = value;
    return;
  }
  const size_t column = column_of(map.entries.front().key->begin);
  insert(end_of_block(map), column,
         std::string(column, ' ') + render_field(name, value, column, eol_));
}

void YamlEditor::set_value(const YamlNode::Entry& entry, const Json& value) {
  const size_t quotes = entry.key->tag == "!" ? 2 : 0;
  size_t at = text_.find_first_not_of(" \t", entry.key->begin + entry.key->text.size() + quotes);
  if (at == text_.npos || text_[at] != ':') {
    problems_.report(entry.key->where,
                     "a key that is to get a value is not followed by a colon; "
                     "expected KEY: VALUE; write it so");
    return;
  }
  ++at;
  const size_t word = std::min(text_.find_first_not_of(" \t", at), text_.size());
  const size_t bytes = null_bytes(text_.substr(word));
  insert(at, column_of(at), " " + render_flow(value), bytes == 0 ? 0 : word - at + bytes);
}

// For lines behind a last line that has no end.
std::string YamlEditor::last_line_end() const {
  return text_.empty() || text_.ends_with('\n') ? "" : eol_;
}

std::string YamlEditor::apply() const {
  std::vector<Edit> edits = edits_;
  for (const auto& [map, fields] : flow_fields_) {
    std::string list = render_flow(fields);
    list = list.substr(1, list.size() - 2) + (map->entries.empty() ? "" : ", ");
    edits.push_back({map->begin + 1, 0, 0, std::move(list)});
  }
  std::stable_sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) {
    return a.at != b.at ? a.at < b.at : a.column > b.column;
  });
  std::string out;
  size_t at = 0;
  for (const Edit& edit : edits) {
    if (at < edit.at && edit.at == text_.size()) {
      out += text_.substr(at);
      out += last_line_end();
      at = text_.size();
    }
    out += text_.substr(at, edit.at - at);
    out += edit.text;
    at = edit.at + edit.removed;
  }
  return out += text_.substr(at);
}

}  // namespace shmrec::inject
