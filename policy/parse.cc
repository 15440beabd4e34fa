// The parser is tables: each object of the policy (segment, match, limits, ...) has a table of its
// keys, each key a function that reads one value. read_map walks an object against its table, so
// that unknown and repeated keys are found in one place and the tests can hold schema.json against
// the tables. All mistakes are collected; a value with a mistake leaves the default in place, and
// the result is thrown away if there was any.
#include <algorithm>
#include <charconv>
#include <set>

#include "policy/glob.h"
#include "policy/policy.h"
#include "policy/suggest.h"
#include "policy/words.h"
#include "policy/yaml_tree.h"

namespace shmrec {
namespace {

using Type = YamlNode::Type;

constexpr size_t kMaxProblems = 20;
constexpr size_t kMaxListItems = 64;
constexpr size_t kMaxRuleNameBytes = 64;

struct Field {
  const YamlNode& key;
  const YamlNode& value;
  // An absent value has no place of its own.
  Position where() const { return value.type == Type::kNull ? key.where : value.where; }
};

class Problems {
 public:
  explicit Problems(std::string_view file) : file_(file) {}

  // `message`: "what; expected ...; do ...".
  void report(Position where, const std::string& message) {
    if (++count_ > kMaxProblems) return;
    if (!text_.empty()) text_ += '\n';
    text_ += at_position(file_, where, message);
  }
  bool any() const { return count_ > 0; }
  std::string text() const {
    if (count_ <= kMaxProblems) return text_;
    return text_ + "\n" + file_ + ": " + std::to_string(count_ - kMaxProblems) + " more";
  }

 private:
  std::string file_;
  std::string text_;
  size_t count_ = 0;
};

template <typename T>
struct Key {
  std::string_view name;
  void (*read)(Problems&, const Field&, T&);
};

template <typename T, size_t N>
std::vector<std::string> names_of(const Key<T> (&keys)[N]) {
  std::vector<std::string> names;
  for (const Key<T>& key : keys) names.emplace_back(key.name);
  return names;
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

// ---- Maps and lists ----------------------------------------------------------------------------

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

template <typename T, size_t N>
void read_map(Problems& problems, const YamlNode& map, std::string_view object,
              const Key<T> (&keys)[N], T& out) {
  std::set<std::string_view> seen;
  for (const YamlNode::Entry& entry : map.entries) {
    const std::string_view name = entry.key->text;
    const auto known = std::find_if(std::begin(keys), std::end(keys),
                                    [&](const Key<T>& key) { return key.name == name; });
    if (known == std::end(keys)) {
      report_unknown_key(problems, *entry.key, object, names_of(keys));
    } else if (!seen.insert(name).second) {
      problems.report(entry.key->where, "key " + quoted(name) + " is given twice in " +
                                            std::string(object) + "; expected it once; remove one");
    } else {
      known->read(problems, Field{*entry.key, *entry.value}, out);
    }
  }
}

template <typename T, size_t N>
void read_submap(Problems& problems, const Field& field, const Key<T> (&keys)[N], T& out) {
  if (is_type(problems, field, Type::kMap, "a map", "write its keys indented below")) {
    read_map(problems, field.value, field.key.text, keys, out);
  }
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

// Calls read(item) for each item of a list of at most `most`.
template <typename Read>
void read_list(Problems& problems, const Field& field, size_t most, Read read) {
  if (!is_type(problems, field, Type::kSequence, "a list",
               "write [A, B] or lines that begin with '-'"))
    return;
  if (field.value.items.size() > most) {
    problems.report(field.value.where, quoted(field.key.text) + " has " +
                                           std::to_string(field.value.items.size()) +
                                           " items; expected at most " + std::to_string(most) +
                                           "; join some by patterns");
    return;
  }
  for (const YamlNode* item : field.value.items) read(Field{field.key, *item});
}

// ---- Values
// --------------------------------------------------------------------------------------

// A string that is not empty and has no control characters; else reported and nothing.
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

template <typename T, size_t N>
std::optional<T> read_word(Problems& problems, const Field& field, const Word<T> (&words)[N]) {
  const std::vector<std::string> texts = texts_of(words);
  if (!is_type(problems, field, Type::kString, one_of(texts), "write " + texts[0])) {
    return std::nullopt;
  }
  const std::optional<T> value = find_word(words, field.value.text);
  if (value) return value;
  const std::string nearest = nearest_name(field.value.text, texts);
  problems.report(field.value.where, quoted(field.key.text) + " is " + quoted(field.value.text) +
                                         did_you_mean(field.value.text, texts) + "; expected " +
                                         one_of(texts) + "; write " +
                                         (nearest.empty() ? texts[0] : nearest));
  return std::nullopt;
}

template <typename T, size_t N>
void assign_word(Problems& problems, const Field& field, const Word<T> (&words)[N], T& out) {
  if (const std::optional<T> value = read_word(problems, field, words)) out = *value;
}

void read_bool(Problems& problems, const Field& field, bool& out) {
  if (is_type(problems, field, Type::kBool, "true or false",
              "write true or false without quotes")) {
    out = field.value.text[0] == 't' || field.value.text[0] == 'T';
  }
}

// REQUIRES: node.type == kInteger. Nothing if it does not fit.
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

void read_size(Problems& problems, const Field& field, const LimitWord& limit, Limits& out) {
  std::optional<uint64_t> bytes;
  if (field.value.type == Type::kInteger) {
    const std::optional<int64_t> value = integer_of(field.value);
    if (value && *value >= 0) bytes = static_cast<uint64_t>(*value);
  } else if (field.value.type == Type::kString) {
    bytes = parse_size(field.value.text);
  } else {
    report_type(problems, field, "a size", "write for example 256MiB");
    return;
  }
  const std::string problem = size_problem(limit, bytes, field.value.text);
  if (problem.empty()) {
    out.*limit.bytes = *bytes;
  } else {
    problems.report(field.value.where, quoted(field.key.text) + ": " + problem);
  }
}

void read_globs(Problems& problems, const Field& field, std::vector<std::string>& out) {
  out.clear();
  read_list(problems, field, kMaxListItems, [&](const Field& item) {
    if (std::optional<std::string> glob = read_glob(problems, item, kMaxGlobBytes)) {
      out.push_back(std::move(*glob));
    }
  });
}

// ---- match
// ---------------------------------------------------------------------------------------

struct MatchDraft {
  SegmentMatch match;
  std::string kind_key;  // the key that gave the kind
};

bool set_kind(Problems& problems, const Field& field, SegmentKind kind, MatchDraft& draft) {
  if (draft.kind_key.empty()) {
    draft.kind_key = field.key.text;
    draft.match.kind = kind;
    return true;
  }
  problems.report(field.key.where,
                  quoted(draft.kind_key) + " and " + quoted(field.key.text) +
                      " exclude each other: a segment is of one kind; expected one "
                      "of them; write two rules");
  return false;
}

void read_path(Problems& problems, const Field& field, std::string& out) {
  const std::optional<std::string> glob = read_glob(problems, field, kMaxGlobBytes);
  if (!glob) return;
  out = *glob;
  if (glob->starts_with('/') || glob->starts_with("**")) return;
  problems.report(field.value.where,
                  quoted(field.key.text) + " is " + quoted(*glob) +
                      ", which no absolute path matches; expected a pattern that "
                      "begins with '/' or '**'; write " +
                      quoted("**/" + *glob));
}

void check_name_fits(Problems& problems, const Field& field, const std::string& name) {
  constexpr size_t kMost = sizeof(shmlog::PolicyRule::name) - 1;
  if (name.size() <= kMost) return;
  problems.report(field.value.where, quoted(field.key.text) + " has " +
                                         std::to_string(name.size()) + " bytes; expected at most " +
                                         std::to_string(kMost) +
                                         "; shorten it, for example by '**'");
}

// What lies in /dev/shm is POSIX shared memory, however it was opened.
void read_file_path(Problems& problems, const Field& field, MatchDraft& draft) {
  constexpr std::string_view kShm = "/dev/shm/";
  if (!set_kind(problems, field, SegmentKind::kFile, draft)) return;
  std::string& name = draft.match.name;
  read_path(problems, field, name);
  check_name_fits(problems, field, name);
  if (!name.starts_with(kShm)) return;
  problems.report(field.value.where,
                  "'path' is " + quoted(name) +
                      ", but what lies there is POSIX shared memory, not a file; "
                      "expected another path; write 'posix: " +
                      name.substr(kShm.size() - 1) + "'");
}

// Names begin with a slash, which shm_open's callers may leave out.
void read_posix(Problems& problems, const Field& field, MatchDraft& draft) {
  if (!set_kind(problems, field, SegmentKind::kPosixShm, draft)) return;
  const std::optional<std::string> glob = read_glob(problems, field, kMaxGlobBytes);
  if (!glob) return;
  draft.match.name = glob->starts_with('/') ? *glob : "/" + *glob;
  check_name_fits(problems, field, draft.match.name);
  if (glob->find_first_not_of('/') != std::string::npos) return;
  problems.report(field.value.where,
                  "'posix' is " + quoted(*glob) +
                      ", which names nothing; expected /NAME; write the name that "
                      "shm_open gets");
}

void read_memfd(Problems& problems, const Field& field, MatchDraft& draft) {
  if (!set_kind(problems, field, SegmentKind::kMemfd, draft)) return;
  if (std::optional<std::string> glob = read_glob(problems, field, kMaxGlobBytes)) {
    draft.match.name = std::move(*glob);
    check_name_fits(problems, field, draft.match.name);
  }
}

void read_sysv(Problems& problems, const Field& field, MatchDraft& draft) {
  if (!set_kind(problems, field, SegmentKind::kSysV, draft)) return;
  if (field.value.type == Type::kString && field.value.text == "*") return;
  std::optional<int64_t> key;
  if (field.value.type == Type::kInteger) key = integer_of(field.value);
  if (key && *key >= INT32_MIN && *key <= UINT32_MAX) {
    draft.match.sysv_key = static_cast<int32_t>(*key);
    return;
  }
  report_type(problems, field, "a 32-bit key or \"*\" for any",
              "write the key as ipcs shows it, for example 0x0052e2c1, without quotes");
}

void read_anonymous(Problems& problems, const Field& field, MatchDraft& draft) {
  if (!set_kind(problems, field, SegmentKind::kAnonymous, draft)) return;
  bool anonymous = true;
  read_bool(problems, field, anonymous);
  if (anonymous) return;
  problems.report(field.value.where,
                  "'anonymous' is false, which matches nothing; expected true; remove the key");
}

constexpr Key<MatchDraft> kMatchKeys[] = {
    {"path", read_file_path},
    {"posix", read_posix},
    {"memfd", read_memfd},
    {"sysv", read_sysv},
    {"anonymous", read_anonymous},
    {"executable", [](Problems& problems, const Field& field,
                      MatchDraft& draft) { read_path(problems, field, draft.match.executable); }},
};

void read_match(Problems& problems, const Field& field, SegmentRule& rule) {
  MatchDraft draft;
  read_submap(problems, field, kMatchKeys, draft);
  rule.match = draft.match;
  if (field.value.type != Type::kMap || !field.value.entries.empty()) return;
  problems.report(field.where(), "'match' is empty; expected " + one_of(names_of(kMatchKeys)) +
                                     "; name the segments, or use 'defaults' for all of them");
}

// ---- segments
// ------------------------------------------------------------------------------------

constexpr Key<SegmentRule> kSegmentKeys[] = {
    {"name",
     [](Problems& problems, const Field& field, SegmentRule& rule) {
       rule.name = read_string(problems, field, kMaxRuleNameBytes).value_or("");
     }},
    {"match", read_match},
    {"mode", [](Problems& problems, const Field& field,
                SegmentRule& rule) { assign_word(problems, field, kModeWords, rule.mode); }},
    {"order", [](Problems& problems, const Field& field,
                 SegmentRule& rule) { rule.order = read_word(problems, field, kOrderWords); }},
    {"direction",
     [](Problems& problems, const Field& field, SegmentRule& rule) {
       rule.direction = read_word(problems, field, kDirectionWords);
     }},
    {"peers",
     [](Problems& problems, const Field& field, SegmentRule& rule) {
       read_list(problems, field, kMaxListItems,
                 [&](const Field& item) { read_path(problems, item, rule.peers.emplace_back()); });
     }},
};

// Keys that mean nothing with the rule's mode contradict it.
void check_mode(Problems& problems, const YamlNode& map, const SegmentRule& rule) {
  const std::string mode(word_of(kModeWords, rule.mode));
  auto refuse = [&](std::string_view key, const std::string& expected) {
    const std::optional<Field> field = find_field(map, key);
    if (!field) return;
    problems.report(field->key.where, quoted(key) + " says nothing about a segment with mode " +
                                          mode + "; expected it with mode " + expected +
                                          " only; remove it or change the mode");
  };
  if (rule.mode != SegmentMode::kShadow) {
    refuse("direction", "shadow");
    refuse("peers", "shadow");
  } else if (!find_field(map, "direction")) {
    problems.report(key_position(map, "mode"),
                    "mode shadow without 'direction'; expected in, out or both; write 'direction: "
                    "both' if you do not know who writes");
  }
  if (rule.mode == SegmentMode::kIgnore || rule.mode == SegmentMode::kDeny) {
    refuse("order", "trace or shadow");
  }
}

bool is_literal(std::string_view pattern) { return pattern.find_first_of("*?[\\") == pattern.npos; }

// Whether whatever matches `later` matches `earlier`; may say no where it is hard to see.
bool pattern_covers(const std::string& earlier, const std::string& later) {
  if (earlier.empty() || earlier == later || earlier == "**") return true;
  return !later.empty() && is_literal(later) &&
         glob_match(earlier.data(), earlier.size(), later.data(), later.size());
}

bool covers(const SegmentMatch& earlier, const SegmentMatch& later) {
  return (!earlier.kind || earlier.kind == later.kind) &&
         (!earlier.sysv_key || earlier.sysv_key == later.sysv_key) &&
         pattern_covers(earlier.name, later.name) &&
         pattern_covers(earlier.executable, later.executable);
}

std::string rule_label(const SegmentRule& rule) {
  const std::string line = "line " + std::to_string(rule.where.line);
  return rule.name.empty() ? "the rule at " + line : "rule " + quoted(rule.name) + " at " + line;
}

// A rule that an earlier one leaves nothing to match, or that bears an earlier one's name.
void check_against_earlier(Problems& problems, const std::vector<SegmentRule>& rules,
                           const SegmentRule& rule) {
  for (const SegmentRule& earlier : rules) {
    if (!rule.name.empty() && earlier.name == rule.name) {
      problems.report(rule.where, "a second rule has the name " + quoted(rule.name) + " of " +
                                      rule_label(earlier) +
                                      "; expected different names; rename one");
    }
    if (!covers(earlier.match, rule.match)) continue;
    problems.report(rule.where, "this rule never matches, because " + rule_label(earlier) +
                                    " matches all that it would; expected narrower rules first; "
                                    "move it up or remove it");
    return;
  }
}

void read_segment(Problems& problems, const Field& item, std::vector<SegmentRule>& rules) {
  if (!is_type(problems, item, Type::kMap, "rules", "write '- match: {...}'")) return;
  SegmentRule rule;
  rule.where = item.value.where;
  read_map(problems, item.value, "segment rule", kSegmentKeys, rule);
  if (!find_field(item.value, "match")) {
    problems.report(rule.where,
                    "a rule without 'match'; expected match: {...}; name the segments, "
                    "or use 'defaults' for all of them");
  } else if (rule.match != SegmentMatch{}) {
    check_against_earlier(problems, rules, rule);
  }
  check_mode(problems, item.value, rule);
  rules.push_back(std::move(rule));
}

// ---- The other objects
// -----------------------------------------------------------------------------

constexpr Key<Policy> kDefaultsKeys[] = {
    {"mode",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kDefaultModeWords, policy.default_mode);
     }},
    {"order",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kOrderWords, policy.default_order);
     }},
};

template <size_t kIndex>
void read_limit(Problems& problems, const Field& field, Limits& limits) {
  read_size(problems, field, kLimitWords[kIndex], limits);
}
constexpr Key<Limits> kLimitKeys[] = {
    {kLimitWords[0].key, read_limit<0>},
    {kLimitWords[1].key, read_limit<1>},
    {kLimitWords[2].key, read_limit<2>},
};
static_assert(std::size(kLimitKeys) == std::size(kLimitWords));

template <bool Collect::*kMember>
void read_collect(Problems& problems, const Field& field, Collect& collect) {
  read_bool(problems, field, collect.*kMember);
}
constexpr Key<Collect> kCollectKeys[] = {
    {"binaries", read_collect<&Collect::binaries>},
    {"libraries", read_collect<&Collect::libraries>},
    {"environment", read_collect<&Collect::environment>},
    {"launcherLog", read_collect<&Collect::launcher_log>},
};

template <std::vector<std::string> Redaction::*kMember>
void read_redaction(Problems& problems, const Field& field, Redaction& redaction) {
  read_globs(problems, field, redaction.*kMember);
}
constexpr Key<Redaction> kRedactionKeys[] = {
    {"environment", read_redaction<&Redaction::environment>},
    {"arguments", read_redaction<&Redaction::arguments>},
};

void read_limits(Problems& problems, const Field& field, Policy& policy) {
  read_submap(problems, field, kLimitKeys, policy.limits);
  const LimitWord* conflict = conflicting_limit(policy.limits);
  if (conflict == nullptr) return;
  const bool given = find_field(field.value, conflict->key).has_value();
  problems.report(key_position(field.value, given ? conflict->key : "spoolSize"),
                  conflict_message(*conflict, policy.limits));
}

template <const std::string_view& kExpected>
void read_constant(Problems& problems, const Field& field, Policy&) {
  if (field.value.type == Type::kString && field.value.text == kExpected) return;
  problems.report(
      field.where(),
      quoted(field.key.text) + " is " +
          (field.value.text.empty() ? describe(field.value) : quoted(field.value.text)) +
          "; expected " + std::string(kExpected) + "; write " + std::string(kExpected));
}
constexpr std::string_view kApiVersion = "shmrec/v1";
constexpr std::string_view kKind = "Policy";

constexpr Key<Policy> kPolicyKeys[] = {
    {"apiVersion", read_constant<kApiVersion>},
    {"kind", read_constant<kKind>},
    {"segments",
     [](Problems& problems, const Field& field, Policy& policy) {
       read_list(problems, field, kMaxRules,
                 [&](const Field& item) { read_segment(problems, item, policy.segments); });
     }},
    {"defaults", [](Problems& problems, const Field& field,
                    Policy& policy) { read_submap(problems, field, kDefaultsKeys, policy); }},
    {"limits", read_limits},
    {"collect", [](Problems& problems, const Field& field,
                   Policy& policy) { read_submap(problems, field, kCollectKeys, policy.collect); }},
    {"redaction",
     [](Problems& problems, const Field& field, Policy& policy) {
       read_submap(problems, field, kRedactionKeys, policy.redaction);
     }},
    {"failurePolicy",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kFailurePolicyWords, policy.failure_policy);
     }},
    {"onLauncherDeath",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kLauncherDeathWords, policy.on_launcher_death);
     }},
    {"spoolDirectory",
     [](Problems& problems, const Field& field, Policy& policy) {
       const std::optional<std::string> path = read_string(problems, field, kMaxPolicyBytes);
       if (!path) return;
       const std::string problem = directory_problem(*path);
       if (!problem.empty()) problems.report(field.value.where, "'spoolDirectory': " + problem);
       policy.spool_directory = *path;
     }},
};

void check_header(Problems& problems, const YamlNode& root) {
  for (std::string_view name : {"apiVersion", "kind"}) {
    if (find_field(root, name)) continue;
    const std::string_view value = name == "kind" ? kKind : kApiVersion;
    problems.report(root.where, "no '" + std::string(name) + "'; expected " + std::string(name) +
                                    ": " + std::string(value) + "; add that line");
  }
}

}  // namespace

Result<Policy> parse_policy(std::string_view text, std::string_view file) {
  const Result<YamlDocument> document = parse_yaml(text, file);
  if (!document) return document.error();
  const YamlNode& root = *document->root;
  Problems problems(file);
  Policy policy;
  policy.file = file;
  if (root.type == Type::kMap) {
    check_header(problems, root);
    read_map(problems, root, "policy", kPolicyKeys, policy);
  } else {
    problems.report(root.where, std::string("the document is ") + describe(root) +
                                    "; expected a map; start with 'apiVersion: shmrec/v1'");
  }
  if (problems.any()) return Error{problems.text()};
  return policy;
}

NameTable policy_keys() {
  return {{"policy", names_of(kPolicyKeys)},      {"segment", names_of(kSegmentKeys)},
          {"match", names_of(kMatchKeys)},        {"defaults", names_of(kDefaultsKeys)},
          {"limits", names_of(kLimitKeys)},       {"collect", names_of(kCollectKeys)},
          {"redaction", names_of(kRedactionKeys)}};
}

NameTable policy_words() {
  return {{"mode", texts_of(kModeWords)},
          {"defaultMode", texts_of(kDefaultModeWords)},
          {"order", texts_of(kOrderWords)},
          {"direction", texts_of(kDirectionWords)},
          {"failurePolicy", texts_of(kFailurePolicyWords)},
          {"onLauncherDeath", texts_of(kLauncherDeathWords)}};
}

}  // namespace shmrec
