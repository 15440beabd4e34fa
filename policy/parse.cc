// The parser is tables (yaml_fields.h): each object of the policy (segment, match, limits, ...) has
// one, and the tests hold schema.json against them.
#include "policy/glob.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/words.h"
#include "policy/yaml_fields.h"

namespace shmrec {
namespace {

using Type = YamlNode::Type;

constexpr size_t kMaxRuleNameBytes = 64;

void read_size(Problems& problems, const Field& field, const SizeBounds& bounds, uint64_t& out) {
  if (field.value.type != Type::kInteger && field.value.type != Type::kString)
    return report_type(problems, field, "a size", "write for example 256MiB");
  const std::optional<uint64_t> bytes = size_of(field.value);
  const std::string problem = size_problem(bounds, bytes, field.value.text);
  if (problem.empty()) {
    out = *bytes;
  } else {
    problems.report(field.value.where, quoted(field.key.text) + ": " + problem);
  }
}

void read_wait(Problems& problems, const Field& field, SidecarUse& sidecar) {
  if (!is_type(problems, field, Type::kString, "a duration", "write for example 5s")) return;
  const std::optional<uint64_t> ms = parse_duration(field.value.text);
  const std::string problem = wait_problem(ms, field.value.text);
  if (problem.empty()) {
    sidecar.wait_ms = *ms;
  } else {
    problems.report(field.value.where, quoted(field.key.text) + ": " + problem);
  }
}

// ---- match --------------------------------------------------------------------------------------

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

// ---- segments -----------------------------------------------------------------------------------

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
    {"accesses",
     [](Problems& problems, const Field& field, SegmentRule& rule) {
       rule.accesses = read_word(problems, field, kAccessesWords);
     }},
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
    refuse("accesses", "trace or shadow");
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

// ---- The other objects --------------------------------------------------------------------------

constexpr Key<Policy> kDefaultsKeys[] = {
    {"mode",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kDefaultModeWords, policy.default_mode);
     }},
    {"order",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kOrderWords, policy.default_order);
     }},
    {"accesses",
     [](Problems& problems, const Field& field, Policy& policy) {
       assign_word(problems, field, kAccessesWords, policy.default_accesses);
     }},
};

template <size_t kIndex>
void read_limit(Problems& problems, const Field& field, Limits& limits) {
  const LimitWord& limit = kLimitWords[kIndex];
  read_size(problems, field, {limit.least, limit.most}, limits.*limit.bytes);
}
void read_slowdown(Problems& problems, const Field& field, Limits& limits) {
  if (field.value.type != Type::kInteger && field.value.type != Type::kFloat)
    return report_type(problems, field, "a number", "write for example 2.0");
  const std::optional<uint64_t> thousandths = parse_slowdown(field.value.text);
  const std::string problem = slowdown_problem(thousandths, field.value.text);
  if (problem.empty())
    limits.max_slowdown = static_cast<uint32_t>(*thousandths);
  else
    problems.report(field.value.where, quoted(field.key.text) + ": " + problem);
}
constexpr Key<Limits> kLimitKeys[] = {
    {kLimitWords[0].key, read_limit<0>},
    {kLimitWords[1].key, read_limit<1>},
    {kLimitWords[2].key, read_limit<2>},
    {kMaxSlowdownKey, read_slowdown},
};
static_assert(std::size(kLimitKeys) == std::size(kLimitWords) + 1);

void read_core_occasions(Problems& problems, const Field& field, CoreChoice& core) {
  for (const auto member : kCoreOccasionMembers) core.*member = false;
  read_list(problems, field, kMaxListItems, [&](const Field& item) {
    CoreOccasion occasion = CoreOccasion::kNone;
    assign_word(problems, item, kCoreOccasionWords, occasion);
    if (occasion != CoreOccasion::kNone)
      core.*kCoreOccasionMembers[static_cast<size_t>(occasion)] = true;
  });
}
constexpr Key<CoreChoice> kCoreKeys[] = {
    {"on", read_core_occasions},
    {"memory",
     [](Problems& problems, const Field& field, CoreChoice& core) {
       assign_word(problems, field, kCoreMemoryWords, core.memory);
     }},
    {"limit",
     [](Problems& problems, const Field& field, CoreChoice& core) {
       read_size(problems, field, kCoreLimitBounds, core.limit_bytes);
     }},
};

template <bool Collect::*kMember>
void read_collect(Problems& problems, const Field& field, Collect& collect) {
  read_bool(problems, field, collect.*kMember);
}
constexpr Key<Collect> kCollectKeys[] = {
    {"binaries", read_collect<&Collect::binaries>},
    {"libraries", read_collect<&Collect::libraries>},
    {"environment", read_collect<&Collect::environment>},
    {"launcherLog", read_collect<&Collect::launcher_log>},
    {"core", [](Problems& problems, const Field& field,
                Collect& collect) { read_submap(problems, field, kCoreKeys, collect.core); }},
};

template <std::vector<std::string> Redaction::*kMember>
void read_redaction(Problems& problems, const Field& field, Redaction& redaction) {
  read_globs(problems, field, redaction.*kMember);
}
constexpr Key<Redaction> kRedactionKeys[] = {
    {"environment", read_redaction<&Redaction::environment>},
    {"arguments", read_redaction<&Redaction::arguments>},
};

constexpr Key<SidecarUse> kSidecarKeys[] = {
    {"wait", read_wait},
    {"required", [](Problems& problems, const Field& field,
                    SidecarUse& sidecar) { read_bool(problems, field, sidecar.required); }},
};

void read_limits(Problems& problems, const Field& field, Policy& policy) {
  read_submap(problems, field, kLimitKeys, policy.limits);
  const LimitWord* conflict = conflicting_limit(policy.limits);
  if (conflict == nullptr) return;
  const bool given = find_field(field.value, conflict->key).has_value();
  problems.report(key_position(field.value, given ? conflict->key : "spoolSize"),
                  conflict_message(*conflict, policy.limits));
}

constexpr std::string_view kKind = "Policy";

constexpr Key<Policy> kPolicyKeys[] = {
    {"apiVersion", read_constant<Policy, kApiVersion>},
    {"kind", read_constant<Policy, kKind>},
    {"level", [](Problems& problems, const Field& field,
                 Policy& policy) { assign_word(problems, field, kLevelWords, policy.level); }},
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
    {"sidecar", [](Problems& problems, const Field& field,
                   Policy& policy) { read_submap(problems, field, kSidecarKeys, policy.sidecar); }},
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

}  // namespace

Result<Policy> parse_policy(std::string_view text, std::string_view file) {
  const Result<YamlStream> settings = read_settings(text, file, kKind);
  if (!settings) return settings.error();
  const YamlNode& root = *settings->documents[0];
  Problems problems(file);
  Policy policy;
  policy.file = file;
  if (check_header(problems, root, kKind)) read_map(problems, root, "policy", kPolicyKeys, policy);
  if (problems.any()) return Error{problems.text()};
  return policy;
}

NameTable policy_keys() {
  return {{"policy", names_of(kPolicyKeys)},
          {"segment", names_of(kSegmentKeys)},
          {"match", names_of(kMatchKeys)},
          {"defaults", names_of(kDefaultsKeys)},
          {"limits", names_of(kLimitKeys)},
          {"collect", names_of(kCollectKeys)},
          {"redaction", names_of(kRedactionKeys)},
          {"sidecar", names_of(kSidecarKeys)},
          {"core", names_of(kCoreKeys)}};
}

NameTable policy_words() {
  return {{"mode", texts_of(kModeWords)},
          {"defaultMode", texts_of(kDefaultModeWords)},
          {"order", texts_of(kOrderWords)},
          {"accesses", texts_of(kAccessesWords)},
          {"level", texts_of(kLevelWords)},
          {"direction", texts_of(kDirectionWords)},
          {"coreOccasion", texts_of(kCoreOccasionWords)},
          {"coreMemory", texts_of(kCoreMemoryWords)},
          {"failurePolicy", texts_of(kFailurePolicyWords)},
          {"onLauncherDeath", texts_of(kLauncherDeathWords)}};
}

}  // namespace shmrec
