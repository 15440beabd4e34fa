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

// By what JSON that is written in lines is indented; "" if the text is none.
std::string json_step(std::string_view text) {
  const size_t open = text.find_first_not_of(" \t\r\n", text.starts_with("---") ? 3 : 0);
  if (open == text.npos || text[open] != '{') return "";
  const size_t first = text.find_first_not_of(" \t\r\n", open + 1);
  const size_t newline = first == text.npos ? first : text.rfind('\n', first);
  if (newline == text.npos || newline < open) return "";
  return std::string(text.substr(newline + 1, first - newline - 1));
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
    : text_(text), problems_(problems), step_(json_step(text)) {
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

std::string YamlEditor::indent_of(size_t offset) const {
  const size_t start = line_start(offset);
  const size_t end = std::min(text_.find_first_not_of(" \t", start), text_.size());
  return std::string(text_.substr(start, end - start));
}

size_t YamlEditor::end_of_block(const YamlNode& node) const {
  const bool last = node.following >= text_.size();
  size_t at = last ? text_.size() : line_start(node.following);
  const size_t indent = last ? 0 : std::min(text_.find_first_not_of(' ', at), text_.size()) - at;
  while (at > node.begin) {
    const size_t before = line_start(at - 1);
    const size_t first = text_.find_first_not_of(' ', before);
    if (before <= node.begin || first >= at || text_[first] != '#' || first - before > indent) {
      break;
    }
    at = before;
  }
  return at;
}

void YamlEditor::insert(size_t at, size_t depth, std::string text, size_t removed) {
  edits_.push_back({at, removed, depth, std::move(text)});
}

// ---- Flow style

std::optional<YamlEditor::Pretty> YamlEditor::pretty_style(const YamlNode& node) const {
  if (step_.empty() || !node.flow) return std::nullopt;
  const std::string outer = indent_of(node.begin);
  const bool map = node.type == YamlNode::Type::kMap;
  if (map ? node.entries.empty() : node.items.empty()) return Pretty{outer, outer + step_};
  const size_t first = map ? node.entries[0].key->begin : node.items[0]->begin;
  if (line_start(first) == line_start(node.begin)) return std::nullopt;
  return Pretty{outer, indent_of(first)};
}

std::string YamlEditor::pretty(const Json& value, const std::string& indent) const {
  const std::string lines = value.dump(static_cast<int>(step_.size()), step_[0]);
  std::string out;
  for (const char c : lines) out += c == '\n' ? eol_ + indent : std::string(1, c);
  return out;
}

void YamlEditor::prepend_flow(const YamlNode& collection, const std::vector<std::string>& parts,
                              const std::optional<Pretty>& style) {
  const bool map = collection.type == YamlNode::Type::kMap;
  const bool empty = map ? collection.entries.empty() : collection.items.empty();
  std::string text;
  for (const std::string& part : parts) {
    const bool last = &part == &parts.back() && empty;
    text += (style ? eol_ + style->inner : "") + part + (last ? "" : style ? "," : ", ");
  }
  if (style && empty) text += eol_ + style->outer;
  insert(collection.begin + 1, 0, std::move(text));
}

// ---- Additions

void YamlEditor::prepend_items(const YamlNode& sequence, const Json& items) {
  if (!begins_with(sequence, sequence.flow ? '[' : '-')) return;
  if (sequence.flow) {
    const std::optional<Pretty> style = pretty_style(sequence);
    std::vector<std::string> parts;
    for (const Json& item : items) {
      parts.push_back(style ? pretty(item, style->inner) : render_flow(item));
    }
    return prepend_flow(sequence, parts, style);
  }
  const size_t column = column_of(sequence.begin);
  std::string lines;
  for (const Json& item : items) {
    lines += "- " + render_block(item, column + 2, eol_) + std::string(column, ' ');
  }
  insert(sequence.begin, 0, std::move(lines));
}

void YamlEditor::append_items(const YamlNode& sequence, const Json& items) {
  if (sequence.items.empty()) return prepend_items(sequence, items);
  if (!begins_with(sequence, sequence.flow ? '[' : '-')) return;
  if (sequence.flow) {
    const size_t end = behind_flow(text_, sequence.begin);
    if (end == text_.npos)
      return problems_.report(sequence.where, "the end of this list was not found");
    const std::optional<Pretty> style = pretty_style(sequence);
    // Behind the last item and a comma that may follow it.
    const size_t last = text_.find_last_not_of(" \t\r\n", end - 2);
    const std::string space = style ? eol_ + style->inner : " ";
    std::string list;
    for (const Json& item : items) {
      list += (list.empty() && text_[last] == ',' ? "" : ",") + space;
      list += style ? pretty(item, style->inner) : render_flow(item);
    }
    return insert(last + 1, 0, std::move(list));
  }
  const size_t column = column_of(sequence.begin);
  std::string lines;
  for (const Json& item : items) {
    lines += std::string(column, ' ') + "- " + render_block(item, column + 2, eol_);
  }
  // A list may stand in the column of the map that it is in.
  insert(end_of_block(sequence), 2 * column + 1, std::move(lines));
}

void YamlEditor::append_field(const YamlNode& map, const std::string& name, const Json& value) {
  if (map.flow) {
    if (!begins_with(map, '{')) return;
    const auto [known, is_new] = flow_index_.try_emplace(&map, flow_fields_.size());
    if (is_new) flow_fields_.push_back({&map, Json::object()});
    flow_fields_[known->second].fields[name] = value;
    return;
  }
  const size_t column = column_of(map.entries.front().key->begin);
  insert(end_of_block(map), 2 * column,
         std::string(column, ' ') + render_field(name, value, column, eol_));
}

size_t YamlEditor::behind_colon(const YamlNode::Entry& entry) {
  const size_t quotes = entry.key->tag == "!" ? 2 : 0;
  const size_t end = entry.key->begin + entry.key->text.size() + quotes;
  const size_t at = text_.find_first_not_of(" \t", std::min(end, text_.size()));
  if (at != text_.npos && text_[at] == ':') return at + 1;
  problems_.report(entry.key->where,
                   "a key that is to get a value is not followed by a colon; "
                   "expected KEY: VALUE; write it so");
  return text_.npos;
}

std::string YamlEditor::empty_word(const YamlNode::Entry& entry) {
  const size_t at = behind_colon(entry);
  if (at == text_.npos) return "";
  const size_t word = std::min(text_.find_first_not_of(" \t", at), text_.size());
  const size_t bytes = null_bytes(text_.substr(word));
  return bytes == 0 ? "" : std::string(text_.substr(at, word - at + bytes));
}

void YamlEditor::set_value(const YamlNode::Entry& entry, const Json& value) {
  const size_t at = behind_colon(entry);
  if (at == text_.npos) return;
  const std::string text =
      step_.empty() ? render_flow(value) : pretty(value, indent_of(entry.key->begin));
  insert(at, 0, " " + text, empty_word(entry).size());
}

// ---- Removals

void YamlEditor::remove(size_t from, size_t to) {
  if (from < to) insert(from, 0, "", to - from);
}

size_t YamlEditor::comma_before(size_t at) {
  const size_t comma = at == 0 ? text_.npos : text_.find_last_not_of(" \t\r\n", at - 1);
  return comma != text_.npos && text_[comma] == ',' ? comma : at;
}

// Behind the text of a value in flow style that was read there.
size_t YamlEditor::end_of_flow(const YamlNode& node) const {
  if (!node.is_scalar()) return behind_flow(text_, node.begin);
  const char quote = text_[node.begin];
  if (quote != '"' && quote != '\'') return text_.find_first_of(",]}\r\n", node.begin);
  for (size_t at = node.begin + 1; at < text_.size(); ++at) {
    if (text_[at] == quote) return at + 1;
    if (text_[at] == '\\' && quote == '"') ++at;
  }
  return text_.npos;
}

// What stands behind it may be an alias, whose node is elsewhere: so the comma is looked for.
void YamlEditor::remove_flow_run(const YamlNode& collection, size_t begin, const YamlNode& last,
                                 Run run) {
  const size_t close = behind_flow(text_, collection.begin), end = end_of_flow(last);
  if (close == text_.npos || end == text_.npos) {
    return problems_.report(collection.where, "the end of this was not found");
  }
  if (run.is_all) {
    const size_t left = text_.find_last_not_of(" \t\r\n", close - 2) + 1;
    return pretty_style(collection) ? remove(collection.begin + 1, close - 1) : remove(begin, left);
  }
  if (run.is_last) return remove(comma_before(begin), end);
  const size_t comma = text_.find_first_not_of(" \t\r\n", end);
  const size_t next = comma == text_.npos ? comma : text_.find_first_not_of(" \t\r\n", comma + 1);
  if (next == text_.npos || text_[comma] != ',') {
    return problems_.report(collection.where, "the comma behind a part of this was not found");
  }
  // Of what was put in on one line, one space: what stands behind it was there before.
  remove(begin, text_[comma + 1] == ' ' ? comma + 2 : next);
}

// The parts that go beside each other, each run once.
template <typename Remove>
void YamlEditor::for_each_run(const std::vector<bool>& gone, Remove remove_run) {
  for (size_t from = 0; from < gone.size(); ++from) {
    if (!gone[from]) continue;
    size_t to = from;
    while (to < gone.size() && gone[to]) ++to;
    remove_run(Run{from, to, to == gone.size(), from == 0 && to == gone.size()});
    from = to;
  }
}

void YamlEditor::remove_items(const YamlNode& sequence, const std::vector<bool>& gone) {
  if (!begins_with(sequence, sequence.flow ? '[' : '-')) return;
  for_each_run(gone, [&](const Run& run) {
    const YamlNode& last = *sequence.items[run.to - 1];
    const size_t begin = sequence.items[run.from]->begin;
    for (size_t i = run.from; i < run.to; ++i) removed_nodes_ += sequence.items[i]->expanded;
    if (sequence.flow) return remove_flow_run(sequence, begin, last, run);
    const size_t dash = dash_before(begin);
    const bool begins_line = indent_of(dash).size() == column_of(dash);
    begins_line || run.is_last ? remove(line_start(dash), end_of_item(last))
                               : remove(dash, dash_before(sequence.items[run.to]->begin));
  });
}

// Of an item or value in block style: where the line behind it begins.
size_t YamlEditor::end_of_item(const YamlNode& node) const {
  if (!node.is_scalar() && node.type != YamlNode::Type::kNull) return end_of_block(node);
  const size_t newline = text_.find('\n', node.begin);
  return newline == text_.npos ? text_.size() : newline + 1;
}

size_t YamlEditor::dash_before(size_t at) const {
  const size_t dash = at == 0 ? text_.npos : text_.find_last_not_of(" \t\r\n", at - 1);
  return dash == text_.npos || text_[dash] != '-' ? at : dash;
}

void YamlEditor::remove_entries(const YamlNode& map, const std::vector<bool>& gone) {
  if (map.flow && !begins_with(map, '{')) return;
  for_each_run(gone, [&](const Run& run) {
    const YamlNode& last = *map.entries[run.to - 1].value;
    const size_t begin = map.entries[run.from].key->begin;
    for (size_t i = run.from; i < run.to; ++i)
      removed_nodes_ += map.entries[i].key->expanded + map.entries[i].value->expanded;
    if (map.flow) return remove_flow_run(map, begin, last, run);
    const bool begins_line = indent_of(begin).size() == column_of(begin);
    // Or it stands behind the dash of an item.
    begins_line || run.is_last ? remove(line_start(begin), end_of_item(last))
                               : remove(begin, map.entries[run.to].key->begin);
  });
}

void YamlEditor::restore_empty(const YamlNode::Entry& entry, const std::string& word) {
  const size_t at = behind_colon(entry), end = behind_flow(text_, entry.value->begin);
  if (at == text_.npos) return;
  if (!entry.value->flow || end == text_.npos) {
    return problems_.report(entry.value->where, "the end of this was not found");
  }
  insert(at, 0, word, end - at);
  removed_nodes_ += entry.value->expanded - 1;
}

// ---- The result

YamlEditor::Checkpoint YamlEditor::checkpoint() const {
  return {edits_.size(), flow_fields_.size(), removed_nodes_};
}

void YamlEditor::roll_back(const Checkpoint& to) {
  edits_.resize(to.edits);
  for (size_t i = to.flow_fields; i < flow_fields_.size(); ++i) {
    flow_index_.erase(flow_fields_[i].map);
  }
  flow_fields_.resize(to.flow_fields);
  removed_nodes_ = to.removed_nodes;
}

// For lines behind a last line that has no end.
std::string YamlEditor::last_line_end() const {
  return text_.empty() || text_.ends_with('\n') ? "" : eol_;
}

std::vector<YamlEditor::Edit> YamlEditor::all_edits() const {
  std::vector<Edit> edits = edits_;
  YamlEditor fields(text_, problems_);
  for (const auto& [map, values] : flow_fields_) {
    const std::optional<Pretty> style = pretty_style(*map);
    std::vector<std::string> parts;
    for (const auto& [name, value] : values.items()) {
      parts.push_back(Json(name).dump() + ": " +
                      (style ? pretty(value, style->inner) : render_flow(value)));
    }
    fields.prepend_flow(*map, parts, style);
  }
  edits.insert(edits.end(), fields.edits_.begin(), fields.edits_.end());
  std::stable_sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) {
    return a.at != b.at ? a.at < b.at : a.depth > b.depth;
  });
  return edits;
}

std::string YamlEditor::apply() const {
  std::string out;
  size_t at = 0;
  for (const Edit& edit : all_edits()) {
    if (at < edit.at && edit.at == text_.size()) {
      out += text_.substr(at);
      out += last_line_end();
      at = text_.size();
    }
    out += text_.substr(at, std::max(at, edit.at) - at);
    out += edit.text;
    at = std::max(at, edit.at + edit.removed);
  }
  return out += text_.substr(at);
}

std::vector<YamlEditor::Piece> YamlEditor::pieces() const {
  std::vector<Piece> out = {{0, 0}};
  size_t at = 0, written = 0;
  for (const Edit& edit : all_edits()) {
    written += std::max(at, edit.at) - at + edit.text.size();
    at = std::max(at, edit.at + edit.removed);
    out.push_back({written, at});
  }
  return out;
}

size_t source_of(const std::vector<YamlEditor::Piece>& pieces, size_t offset) {
  const auto behind = std::upper_bound(
      pieces.begin(), pieces.end(), offset,
      [](size_t value, const YamlEditor::Piece& piece) { return value < piece.result; });
  const YamlEditor::Piece& piece = *std::prev(behind);
  return piece.source + (offset - piece.result);
}

}  // namespace shmrec::inject
