#include "deploy/inject/yaml_source.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

namespace shmrec::inject {
namespace {

using Type = SourceNode::Type;

// Thrown by SourceBuilder through yaml-cpp's parser, caught in read_source.
struct Refusal {
  Position where;
  std::string message;
};

Position position_of(const YAML::Mark& mark) {
  return mark.is_null() ? Position{1, 1} : Position{mark.line + 1, mark.column + 1};
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

class SourceBuilder : public YAML::EventHandler {
 public:
  SourceBuilder(std::string_view text, YamlSource& source) : text_(text), source_(source) {}

  void OnDocumentStart(const YAML::Mark&) override { anchors_.clear(); }
  void OnDocumentEnd() override {
    if (ended_.empty()) return;
    // The first line of a document may be its marker: "--- {a: b}".
    const size_t first = source_.documents.back()->begin;
    const size_t newline = text_.find('\n', first);
    end_collections(newline == text_.npos ? text_.size() : document_end(text_, newline + 1));
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    attach(add(mark, anchor, Type::kNull));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    SourceNode& node = add(mark, anchor, Type::kScalar);
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
    SourceNode* node = anchor < anchors_.size() ? anchors_[anchor] : nullptr;
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
    SourceNode* node;
    const SourceNode* key = nullptr;  // of a map: read, its value is next
  };

  size_t offset_of(const YAML::Mark& mark) const {
    if (mark.is_null() || mark.pos < 0) return 0;
    return std::min(static_cast<size_t>(mark.pos), text_.size());
  }

  // The parser does not say where a collection ended, only where the next thing begins.
  void end_collections(size_t offset) {
    for (SourceNode* node : ended_) node->following = offset;
    ended_.clear();
  }

  SourceNode& add(const YAML::Mark& mark, YAML::anchor_t anchor, Type type) {
    if (source_.nodes.size() >= kMaxSourceNodes) refuse_size(position_of(mark));
    end_collections(offset_of(mark));
    SourceNode& node = source_.nodes.emplace_back();
    node.type = type;
    node.where = position_of(mark);
    node.begin = offset_of(mark);
    if (anchor != 0) {
      if (anchors_.size() <= anchor) anchors_.resize(anchor + 1);
      anchors_[anchor] = &node;
    }
    return node;
  }

  void open(SourceNode& node, const std::string& tag, YAML::EmitterStyle::value style) {
    node.tag = tag;
    node.flow = style == YAML::EmitterStyle::Flow;
    if (open_.size() == kMaxSourceDepth) refuse_size(node.where);
    open_.push_back({&node});
  }

  void close() {
    SourceNode& node = *open_.back().node;
    open_.pop_back();
    ended_.push_back(&node);
    attach(node);
  }

  [[noreturn]] static void refuse_size(Position where) {
    throw Refusal{where,
                  "the text is too deep or, with aliases followed, too large; expected at most " +
                      std::to_string(kMaxSourceDepth) + " levels and " +
                      std::to_string(kMaxSourceNodes) + " values; take it apart"};
  }

  void attach(const SourceNode& child) { attach(child, child.where); }

  // Gives a finished node to the container that is open, as seen at `where`.
  void attach(const SourceNode& child, Position where) {
    if (open_.empty()) {
      source_.documents.push_back(&child);
      return;
    }
    Open& open = open_.back();
    SourceNode& parent = *open.node;
    parent.expanded += child.expanded;
    parent.height = std::max(parent.height, child.height + 1);
    if (parent.expanded > kMaxSourceNodes || open_.size() + child.height > kMaxSourceDepth + 1) {
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
  YamlSource& source_;
  std::vector<Open> open_;
  std::vector<SourceNode*> ended_;    // whose following is not known yet
  std::vector<SourceNode*> anchors_;  // by anchor number
};

void refuse_text(std::string_view text) {
  if (text.size() > kMaxSourceBytes) {
    throw Refusal{{1, 1},
                  "the text has more than " + std::to_string(kMaxSourceBytes) +
                      " bytes; expected manifests; give fewer at once"};
  }
  if (const std::optional<Position> bad = find_non_text(text)) {
    throw Refusal{*bad,
                  "a byte that is not text; expected UTF-8 without control characters; remove it"};
  }
  // yaml-cpp skips a byte order mark, and all offsets would be wrong.
  if (text.starts_with("\xEF\xBB\xBF")) {
    throw Refusal{{1, 1}, "a byte order mark; expected plain UTF-8; remove the first three bytes"};
  }
}

}  // namespace

Result<YamlSource> read_source(std::string_view text, std::string_view file) {
  YamlSource source;
  try {
    refuse_text(text);
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    SourceBuilder builder(text, source);
    while (parser.HandleNextDocument(builder)) {
    }
    return Result<YamlSource>(std::move(source));
  } catch (const Refusal& refusal) {
    return Error{at_position(file, refusal.where, refusal.message)};
  } catch (const YAML::Exception& error) {
    return Error{
        at_position(file, position_of(error.mark),
                    error.msg + "; expected YAML; check indentation, quotes and brackets")};
  }
}

const SourceNode* find_value(const SourceNode& map, std::string_view name) {
  for (const SourceNode::Entry& entry : map.entries) {
    if (entry.key->type == Type::kScalar && entry.key->text == name) return entry.value;
  }
  return nullptr;
}

namespace {

bool contains_items(const SourceNode& whole, const SourceNode& part) {
  auto at = whole.items.begin();
  for (const SourceNode* item : part.items) {
    at = std::find_if(at, whole.items.end(),
                      [&](const SourceNode* other) { return contains(*other, *item); });
    if (at++ == whole.items.end()) return false;
  }
  return true;
}

bool contains_entries(const SourceNode& whole, const SourceNode& part) {
  auto at = whole.entries.begin();
  for (const SourceNode::Entry& entry : part.entries) {
    at = std::find_if(at, whole.entries.end(), [&](const SourceNode::Entry& other) {
      return contains(*other.key, *entry.key) && contains(*other.value, *entry.value);
    });
    if (at++ == whole.entries.end()) return false;
  }
  return true;
}

}  // namespace

bool contains(const SourceNode& whole, const SourceNode& part) {
  // What had no value may get one.
  if (part.type == Type::kNull) return true;
  if (whole.type != part.type || whole.tag != part.tag) return false;
  switch (part.type) {
    case Type::kScalar:
      return whole.text == part.text;
    case Type::kSequence:
      return contains_items(whole, part);
    default:
      return contains_entries(whole, part);
  }
}

}  // namespace shmrec::inject
