// Layers of the policy in force: the defaults, a file, the SHMREC_* environment.
//
// Kubernetes puts SHMREC_SERVICE_HOST, SHMREC_PORT_80_TCP and the like into every pod of a
// namespace that has a service named shmrec...; these are not ours and are let be. Any other
// unknown SHMREC_* name is an error, because a misspelled one would silently change nothing.
#include <unistd.h>

#include <algorithm>

#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/suggest.h"
#include "policy/words.h"

namespace shmrec {
namespace {

constexpr std::string_view kPrefix = "SHMREC_";

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
    {"SHMREC_SIDECAR_WAIT", apply_wait},
    {"SHMREC_SIDECAR_REQUIRED",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kBoolWords, value, policy.sidecar.required);
     }},
    {"SHMREC_DEFAULT_MODE",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kDefaultModeWords, value, policy.default_mode);
     }},
    {"SHMREC_ORDER",
     [](std::string_view, const std::string& value, Policy& policy) {
       return assign(kOrderWords, value, policy.default_order);
     }},
    {"SHMREC_FAILURE_POLICY",
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

Error unknown_variable(const std::string& name) {
  const std::vector<std::string> known = policy_variables();
  const std::string nearest = nearest_name(name, known);
  return Error{"environment variable " + name + " is not known" + did_you_mean(name, known) +
               "; expected " + one_of(known) + "; " +
               (nearest.empty() ? "unset it" : "set " + nearest + " or unset it")};
}

Result<> apply_variable(const std::string& name, const std::string& value, Policy& policy) {
  const auto variable = std::find_if(std::begin(kVariables), std::end(kVariables),
                                     [&](const Variable& v) { return v.name == name; });
  if (variable == std::end(kVariables)) {
    if (is_service_link(name)) return Unit{};
    return unknown_variable(name);
  }
  if (value.empty()) return Unit{};  // counts as unset
  const std::string problem = variable->apply(name, value, policy);
  if (problem.empty()) return Unit{};
  return Error{"environment variable " + name + ": " + problem};
}

Result<> apply_environment(const char* const* environment, Policy& policy) {
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    if (!entry.starts_with(kPrefix)) continue;
    const size_t name_bytes = std::min(entry.find('='), entry.size());
    const std::string value(entry.substr(std::min(name_bytes + 1, entry.size())));
    const Result<> applied =
        apply_variable(std::string(entry.substr(0, name_bytes)), value, policy);
    if (!applied) return applied;
  }
  const LimitWord* conflict = conflicting_limit(policy.limits);
  if (conflict == nullptr) return Unit{};
  return Error{"environment variables " + std::string(conflict->variable) +
               " and SHMREC_SPOOL_SIZE, "
               "over the policy: " +
               conflict_message(*conflict, policy.limits)};
}

Result<Policy> load_file(const std::string& path) {
  const Result<std::string> text = read_settings_file(path);
  if (!text) return Error{"policy file " + text.error().message};
  return parse_policy(*text, path);
}

Result<Policy> load_base(const std::optional<std::string>& path, const char* const* environment,
                         const std::string& system_file) {
  if (path) return load_file(*path);
  const std::string named = variable_value(environment, "SHMREC_POLICY");
  if (!named.empty()) {
    Result<Policy> policy = load_file(named);
    if (policy) return policy;
    return Error{policy.error().message + " (file named by SHMREC_POLICY)"};
  }
  if (access(system_file.c_str(), F_OK) == 0) return load_file(system_file);
  return Policy{};
}

std::string default_spool(const char* const* environment) {
  const std::string chosen = variable_value(environment, "TMPDIR");
  return (chosen.starts_with('/') ? chosen : "/tmp") + "/shmrec-" + std::to_string(getuid());
}

}  // namespace

Result<Policy> load_policy(const std::optional<std::string>& path, const char* const* environment,
                           const std::string& system_file) {
  Result<Policy> policy = load_base(path, environment, system_file);
  if (!policy) return policy;
  const Result<> applied = apply_environment(environment, *policy);
  if (!applied) return applied.error();
  if (policy->spool_directory.empty()) policy->spool_directory = default_spool(environment);
  return policy;
}

std::vector<std::string> policy_variables() {
  std::vector<std::string> names;
  for (const Variable& variable : kVariables) names.emplace_back(variable.name);
  return names;
}

}  // namespace shmrec
