#include "policy/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "base/printable.h"

namespace shmrec {
namespace {

using Type = YamlNode::Type;

// Thrown by TreeBuilder through yaml-cpp's parser, caught in read_yaml.
struct Refusal {
  Position where;
  std::string message;
};

Position position_of(const YAML::Mark& mark) {
  return mark.is_null() ? Position{1, 1} : Position{mark.line + 1, mark.column + 1};
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool is_integer(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0o")) {
    const bool hex = text[1] == 'x';
    return text.size() > 2 &&
           text.find_first_not_of(hex ? "0123456789abcdefABCDEF" : "01234567", 2) == text.npos;
  }
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

bool is_float(std::string_view text) {
  if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return true;
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (is_one_of(text, {".inf", ".Inf", ".INF"})) return true;
  size_t digits = 0;
  auto skip_digits = [&] {
    const size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(n);
    return n;
  };
  digits += skip_digits();
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    digits += skip_digits();
  }
  if (digits == 0) return false;
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return skip_digits() > 0 && text.empty();
}

Type plain_type(std::string_view text) {
  if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return Type::kNull;
  if (is_one_of(text, {"true", "True", "TRUE", "false", "False", "FALSE"})) return Type::kBool;
  if (is_integer(text)) return Type::kInteger;
  return is_float(text) ? Type::kFloat : Type::kString;
}

// The line from `from` on that begins with '---' or '...', or the end of the text.
size_t document_end(std::string_view text, size_t from) {
  for (size_t line = from; line < text.size();) {
    const std::string_view rest = text.substr(line);
    const bool marker = rest.starts_with("---") || rest.starts_with("...");
    if (marker && (rest.size() == 3 || std::string_view(" \t\r\n").find(rest[3]) != rest.npos)) {
      return line;
    }
    const size_t newline = text.find('\n', line);
    if (newline == text.npos) break;
    line = newline + 1;
  }
  return text.size();
}

// More than any text has: a value or the comma, colon or dash of an absent one takes a byte. The
// parser finds values without end in some texts ("a:\n  \n ,- - b:").
size_t values_of(std::string_view text) { return 2 * text.size() + 16; }

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const YamlLimits& limits, YamlStream& stream)
      : text_(text), limits_(limits), stream_(stream) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    anchors_.clear();
    if (stream_.documents.size() < limits_.documents) return;
    throw Refusal{position_of(mark),
                  "a second document starts; expected one per file; remove it or put it into a "
                  "file of its own"};
  }
  void OnDocumentEnd() override {
    if (ended_.empty()) return;
    // The first line of a document may be its marker: "--- {a: b}".
    const size_t first = stream_.documents.back()->begin;
    const size_t newline = text_.find('\n', first);
    end_collections(newline == text_.npos ? text_.size() : document_end(text_, newline + 1));
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    attach(add(mark, anchor, Type::kNull));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool plain = tag == "?" || tag.empty();
    YamlNode& node = add(mark, anchor, plain ? plain_type(value) : Type::kString);
    node.text = value;
    node.tag = tag;
    attach(node);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    open(add(mark, anchor, Type::kSequence), tag, style);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    open(add(mark, anchor, Type::kMap), tag, style);
  }
  void OnMapEnd() override { close(); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    end_collections(offset_of(mark));
    YamlNode* node = anchor < anchors_.size() ? anchors_[anchor] : nullptr;
    const bool unfinished =
        node == nullptr || std::any_of(open_.begin(), open_.end(),
                                       [&](const Open& open) { return open.node == node; });
    if (unfinished) {
      throw Refusal{position_of(mark),
                    "an alias stands inside of its own anchor; expected a value; write it out"};
    }
    node->aliased = true;
    attach(*node, position_of(mark));
  }

 private:
  struct Open {
    YamlNode* node;
    const YamlNode* key = nullptr;  // of a map: read, its value is next
  };

  size_t offset_of(const YAML::Mark& mark) const {
    if (mark.is_null() || mark.pos < 0) return 0;
    return std::min(static_cast<size_t>(mark.pos), text_.size());
  }

  // The parser does not say where a collection ended, only where the next thing begins.
  void end_collections(size_t offset) {
    for (YamlNode* node : ended_) node->following = offset;
    ended_.clear();
  }

  YamlNode& add(const YAML::Mark& mark, YAML::anchor_t anchor, Type type) {
    if (stream_.nodes.size() >= limits_.nodes) refuse_size(position_of(mark));
    if (stream_.nodes.size() >= values_of(text_)) {
      throw Refusal{position_of(mark),
                    "values without end; expected YAML; check indentation and commas"};
    }
    end_collections(offset_of(mark));
    YamlNode& node = stream_.nodes.emplace_back();
    node.type = type;
    node.where = position_of(mark);
    node.begin = offset_of(mark);
    if (anchor != 0) {
      if (anchors_.size() <= anchor) anchors_.resize(anchor + 1);
      anchors_[anchor] = &node;
    }
    return node;
  }

  void open(YamlNode& node, const std::string& tag, YAML::EmitterStyle::value style) {
    node.tag = tag;
    node.flow = style == YAML::EmitterStyle::Flow;
    if (open_.size() == limits_.depth) refuse_size(node.where);
    open_.push_back({&node});
  }

  void close() {
    YamlNode& node = *open_.back().node;
    open_.pop_back();
    ended_.push_back(&node);
    attach(node);
  }

  [[noreturn]] void refuse_size(Position where) const {
    throw Refusal{
        where, "the text is too deep or, with aliases followed, too large; expected at most " +
                   std::to_string(limits_.depth) + " levels and " + std::to_string(limits_.nodes) +
                   " values; " + limits_.advice};
  }

  void attach(const YamlNode& child) { attach(child, child.where); }

  // Gives a finished node to the container that is open, as seen at `where`.
  void attach(const YamlNode& child, Position where) {
    if (open_.empty()) {
      stream_.documents.push_back(&child);
      return;
    }
    Open& open = open_.back();
    YamlNode& parent = *open.node;
    parent.expanded += child.expanded;
    parent.height = std::max(parent.height, child.height + 1);
    if (parent.expanded > limits_.nodes || open_.size() + child.height > limits_.depth + 1) {
      refuse_size(where);
    }
    if (parent.type == Type::kSequence) {
      parent.items.push_back(&child);
    } else if (open.key != nullptr) {
      parent.entries.push_back({open.key, &child});
      open.key = nullptr;
    } else {
      open.key = &child;
    }
  }

  std::string_view text_;
  const YamlLimits& limits_;
  YamlStream& stream_;
  std::vector<Open> open_;
  std::vector<YamlNode*> ended_;    // whose following is not known yet
  std::vector<YamlNode*> anchors_;  // by anchor number
};

// The first byte of `text` that starts no valid UTF-8 character or is a control character other
// than tab and line ends; text.size() if there is none. (yaml-cpp takes 0x04 for the end of the
// input.)
size_t first_bad_byte(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto [bytes, code] = first_character(text.substr(i));
    const bool control =
        (code < 0x20 && code != '\t' && code != '\n' && code != '\r') || code == 0x7F;
    if (bytes == 0 || control) return i;
    i += bytes;
  }
  return text.size();
}

Position position_in(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return {static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(offset - line_start) + 1};
}

void refuse_text(std::string_view text, const YamlLimits& limits) {
  if (text.size() > limits.bytes) {
    throw Refusal{{1, 1},
                  "the text has more than " + std::to_string(limits.bytes) +
                      " bytes; expected at most that; " + limits.advice};
  }
  if (const std::optional<Position> bad = find_non_text(text)) {
    throw Refusal{*bad,
                  "a byte that is not text; expected UTF-8 without control characters; remove it"};
  }
}

}  // namespace

std::optional<Position> find_non_text(std::string_view text) {
  const size_t bad = first_bad_byte(text);
  if (bad == text.size()) return std::nullopt;
  return position_in(text, bad);
}

std::string at_position(std::string_view file, Position where, const std::string& text) {
  return printable(file) + ":" + std::to_string(where.line) + ":" + std::to_string(where.column) +
         ": " + printable(text);
}

namespace {

// The parser takes a tab for a part of what follows, and says nothing of it.
bool is_behind_tab(std::string_view text, Position where) {
  size_t start = 0;
  for (int line = 1; line < where.line && start < text.size(); ++line) {
    const size_t newline = text.find('\n', start);
    start = newline == text.npos ? text.size() : newline + 1;
  }
  const size_t end = std::min(text.find_first_not_of(" \t", start), text.size());
  return text.substr(start, end - start).find('\t') != text.npos;
}

std::string syntax_message(std::string_view text, const YAML::Exception& error) {
  if (is_behind_tab(text, position_of(error.mark))) {
    return "a tab stands in the indentation (" + error.msg + "); expected spaces; replace it";
  }
  return error.msg + "; expected YAML; check indentation, quotes and brackets";
}

}  // namespace

Result<YamlStream> read_yaml(std::string_view text, std::string_view file, const YamlLimits& limits,
                             int first_line) {
  YamlStream stream;
  const auto error_at = [&](Position where, const std::string& message) {
    return Error{at_position(file, {where.line + first_line - 1, where.column}, message)};
  };
  try {
    refuse_text(text, limits);
    std::istringstream bytes{std::string(text)};
    YAML::Parser parser(bytes);
    TreeBuilder builder(text, limits, stream);
    while (parser.HandleNextDocument(builder)) {
    }
    return Result<YamlStream>(std::move(stream));
  } catch (const Refusal& refusal) {
    return error_at(refusal.where, refusal.message);
  } catch (const YAML::Exception& error) {
    return error_at(position_of(error.mark), syntax_message(text, error));
  }
}

}  // namespace shmrec
