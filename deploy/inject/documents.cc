#include "deploy/inject/documents.h"

#include <algorithm>

namespace shmrec::inject {
namespace {

using Type = YamlNode::Type;

// "---" in the first column starts a document wherever it stands, also within a quoted or literal
// text; "..." ends one.
bool is_marker(std::string_view line, std::string_view marker) {
  return line.starts_with(marker) &&
         (line.size() == 3 || std::string_view(" \t\r\n").find(line[3]) != std::string_view::npos);
}

// Nothing of a document yet: directives and comments.
bool is_preface(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r\n");
  return first == line.npos || line[first] == '#' || line[0] == '%';
}

// In lines that are no comments, outside of quotes.
size_t find_braces(std::string_view text) {
  for (size_t at = text.find("{{"); at != text.npos; at = text.find("{{", at + 1)) {
    const size_t start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 == 0
    const std::string_view before = text.substr(start, at - start);
    const size_t first = before.find_first_not_of(" \t");
    const bool comment = first != before.npos && before[first] == '#';
    const bool quoted = std::count(before.begin(), before.end(), '"') % 2 == 1 ||
                        std::count(before.begin(), before.end(), '\'') % 2 == 1;
    if (!comment && !quoted) return at;
  }
  return text.npos;
}

}  // namespace

std::vector<Document> split_documents(std::string_view text) {
  std::vector<Document> out;
  size_t start = 0;
  int line = 1, first_line = 1;
  bool directives = false, content = false;
  for (size_t at = 0; at < text.size();) {
    const size_t newline = text.find('\n', at);
    const size_t next = newline == text.npos ? text.size() : newline + 1;
    const std::string_view whole = text.substr(at, next - at);
    if (is_marker(whole, "---")) {
      // Directives belong to the document behind them.
      if (at > start && (content || !directives)) {
        out.push_back({text.substr(start, at - start), first_line});
        start = at;
        first_line = line;
      }
      directives = false;
      content = true;
    } else if (is_marker(whole, "...")) {
      directives = content = false;
    } else if (!is_preface(whole)) {
      content = true;
    } else if (!content && whole[0] == '%') {
      directives = true;
    }
    at = next;
    ++line;
  }
  if (start < text.size()) out.push_back({text.substr(start), first_line});
  return out;
}

std::optional<Position> find_template(std::string_view text, const YamlStream* stream) {
  if (stream == nullptr) {
    const size_t at = find_braces(text);
    return at == text.npos ? std::nullopt : std::optional(position_in(text, at));
  }
  // To YAML, {{ a }} is a map whose only key is a map.
  for (const YamlNode& node : stream->nodes) {
    const bool braces = node.type == Type::kMap && node.flow && node.entries.size() == 1 &&
                        node.entries[0].key->type == Type::kMap && node.entries[0].key->flow &&
                        text.substr(node.begin).starts_with("{{");
    if (braces) return node.where;
  }
  return std::nullopt;
}

Position position_in(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return {static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(offset - line_start) + 1};
}

size_t offset_of(std::string_view text, Position where) {
  size_t at = 0;
  for (int line = 1; line < where.line && at < text.size(); ++line) {
    const size_t newline = text.find('\n', at);
    at = newline == text.npos ? text.size() : newline + 1;
  }
  return std::min(at + static_cast<size_t>(std::max(where.column, 1) - 1), text.size());
}

}  // namespace shmrec::inject
