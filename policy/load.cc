// Layers of the policy in force: the defaults, a file, the SHMREC_* environment.
//
// Kubernetes puts SHMREC_SERVICE_HOST, SHMREC_PORT_80_TCP and the like into every pod of a
// namespace that has a service named shmrec...; these are not ours and are let be. Any other
// unknown SHMREC_* name is a mistake, because a misspelled one would silently change nothing.
#include <unistd.h>

#include <algorithm>

#include "policy/loaded_policy.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/suggest.h"
#include "policy/words.h"

namespace shmrec {
namespace {

constexpr std::string_view kPrefix = "SHMREC_";
constexpr std::string_view kFailureVariable = "SHMREC_FAILURE_POLICY";

struct Variable {
  std::string_view name;
  // Sets its part of the policy; returns what is wrong with the value, or "".
  std::string (*apply)(std::string_view name, const std::string& value, Policy& policy);
};

template <typename T, size_t N>
std::string assign(const Word<T> (&words)[N], const std::string& value, T& out) {
  const std::optional<T> found = find_word(words, value);
  if (found) {
    out = *found;
    return "";
  }
  const std::vector<std::string> texts = texts_of(words);
  const std::string nearest = nearest_name(value, texts);
  return quoted(value) + did_you_mean(value, texts) + "; expected " + one_of(texts) + "; set " +
         (nearest.empty() ? texts[0] : nearest);
}

std::string apply_limit(std::string_view name, const std::string& value, Policy& policy) {
  const LimitWord& limit =
      *std::find_if(std::begin(kLimitWords), std::end(kLimitWords),
                    [&](const LimitWord& word) { return word.variable == name; });
  const std::optional<uint64_t> bytes = parse_size(value);
  const std::string problem = size_problem(limit, bytes, value);
  if (problem.empty()) policy.limits.*limit.bytes = *bytes;
  return problem;
}

std::string apply_slowdown(std::string_view, const std::string& value, Policy& policy) {
  const std::optional<uint64_t> thousandths = parse_slowdown(value);
  const std::string problem = slowdown_problem(thousandths, value);
  if (problem.empty()) policy.limits.max_slowdown = static_cast<uint32_t>(*thousandths);
  return problem;
}

std::string apply_spool(std::string_view, const std::string& value, Policy& policy) {
  policy.spool_directory = value;
  return directory_problem(value);
}

std::string apply_wait(std::string_view, const std::string& value, Policy& policy) {
  const std::optional<uint64_t> ms = parse_duration(value);
  const std::string problem = wait_problem(ms, value);
  if (problem.empty()) policy.sidecar.wait_ms = *ms;
  return problem;
}

// Read elsewhere: the policy file's name here, the socket's by launcher and sidecar.
std::string apply_nothing(std::string_view, const std::string&, Policy&) { return ""; }

constexpr Variable kVariables[] = {
    {"SHMREC_POLICY", apply_nothing},
    {"SHMREC_SOCKET", apply_nothing},
    {"SHMREC_SPOOL", apply_spool},
    {kLimitWords[0].variable, apply_limit},
    {kLimitWords[1].variable, apply_limit},
    {kLimitWords[2].variable, apply_limit},
    {kMaxSlowdownVariable, apply_slowdown},
    {"SHMREC_SIDECAR_WAIT", apply_wait},
    {"SHMREC_SIDECAR_REQUIRED",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kBoolWords, value, policy.sidecar.required);
     }},
    {"SHMREC_LEVEL", [](std::string_view, const std::string& value,
                        Policy& policy) { return assign(kLevelWords, value, policy.level); }},
    {"SHMREC_DEFAULT_MODE",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kDefaultModeWords, value, policy.default_mode);
     }},
    {"SHMREC_ORDER",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kOrderWords, value, policy.default_order);
     }},
    {"SHMREC_ACCESSES",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kAccessesWords, value, policy.default_accesses);
     }},
    {kFailureVariable,
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kFailurePolicyWords, value, policy.failure_policy);
     }},
    {"SHMREC_ON_LAUNCHER_DEATH",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kLauncherDeathWords, value, policy.on_launcher_death);
     }},
};

// SHMREC[_NAME]_SERVICE_HOST, ..._SERVICE_PORT[_X] or ..._PORT[_N_PROTO[_X]].
bool is_service_link(std::string_view name) {
  return name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != name.npos ||
         name.ends_with("_PORT") || name.find("_TCP") != name.npos ||
         name.find("_UDP") != name.npos || name.find("_SCTP") != name.npos;
}

std::string unknown_variable(const std::string& name) {
  const std::vector<std::string> known = policy_variables();
  const std::string nearest = nearest_name(name, known);
  return "environment variable " + name + " is not known" + did_you_mean(name, known) +
         "; expected " + one_of(known) + "; " +
         (nearest.empty() ? "unset it" : "set " + nearest + " or unset it");
}

}  // namespace

// ---- What a mistake leaves readable: whether failurePolicy: closed was meant.

bool means_closed(std::string_view value) {
  return nearest_name(value, texts_of(kFailurePolicyWords)) ==
         word_of(kFailurePolicyWords, FailurePolicy::kClosed);
}

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kAround = " \t\r\"'{}";
  const size_t begin = text.find_first_not_of(kAround);
  if (begin == text.npos) return "";
  return text.substr(begin, text.find_last_not_of(kAround) - begin + 1);
}

// "failurePolicy: closed" as YAML, as JSON or misspelled.
bool asks_for_closed_in(std::string_view pair) {
  const size_t colon = pair.find(':');
  if (colon == pair.npos || !means_closed(trimmed(pair.substr(colon + 1)))) return false;
  const std::string key[] = {"failurePolicy"};
  return !nearest_name(trimmed(pair.substr(0, colon)), key).empty();
}

}  // namespace

// Of a text that is no policy, and need not even be YAML: by its lines. Who writes the words means
// them, wherever they stand.
bool asks_for_closed(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line = line.substr(0, line.find('#'));
    while (!line.empty()) {
      const std::string_view pair = line.substr(0, line.find(','));
      line.remove_prefix(std::min(pair.size() + 1, line.size()));
      if (asks_for_closed_in(pair)) return true;
    }
  }
  return false;
}

namespace {

// ---- The layers

void add_line(std::string& lines, const std::string& line) {
  lines += (lines.empty() ? "" : "\n") + line;
}

// What is wrong with a variable, or "".
std::string apply_variable(const std::string& name, const std::string& value, Policy& policy) {
  const auto variable = std::find_if(std::begin(kVariables), std::end(kVariables),
                                     [&](const Variable& v) { return v.name == name; });
  if (variable == std::end(kVariables)) return is_service_link(name) ? "" : unknown_variable(name);
  if (value.empty()) return "";  // counts as unset
  Policy changed = policy;
  const std::string problem = variable->apply(name, value, changed);
  if (!problem.empty()) return "environment variable " + name + ": " + problem;
  policy = std::move(changed);
  return "";
}

void mean_closed(const std::string& name, const std::string& value, Policy& policy) {
  const bool meant =
      name == kFailureVariable || nearest_name(name, policy_variables()) == kFailureVariable;
  if (meant && means_closed(value)) policy.failure_policy = FailurePolicy::kClosed;
}

// Limits of the environment that contradict each other, or what is below, change nothing.
std::string limits_problem(const char* const* environment, const Limits& before, Policy& policy) {
  const LimitWord* conflict = conflicting_limit(policy.limits);
  if (conflict == nullptr) return "";
  std::vector<std::string> given;
  for (const std::string_view name : {conflict->variable, kLimitWords[1].variable})
    if (!variable_value(environment, name).empty()) given.emplace_back(name);
  const std::string message = conflict_message(*conflict, policy.limits);
  policy.limits = before;
  if (given.size() == 1)
    return "environment variable " + given[0] + ", over the policy: " + message;
  return "environment variables " + given[0] + " and " + given[1] + ", over the policy: " + message;
}

// Returns all mistakes, one a line. A variable with one changes nothing.
std::string apply_environment(const char* const* environment, Policy& policy) {
  std::string mistakes;
  const Limits before = policy.limits;
  for (auto entry = environment; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with(kPrefix)) continue;
    const size_t name_bytes = std::min(text.find('='), text.size());
    const std::string name(text.substr(0, name_bytes));
    const std::string value(text.substr(std::min(name_bytes + 1, text.size())));
    const std::string problem = apply_variable(name, value, policy);
    if (problem.empty()) continue;
    add_line(mistakes, problem);
    mean_closed(name, value, policy);
  }
  const std::string problem = limits_problem(environment, before, policy);
  if (!problem.empty()) add_line(mistakes, problem);
  return mistakes;
}

struct PolicyFile {
  std::string path;    // empty: none
  const char* origin;  // for messages
};

PolicyFile choose_file(const std::optional<std::string>& path, const char* const* environment,
                       const std::string& system_file) {
  if (path) return {*path, ""};
  const std::string named = variable_value(environment, "SHMREC_POLICY");
  if (!named.empty()) return {named, " (file named by SHMREC_POLICY)"};
  if (access(system_file.c_str(), F_OK) == 0) return {system_file, ""};
  return {"", ""};
}

// What runs: a policy that this release can follow. What is only checked may ask for more.
enum class Use { kCheck, kRun };

Result<Policy> parse_file(const Result<std::string>& text, const std::string& path, Use use) {
  if (!text) return Error{"policy file " + text.error().message};
  Result<Policy> policy = parse_policy(*text, path);
  if (!policy || use == Use::kCheck) return policy;
  if (const Result<> supported = refuse_unsupported(*policy); !supported) return supported.error();
  return policy;
}

std::string default_spool(const char* const* environment) {
  const std::string chosen = variable_value(environment, "TMPDIR");
  return (chosen.starts_with('/') ? chosen : "/tmp") + "/shmrec-" + std::to_string(getuid());
}

LoadedPolicy load(const std::optional<std::string>& path, const char* const* environment,
                  const std::string& system_file, Use use) {
  LoadedPolicy loaded;
  const PolicyFile file = choose_file(path, environment, system_file);
  if (!file.path.empty()) {
    const Result<std::string> text = read_settings_file(file.path);
    Result<Policy> policy = parse_file(text, file.path, use);
    if (policy) {
      loaded.policy = std::move(*policy);
    } else {
      loaded.mistakes = policy.error().message + file.origin;
      if (text && asks_for_closed(*text)) loaded.policy.failure_policy = FailurePolicy::kClosed;
    }
  }
  const std::string mistakes = apply_environment(environment, loaded.policy);
  if (!mistakes.empty()) add_line(loaded.mistakes, mistakes);
  if (loaded.policy.spool_directory.empty())
    loaded.policy.spool_directory = default_spool(environment);
  return loaded;
}

}  // namespace

LoadedPolicy load_policy_anyway(const std::optional<std::string>& path,
                                const char* const* environment, const std::string& system_file) {
  return load(path, environment, system_file, Use::kRun);
}

Result<Policy> load_policy(const std::optional<std::string>& path, const char* const* environment,
                           const std::string& system_file) {
  LoadedPolicy loaded = load(path, environment, system_file, Use::kCheck);
  if (!loaded.mistakes.empty()) return Error{loaded.mistakes};
  return std::move(loaded.policy);
}

std::vector<std::string> policy_variables() {
  std::vector<std::string> names;
  for (const Variable& variable : kVariables) names.emplace_back(variable.name);
  return names;
}

}  // namespace shmrec
