#include "policy/policy.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "policy/words.h"
#include "policy/yaml_tree.h"

namespace shmrec {
namespace {

// Accepted strings hold no control characters, so that quotes and backslashes are all there is.
std::string yaml_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string yaml_list(const std::vector<std::string>& items) {
  std::string out = "[";
  for (const std::string& item : items) {
    if (out.size() > 1) out += ", ";
    out += yaml_string(item);
  }
  return out + "]";
}

std::string hex_key(int32_t key) {
  char text[16];
  snprintf(text, sizeof text, "0x%08x", static_cast<uint32_t>(key));
  return text;
}

std::string kind_yaml(const SegmentMatch& match) {
  switch (*match.kind) {
    case SegmentKind::kFile:
      return "path: " + yaml_string(match.name);
    case SegmentKind::kPosixShm:
      return "posix: " + yaml_string(match.name);
    case SegmentKind::kMemfd:
      return "memfd: " + yaml_string(match.name);
    case SegmentKind::kSysV:
      return "sysv: " + (match.sysv_key ? hex_key(*match.sysv_key) : std::string("\"*\""));
    case SegmentKind::kAnonymous:
      return "anonymous: true";
  }
  return "";
}

std::string match_yaml(const SegmentMatch& match) {
  std::string out = match.kind ? kind_yaml(match) : "";
  if (!match.executable.empty()) {
    out += (out.empty() ? "" : ", ") + ("executable: " + yaml_string(match.executable));
  }
  return "{" + out + "}";
}

std::string rule_yaml(const SegmentRule& rule) {
  std::string out = "  - match: " + match_yaml(rule.match) + "\n";
  auto line = [&](const char* key, std::string_view value) {
    out += std::string("    ") + key + ": " + std::string(value) + "\n";
  };
  if (!rule.name.empty()) line("name", yaml_string(rule.name));
  line("mode", word_of(kModeWords, rule.mode));
  if (rule.order) line("order", word_of(kOrderWords, *rule.order));
  if (rule.accesses) line("accesses", word_of(kAccessesWords, *rule.accesses));
  if (rule.direction) line("direction", word_of(kDirectionWords, *rule.direction));
  if (!rule.peers.empty()) line("peers", yaml_list(rule.peers));
  return out;
}

std::string segments_yaml(const std::vector<SegmentRule>& rules) {
  if (rules.empty()) return "segments: []\n";
  std::string out = "segments:\n";
  for (const SegmentRule& rule : rules) out += rule_yaml(rule);
  return out;
}

std::string limits_yaml(const Limits& limits) {
  std::string out = "limits:\n";
  for (const LimitWord& limit : kLimitWords) {
    out += "  " + std::string(limit.key) + ": " + format_size(limits.*limit.bytes) + "\n";
  }
  if (limits.max_slowdown != 0)
    out += "  " + std::string(kMaxSlowdownKey) + ": " + format_slowdown(limits.max_slowdown) + "\n";
  return out;
}

std::string core_occasions(const CoreChoice& core) {
  std::string text;
  for (size_t i = 0; i < std::size(kCoreOccasionMembers); ++i)
    if (core.*kCoreOccasionMembers[i])
      text += (text.empty() ? "" : ", ") + std::string(kCoreOccasionWords[i].text);
  return text;
}

std::string collect_yaml(const Collect& collect) {
  auto line = [](const char* key, bool value) {
    return std::string("  ") + key + (value ? ": true\n" : ": false\n");
  };
  return "collect:\n" + line("binaries", collect.binaries) + line("libraries", collect.libraries) +
         line("environment", collect.environment) + line("launcherLog", collect.launcher_log) +
         "  core:\n    on: [" + core_occasions(collect.core) +
         "]\n    memory: " + std::string(word_of(kCoreMemoryWords, collect.core.memory)) +
         "\n    limit: " + format_size(collect.core.limit_bytes) + "\n";
}

std::string sidecar_yaml(const SidecarUse& sidecar) {
  return "sidecar:\n  wait: " + format_duration(sidecar.wait_ms) +
         "\n  required: " + (sidecar.required ? "true\n" : "false\n");
}

uint32_t kind_bits(const std::optional<SegmentKind>& kind) {
  if (kind) return 1u << static_cast<uint32_t>(*kind);
  uint32_t bits = 0;
  for (auto k = static_cast<uint32_t>(SegmentKind::kAnonymous);
       k <= static_cast<uint32_t>(SegmentKind::kFile); ++k) {
    bits |= 1u << k;
  }
  return bits;
}

// REQUIRES: the parser's limits on lengths.
template <size_t N>
void copy_text(char (&field)[N], const std::string& text) {
  memcpy(field, text.data(), std::min(text.size(), N - 1));
}

shmlog::PolicyRule compile_rule(const SegmentRule& rule, const Policy& policy) {
  shmlog::PolicyRule out = {};
  out.kinds = kind_bits(rule.match.kind);
  out.mode = static_cast<uint32_t>(rule.mode);
  out.order = static_cast<uint32_t>(rule.order.value_or(policy.default_order));
  out.accesses = static_cast<uint16_t>(rule.accesses.value_or(policy.default_accesses));
  out.has_key = rule.match.sysv_key.has_value();
  out.key = rule.match.sysv_key.value_or(0);
  out.line = static_cast<uint32_t>(rule.where.line);
  copy_text(out.name, rule.match.name);
  copy_text(out.executable, rule.match.executable);
  return out;
}

}  // namespace

std::vector<std::string> Redaction::default_environment() {
  return {"*PASSWORD*",   "*PASSWD*",  "*PASSPHRASE*", "*_PWD",     "*TOKEN*", "*SECRET*",
          "*CREDENTIAL*", "*PRIVATE*", "*COOKIE*",     "*WEBHOOK*", "*KEY*",   "*_DSN"};
}

std::vector<std::string> Redaction::default_arguments() {
  return {"*PASSWORD*", "*PASSWD*",     "*PASSPHRASE*", "*_PWD",    "*TOKEN*",        "*SECRET*",
          "*KEY*",      "*CREDENTIAL*", "*PRIVATE*",    "*COOKIE*", "*AUTHORIZATION*"};
}

bool Policy::operator==(const Policy& other) const {
  return level == other.level && segments == other.segments && default_mode == other.default_mode &&
         default_order == other.default_order && default_accesses == other.default_accesses &&
         limits == other.limits && collect == other.collect && redaction == other.redaction &&
         sidecar == other.sidecar && failure_policy == other.failure_policy &&
         on_launcher_death == other.on_launcher_death && spool_directory == other.spool_directory;
}

std::string to_yaml(const Policy& policy) {
  std::string out = "apiVersion: shmrec/v1\nkind: Policy\n";
  out += "level: " + std::string(word_of(kLevelWords, policy.level)) + "\n";
  out += segments_yaml(policy.segments);
  out += "defaults:\n  mode: " + std::string(word_of(kDefaultModeWords, policy.default_mode)) +
         "\n  order: " + std::string(word_of(kOrderWords, policy.default_order)) +
         "\n  accesses: " + std::string(word_of(kAccessesWords, policy.default_accesses)) + "\n";
  out += limits_yaml(policy.limits);
  out += collect_yaml(policy.collect);
  out += "redaction:\n  environment: " + yaml_list(policy.redaction.environment) +
         "\n  arguments: " + yaml_list(policy.redaction.arguments) + "\n";
  out += sidecar_yaml(policy.sidecar);
  out +=
      "failurePolicy: " + std::string(word_of(kFailurePolicyWords, policy.failure_policy)) +
      "\nonLauncherDeath: " + std::string(word_of(kLauncherDeathWords, policy.on_launcher_death)) +
      "\n";
  if (!policy.spool_directory.empty()) {
    out += "spoolDirectory: " + yaml_string(policy.spool_directory) + "\n";
  }
  return out;
}

std::vector<shmlog::PolicyRule> compile_rules(const Policy& policy) {
  std::vector<shmlog::PolicyRule> rules;
  for (const SegmentRule& rule : policy.segments) {
    rules.push_back(compile_rule(rule, policy));
  }
  return rules;
}

Result<> refuse_unsupported(const Policy& policy) {
  for (const SegmentRule& rule : policy.segments) {
    if (rule.mode != SegmentMode::kShadow) continue;
    return Error{
        at_position(policy.file, rule.where,
                    "mode shadow cannot run yet: shadows come in a later release; expected "
                    "trace, ignore or deny; use trace to record this side's accesses")};
  }
  return Unit{};
}

}  // namespace shmrec
