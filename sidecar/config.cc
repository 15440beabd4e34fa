#include "sidecar/config.h"

#include <string.h>

#include <sstream>

#include "base/signal_name.h"
#include "policy/glob.h"
#include "policy/loaded_policy.h"
#include "policy/settings.h"
#include "policy/yaml_fields.h"

namespace shmrec::sidecar {
namespace {

using Type = YamlNode::Type;

constexpr std::string_view kKind = "Sidecar";
constexpr size_t kMaxRules = 64;
constexpr size_t kMaxDestinations = 16;
constexpr size_t kMaxText = 4096;

// ---- Values

template <typename T, std::string T::*kMember>
void read_text(Problems& problems, const Field& field, T& out) {
  if (std::optional<std::string> text = read_string(problems, field, kMaxText))
    out.*kMember = *text;
}

void read_path(Problems& problems, const Field& field, std::string& out) {
  const std::optional<std::string> path = read_string(problems, field, kMaxText);
  if (!path) return;
  out = *path;
  if (path->starts_with('/')) return;
  problems.report(field.value.where, shmrec::quoted(field.key.text) + " is " +
                                         shmrec::quoted(*path) +
                                         "; expected an absolute path; begin it with '/'");
}
template <typename T, std::string T::*kMember>
void read_path_of(Problems& problems, const Field& field, T& out) {
  read_path(problems, field, out.*kMember);
}

// An address, or "none".
template <std::string Config::*kMember>
void read_listen(Problems& problems, const Field& field, Config& config) {
  const std::optional<std::string> text = read_string(problems, field, kMaxText);
  if (text) config.*kMember = *text == "none" ? "" : *text;
}

template <typename T, std::string T::*kMember>
void read_glob_of(Problems& problems, const Field& field, T& out) {
  if (std::optional<std::string> glob = read_glob(problems, field, kMaxGlobBytes))
    out.*kMember = *glob;
}

std::optional<uint64_t> read_bytes(Problems& problems, const Field& field) {
  const std::optional<uint64_t> bytes = size_of(field.value);
  if (!bytes) report_type(problems, field, "a size", "write for example 512MiB, or 0 for no limit");
  return bytes;
}

std::optional<uint64_t> read_milliseconds(Problems& problems, const Field& field) {
  std::optional<uint64_t> ms;
  if (field.value.type == Type::kString) ms = parse_duration(field.value.text);
  if (!ms) report_type(problems, field, "a duration", "write for example 500ms, 30s, 10m or 24h");
  return ms;
}

std::optional<int64_t> read_number(Problems& problems, const Field& field, int64_t least,
                                   int64_t most) {
  std::optional<int64_t> number;
  if (field.value.type == Type::kInteger) number = integer_of(field.value);
  if (number && *number >= least && *number <= most) return number;
  report_type(problems, field,
              "a whole number from " + std::to_string(least) + " to " + std::to_string(most),
              "write for example " + std::to_string(least));
  return std::nullopt;
}

template <auto kMember, int64_t kMost, typename T>
void read_count(Problems& problems, const Field& field, T& out) {
  if (const auto number = read_number(problems, field, 1, kMost))
    out.*kMember = static_cast<std::remove_reference_t<decltype(out.*kMember)>>(*number);
}

template <auto kMember, typename T>
void read_seconds(Problems& problems, const Field& field, T& out) {
  if (const auto ms = read_milliseconds(problems, field))
    out.*kMember = static_cast<int64_t>(std::max<uint64_t>(*ms / 1000, 1));
}

void read_texts(Problems& problems, const Field& field, std::vector<std::string>& out) {
  read_list(problems, field, kMaxListItems, [&](const Field& item) {
    if (std::optional<std::string> text = read_string(problems, item, kMaxText))
      out.push_back(*text);
  });
}

// ---- Rules

constexpr Key<Filter> kFilterKeys[] = {
    {"command", read_glob_of<Filter, &Filter::command>},
    {"executable", read_glob_of<Filter, &Filter::executable>},
    {"container", read_glob_of<Filter, &Filter::container>},
};

void read_exit_status(Problems& problems, const Field& field, Trigger& trigger) {
  if (field.value.type == Type::kString && field.value.text == "nonzero") {
    trigger.exit_nonzero = true;
  } else if (field.value.type == Type::kSequence) {
    read_list(problems, field, kMaxListItems, [&](const Field& item) {
      if (const auto number = read_number(problems, item, 0, 255))
        trigger.exit_statuses.push_back(static_cast<int>(*number));
    });
  } else {
    report_type(problems, field, "nonzero or a list of exit statuses", "write nonzero or [1, 2]");
  }
}

std::optional<int> signal_of(std::string_view name) {
  const std::string wanted = (name.starts_with("SIG") ? "" : "SIG") + std::string(name);
  for (int number = 1; number <= kLastSignal; ++number)
    if (signal_name(number) == wanted) return number;
  return std::nullopt;
}

void read_signal(Problems& problems, const Field& field, Trigger& trigger) {
  if (field.value.type == Type::kString && field.value.text == "any") {
    trigger.any_signal = true;
    return;
  }
  if (field.value.type != Type::kSequence)
    return report_type(problems, field, "any or a list of signals",
                       "write any or [SIGSEGV, SIGABRT]");
  read_list(problems, field, kMaxListItems, [&](const Field& item) {
    std::optional<int> number;
    if (item.value.type == Type::kString) {
      number = signal_of(item.value.text);
    } else if (item.value.type == Type::kInteger) {
      const std::optional<int64_t> value = integer_of(item.value);
      if (value && *value >= 1 && *value <= 64) number = static_cast<int>(*value);
    }
    if (number)
      trigger.signals.push_back(*number);
    else
      report_type(problems, item, "a signal",
                  "write its name as kill -l does, for example SIGSEGV");
  });
}

constexpr Key<ReadinessProbe> kReadinessKeys[] = {
    {"url", read_text<ReadinessProbe, &ReadinessProbe::url>},
    {"failures", read_count<&ReadinessProbe::failures, 1000>},
    {"period", read_seconds<&ReadinessProbe::period_s>},
};

template <bool Trigger::*kMember>
void read_flag(Problems& problems, const Field& field, Trigger& trigger) {
  read_bool(problems, field, trigger.*kMember);
}

constexpr Key<Trigger> kTriggerKeys[] = {
    {"exitStatus", read_exit_status},
    {"signal", read_signal},
    {"processes", read_flag<&Trigger::any_process>},
    {"lost", read_flag<&Trigger::lost>},
    {"outOfMemory", read_flag<&Trigger::out_of_memory>},
    {"mark", read_glob_of<Trigger, &Trigger::mark>},
    {"file", read_path_of<Trigger, &Trigger::file>},
    {"readiness",
     [](Problems& problems, const Field& field, Trigger& trigger) {
       read_submap(problems, field, kReadinessKeys, trigger.readiness.emplace());
     }},
    {"request", read_flag<&Trigger::request>},
};

constexpr Key<RateLimit> kLimitKeys[] = {
    {"count", read_count<&RateLimit::count, 100000>},
    {"per", read_seconds<&RateLimit::window_s>},
};

constexpr Key<Rule> kRuleKeys[] = {
    {"name", read_text<Rule, &Rule::name>},
    {"filter", [](Problems& problems, const Field& field,
                  Rule& rule) { read_submap(problems, field, kFilterKeys, rule.filter); }},
    {"trigger", [](Problems& problems, const Field& field,
                   Rule& rule) { read_submap(problems, field, kTriggerKeys, rule.trigger); }},
    {"egress", [](Problems& problems, const Field& field,
                  Rule& rule) { read_texts(problems, field, rule.egress); }},
    {"cores", [](Problems& problems, const Field& field,
                 Rule& rule) { read_bool(problems, field, rule.cores.emplace()); }},
    {"limit", [](Problems& problems, const Field& field,
                 Rule& rule) { read_submap(problems, field, kLimitKeys, rule.limit); }},
};

void read_rules(Problems& problems, const Field& field, Config& config) {
  config.rules.clear();
  const size_t before = problems.count();
  read_list(problems, field, kMaxRules, [&](const Field& item) {
    Rule rule;
    if (!is_type(problems, item, Type::kMap, "rules", "write '- name: ...'")) return;
    read_map(problems, item.value, "rule", kRuleKeys, rule);
    config.rules.push_back(std::move(rule));
    if (problems.count() > before) return;  // the rule may be wrong because of that
    if (const Result<> good = check_rules(config.rules); !good)
      problems.report(item.value.where, good.error().message);
  });
}

// ---- Destinations

constexpr Key<egress::PutOptions> kPutKeys[] = {
    {"urlFile",
     [](Problems& problems, const Field& field, egress::PutOptions& put) {
       std::string path;
       read_path(problems, field, path);
       put.url_file = path;
     }},
    {"caFile",
     [](Problems& problems, const Field& field, egress::PutOptions& put) {
       std::string path;
       read_path(problems, field, path);
       put.ca_file = path;
     }},
    {"headers", [](Problems& problems, const Field& field,
                   egress::PutOptions& put) { read_texts(problems, field, put.headers); }},
    {"resumable", [](Problems& problems, const Field& field,
                     egress::PutOptions& put) { read_bool(problems, field, put.resumable); }},
    {"rate",
     [](Problems& problems, const Field& field, egress::PutOptions& put) {
       put.max_rate_bytes = read_bytes(problems, field).value_or(0);
     }},
};

constexpr Key<egress::ExecOptions> kExecKeys[] = {
    {"command", [](Problems& problems, const Field& field,
                   egress::ExecOptions& exec) { read_texts(problems, field, exec.command); }},
    {"environment",
     [](Problems& problems, const Field& field, egress::ExecOptions& exec) {
       read_texts(problems, field, exec.environment);
     }},
    {"timeout",
     [](Problems& problems, const Field& field, egress::ExecOptions& exec) {
       if (const auto ms = read_milliseconds(problems, field))
         exec.limit = std::chrono::milliseconds(*ms);
     }},
};

constexpr Key<DestinationConfig> kDestinationKeys[] = {
    {"name", read_text<DestinationConfig, &DestinationConfig::name>},
    {"directory", read_path_of<DestinationConfig, &DestinationConfig::directory>},
    {"put",
     [](Problems& problems, const Field& field, DestinationConfig& to) {
       read_submap(problems, field, kPutKeys, to.put.emplace());
     }},
    {"exec",
     [](Problems& problems, const Field& field, DestinationConfig& to) {
       read_submap(problems, field, kExecKeys, to.exec.emplace());
     }},
    {"terminationMessage",
     read_path_of<DestinationConfig, &DestinationConfig::termination_message>},
};

void check_destination(Problems& problems, const Field& item, const DestinationConfig& to,
                       const std::vector<DestinationConfig>& earlier) {
  const int ways = !to.directory.empty() + to.put.has_value() + to.exec.has_value() +
                   !to.termination_message.empty();
  if (ways != 1)
    problems.report(item.value.where, "a destination with " + std::to_string(ways) +
                                          " ways; expected exactly one of directory, put, exec and "
                                          "terminationMessage; write one destination for each");
  if (to.name.empty())
    problems.report(item.value.where, "a destination without 'name'; expected one; rules name it");
  for (const DestinationConfig& other : earlier)
    if (!to.name.empty() && other.name == to.name)
      problems.report(item.value.where, "a second destination has the name " +
                                            shmrec::quoted(to.name) +
                                            "; expected different names; rename one");
}

void read_destinations(Problems& problems, const Field& field, Config& config) {
  read_list(problems, field, kMaxDestinations, [&](const Field& item) {
    if (!is_type(problems, item, Type::kMap, "destinations", "write '- name: ...'")) return;
    DestinationConfig to;
    read_map(problems, item.value, "destination", kDestinationKeys, to);
    check_destination(problems, item, to, config.destinations);
    config.destinations.push_back(std::move(to));
  });
}

// ---- The other objects

constexpr Key<Config> kHttpKeys[] = {
    {"listen", read_listen<&Config::artefact_listen>},
    {"tokenFile", read_path_of<Config, &Config::token_file>},
    {"noAuth", [](Problems& problems, const Field& field,
                  Config& config) { read_bool(problems, field, config.no_auth); }},
};
constexpr Key<Config> kHealthKeys[] = {{"listen", read_listen<&Config::health_listen>}};

template <uint64_t RetentionLimits::*kMember>
void read_retention_bytes(Problems& problems, const Field& field, RetentionLimits& limits) {
  limits.*kMember = read_bytes(problems, field).value_or(limits.*kMember);
}
constexpr Key<RetentionLimits> kRetentionKeys[] = {
    {"count",
     [](Problems& problems, const Field& field, RetentionLimits& limits) {
       if (const auto number = read_number(problems, field, 0, 1000000))
         limits.count = static_cast<uint64_t>(*number);
     }},
    {"bytes", read_retention_bytes<&RetentionLimits::bytes>},
    {"free", read_retention_bytes<&RetentionLimits::free_bytes>},
    {"age",
     [](Problems& problems, const Field& field, RetentionLimits& limits) {
       if (const auto ms = read_milliseconds(problems, field)) limits.age_s = *ms / 1000;
     }},
};

constexpr Key<Config> kBundleKeys[] = {
    {"maxBytes",
     [](Problems& problems, const Field& field, Config& config) {
       config.bundle_bytes = read_bytes(problems, field).value_or(config.bundle_bytes);
     }},
};

// A key of the top level holds as a whole or not at all.
template <void (*kRead)(Problems&, const Field&, Config&)>
void whole(Problems& problems, const Field& field, Config& config) {
  const size_t before = problems.count();
  Config changed = config;
  kRead(problems, field, changed);
  if (problems.count() == before) config = std::move(changed);
}
template <void (*kRead)(Problems&, const Field&, Config&)>
void whole_egress(Problems& problems, const Field& field, Config& config) {
  const size_t before = problems.count();
  whole<kRead>(problems, field, config);
  config.egress_sound &= problems.count() == before;
}

template <auto kMember, const auto& kKeys>
void read_part(Problems& problems, const Field& field, Config& config) {
  read_submap(problems, field, kKeys, config.*kMember);
}
template <const auto& kKeys>
void read_keys(Problems& problems, const Field& field, Config& config) {
  read_submap(problems, field, kKeys, config);
}

void read_failure_policy(Problems& problems, const Field& field, Config& config) {
  if (const auto policy = read_word(problems, field, kFailurePolicyWords))
    config.failure_closed = *policy == FailurePolicy::kClosed;
}

template <const std::string_view& kExpected>
constexpr auto read_constant_of = read_constant<Config, kExpected>;

constexpr Key<Config> kConfigKeys[] = {
    {"apiVersion", read_constant_of<kApiVersion>},
    {"kind", read_constant_of<kKind>},
    {"spool", whole<read_path_of<Config, &Config::spool>>},
    {"store", whole<read_path_of<Config, &Config::store>>},
    {"http", whole<read_keys<kHttpKeys>>},
    {"health", whole<read_keys<kHealthKeys>>},
    {"bundle", whole<read_keys<kBundleKeys>>},
    {"retention", whole<read_part<&Config::retention, kRetentionKeys>>},
    {"destinations", whole_egress<read_destinations>},
    {"rules", whole_egress<read_rules>},
    {"join", [](Problems& problems, const Field& field,
                Config& config) { read_bool(problems, field, config.join); }},
    {"failurePolicy", read_failure_policy},
};

void check_egress(Problems& problems, const YamlNode& root, const Config& config) {
  for (const Rule& rule : config.rules)
    for (const std::string& name : rule.egress) {
      const bool known = std::any_of(config.destinations.begin(), config.destinations.end(),
                                     [&](const DestinationConfig& to) { return to.name == name; });
      if (!known)
        problems.report(
            key_position(root, "rules"),
            "rule " + shmrec::quoted(rule.name) + " sends to " + shmrec::quoted(name) +
                ", which is no destination; expected a name from 'destinations'; add it there");
    }
}

// ---- The environment. Each returns what is wrong, or "".

std::string wrong_variable(const char* name, const std::string& value, const char* expected) {
  return std::string("environment variable ") + name + " is " + shmrec::quoted(value) +
         "; expected " + expected;
}

constexpr const char* kAbsolute = "an absolute path; begin it with '/'";

// A destination beside those of the file, unless that has one of the kind.
std::string apply_termination_message(const char* const* environment, Config& config) {
  constexpr const char* kVariable = "SHMREC_TERMINATION_MESSAGE";
  const std::string path = variable_value(environment, kVariable);
  if (path.empty()) return "";
  if (!path.starts_with('/')) return wrong_variable(kVariable, path, kAbsolute);
  const bool has_one =
      std::any_of(config.destinations.begin(), config.destinations.end(), [](const auto& to) {
        return !to.termination_message.empty() || to.name == "termination-message";
      });
  if (has_one) return "";
  DestinationConfig& to = config.destinations.emplace_back();
  to.name = "termination-message";
  to.termination_message = path;
  return "";
}

std::string apply_no_auth(const char* const* environment, Config& config) {
  const std::string value = variable_value(environment, "SHMREC_NO_AUTH");
  if (value.empty()) return "";
  if (value != "0" && value != "1")
    return wrong_variable("SHMREC_NO_AUTH", value,
                          "1 or 0; unset it to keep the configuration's http.noAuth");
  config.no_auth = value == "1";
  return "";
}

std::string apply_failure_policy(const char* const* environment, Config& config) {
  const std::string value = variable_value(environment, "SHMREC_FAILURE_POLICY");
  if (value.empty()) return "";
  const auto policy = find_word(kFailurePolicyWords, value);
  // Who misspells it wants it all the same.
  config.failure_closed = policy ? *policy == FailurePolicy::kClosed : means_closed(value);
  return policy ? "" : wrong_variable("SHMREC_FAILURE_POLICY", value, "open or closed");
}

std::vector<std::string> apply_environment(const char* const* environment, Config& config) {
  struct {
    const char* name;
    std::string* value;
    bool is_path;
  } const variables[] = {{"SHMREC_SPOOL", &config.spool, true},
                         {"SHMREC_STORE", &config.store, true},
                         {"SHMREC_TOKEN_FILE", &config.token_file, true},
                         {"SHMREC_LISTEN", &config.artefact_listen, false}};
  std::vector<std::string> mistakes;
  for (const auto& known : variables) {
    const std::string value = variable_value(environment, known.name);
    if (value.empty()) continue;
    if (known.is_path && !value.starts_with('/'))
      mistakes.push_back(wrong_variable(known.name, value, kAbsolute));
    else
      *known.value = known.is_path || value != "none" ? value : "";
  }
  for (const auto& apply : {apply_no_auth, apply_failure_policy, apply_termination_message})
    if (std::string mistake = apply(environment, config); !mistake.empty())
      mistakes.push_back(std::move(mistake));
  return mistakes;
}

void read_text_of_config(std::string_view text, std::string_view file, LoadedConfig& loaded) {
  const Result<YamlStream> settings = read_settings(text, file, kKind);
  if (!settings) return loaded.mistakes.push_back(settings.error().message);
  const YamlNode& root = *settings->documents[0];
  Problems problems(file);
  if (check_header(problems, root, kKind)) {
    read_map(problems, root, "sidecar configuration", kConfigKeys, loaded.config);
    const size_t before = problems.count();
    check_egress(problems, root, loaded.config);
    loaded.config.egress_sound &= problems.count() == before;
  }
  std::istringstream lines(problems.text());
  for (std::string line; std::getline(lines, line);) loaded.mistakes.push_back(line);
  if (loaded.config.egress_sound) return;
  loaded.config.rules = Config::default_rules();
  loaded.config.destinations.clear();
}

// What is wrong in the text as well may keep it from being read there.
LoadedConfig parse_anyway(std::string_view text, std::string_view file) {
  LoadedConfig loaded;
  read_text_of_config(text, file, loaded);
  if (!loaded.mistakes.empty()) loaded.config.failure_closed |= asks_for_closed(text);
  return loaded;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

Result<Config> all_or_nothing(LoadedConfig loaded) {
  if (!loaded.mistakes.empty()) return Error{joined(loaded.mistakes)};
  return std::move(loaded.config);
}

}  // namespace

std::vector<Rule> Config::default_rules() {
  Rule crashes;
  crashes.name = "crashes";
  crashes.trigger.any_signal = true;
  crashes.trigger.any_process = true;
  crashes.trigger.lost = true;
  crashes.trigger.out_of_memory = true;
  crashes.limit = {10, 3600};
  Rule failures;
  failures.name = "failures";
  failures.trigger.exit_nonzero = true;
  failures.limit = {10, 3600};
  Rule requests;
  requests.name = "requests";
  requests.trigger.request = true;
  requests.limit = {60, 3600};
  return {crashes, failures, requests};
}

Result<Config> parse_config(std::string_view text, std::string_view file) {
  return all_or_nothing(parse_anyway(text, file));
}

LoadedConfig load_config_anyway(const std::optional<std::string>& path,
                                const char* const* environment) {
  const std::string file = path.value_or(variable_value(environment, "SHMREC_SIDECAR_CONFIG"));
  LoadedConfig loaded;
  if (!file.empty()) {
    const Result<std::string> text = read_settings_file(file);
    if (text)
      loaded = parse_anyway(*text, file);
    else
      loaded.mistakes.push_back(text.error().message);
  }
  for (std::string& mistake : apply_environment(environment, loaded.config))
    loaded.mistakes.push_back(std::move(mistake));
  return loaded;
}

Result<Config> load_config(const std::optional<std::string>& path, const char* const* environment) {
  return all_or_nothing(load_config_anyway(path, environment));
}

}  // namespace shmrec::sidecar
