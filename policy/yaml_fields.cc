#include "policy/yaml_fields.h"

#include <charconv>

#include "policy/glob.h"

namespace shmrec {

using Type = YamlNode::Type;

namespace {

constexpr size_t kMaxProblems = 20;

}  // namespace

void Problems::report(Position where, const std::string& message) {
  if (++count_ > kMaxProblems) return;
  if (!text_.empty()) text_ += '\n';
  text_ += at_position(file_, moved_ ? moved_(where) : where, message);
}

std::string Problems::text() const {
  if (count_ <= kMaxProblems) return text_;
  return text_ + "\n" + file_ + ": " + std::to_string(count_ - kMaxProblems) + " more";
}

const char* describe(const YamlNode& node) {
  switch (node.type) {
    case Type::kNull:
      return "nothing";
    case Type::kBool:
      return "true or false";
    case Type::kInteger:
    case Type::kFloat:
      return "a number";
    case Type::kString:
      return "a string";
    case Type::kSequence:
      return "a list";
    case Type::kMap:
      return "a map";
  }
  return "";
}

void report_type(Problems& problems, const Field& field, const std::string& expected,
                 const std::string& fix) {
  problems.report(field.where(), quoted(field.key.text) + " is " + describe(field.value) +
                                     "; expected " + expected + "; " + fix);
}

bool is_type(Problems& problems, const Field& field, Type type, const std::string& expected,
             const std::string& fix) {
  if (field.value.type == type) return true;
  report_type(problems, field, expected, fix);
  return false;
}

// ---- Maps and lists

void report_unknown_key(Problems& problems, const YamlNode& key, std::string_view object,
                        const std::vector<std::string>& known) {
  if (key.text == "<<") {
    problems.report(key.where,
                    "merge keys are not supported; expected keys written out; copy them "
                    "here, or use an alias for a whole value");
    return;
  }
  const std::string nearest = nearest_name(key.text, known);
  problems.report(key.where, "unknown key " + quoted(key.text) + " in " + std::string(object) +
                                 did_you_mean(key.text, known) + "; expected " + one_of(known) +
                                 "; " + (nearest.empty() ? "remove it" : "write " + nearest));
}

std::optional<Field> find_field(const YamlNode& map, std::string_view name) {
  for (const YamlNode::Entry& entry : map.entries) {
    if (entry.key->text == name) return Field{*entry.key, *entry.value};
  }
  return std::nullopt;
}

Position key_position(const YamlNode& map, std::string_view name) {
  const std::optional<Field> field = find_field(map, name);
  return field ? field->key.where : map.where;
}

bool is_list(Problems& problems, const Field& field, size_t most) {
  if (!is_type(problems, field, Type::kSequence, "a list",
               "write [A, B] or lines that begin with '-'"))
    return false;
  if (field.value.items.size() <= most) return true;
  problems.report(field.value.where, quoted(field.key.text) + " has " +
                                         std::to_string(field.value.items.size()) +
                                         " items; expected at most " + std::to_string(most) +
                                         "; join some by patterns");
  return false;
}

// ---- Values

std::optional<std::string> read_string(Problems& problems, const Field& field, size_t most) {
  if (field.value.type != Type::kString) {
    const bool scalar = !field.value.text.empty();
    report_type(problems, field, "a string",
                scalar ? "put it into quotes: \"" + field.value.text + "\"" : "write one");
    return std::nullopt;
  }
  const std::string& text = field.value.text;
  const bool control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  if (!text.empty() && text.size() <= most && !control) return text;
  problems.report(field.value.where, quoted(field.key.text) +
                                         (text.empty() ? " is empty"
                                          : control    ? " has a control character"
                                                       : " is too long") +
                                         "; expected 1 to " + std::to_string(most) +
                                         " bytes of text; " +
                                         (text.empty() ? "write it or remove the key"
                                          : control    ? "write '?' in its place"
                                                       : "shorten it, for example by '**'"));
  return std::nullopt;
}

std::optional<std::string> read_glob(Problems& problems, const Field& field, size_t most) {
  const std::optional<std::string> text = read_string(problems, field, most);
  if (!text) return std::nullopt;
  size_t at = 0;
  const char* error = glob_error(text->data(), text->size(), at);
  if (error == nullptr) return text;
  problems.report(field.value.where, "pattern " + quoted(*text) + " is wrong at byte " +
                                         std::to_string(at + 1) + ": " + error +
                                         "; expected *, **, ?, [abc], [a-z], [!a] or \\c; quote a "
                                         "character that stands for itself by a backslash");
  return std::nullopt;
}

void read_globs(Problems& problems, const Field& field, std::vector<std::string>& out) {
  out.clear();
  read_list(problems, field, kMaxListItems, [&](const Field& item) {
    if (std::optional<std::string> glob = read_glob(problems, item, kMaxGlobBytes)) {
      out.push_back(std::move(*glob));
    }
  });
}

void read_bool(Problems& problems, const Field& field, bool& out) {
  if (is_type(problems, field, Type::kBool, "true or false",
              "write true or false without quotes")) {
    out = field.value.text[0] == 't' || field.value.text[0] == 'T';
  }
}

std::optional<int64_t> integer_of(const YamlNode& node) {
  std::string_view text = node.text;
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0o")) {
    base = text[1] == 'x' ? 16 : 8;
    text.remove_prefix(2);
  } else if (text.starts_with('+')) {
    text.remove_prefix(1);
  }
  int64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint64_t> size_of(const YamlNode& node) {
  if (node.type == Type::kString) return parse_size(node.text);
  const std::optional<int64_t> value =
      node.type == Type::kInteger ? integer_of(node) : std::nullopt;
  return value && *value >= 0 ? std::optional<uint64_t>(*value) : std::nullopt;
}

// ---- Documents

void check_constant(Problems& problems, const Field& field, std::string_view expected) {
  if (field.value.type == Type::kString && field.value.text == expected) return;
  problems.report(
      field.where(),
      quoted(field.key.text) + " is " +
          (field.value.text.empty() ? describe(field.value) : quoted(field.value.text)) +
          "; expected " + std::string(expected) + "; write " + std::string(expected));
}

bool check_header(Problems& problems, const YamlNode& root, std::string_view kind) {
  if (root.type != Type::kMap) {
    problems.report(root.where, std::string("the document is ") + describe(root) +
                                    "; expected a map; start with 'apiVersion: " +
                                    std::string(kApiVersion) + "'");
    return false;
  }
  for (std::string_view name : {"apiVersion", "kind"}) {
    if (find_field(root, name)) continue;
    const std::string_view value = name == "kind" ? kind : kApiVersion;
    problems.report(root.where, "no '" + std::string(name) + "'; expected " + std::string(name) +
                                    ": " + std::string(value) + "; add that line");
  }
  return true;
}

}  // namespace shmrec
