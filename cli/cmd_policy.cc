// shmrec policy: check a policy file, show the policy in force, print the schema.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/printable.h"
#include "cli/commands.h"
#include "policy/policy.h"

namespace shmrec::cli {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

int exit_code(const Error& error) { return error.bad_input ? 2 : 1; }

// A policy may have several mistakes, one a line.
int report(const Error& error) {
  for (const std::string& line : lines_of(error.message)) {
    std::fprintf(stderr, "shmrec: %s\n", printable(line).c_str());
  }
  return exit_code(error);
}

void print_check_json(const std::string& file, const Result<Policy>& policy) {
  nlohmann::ordered_json out = {{"file", file}, {"ok", policy.ok()}};
  out["errors"] = policy ? std::vector<std::string>{} : lines_of(policy.error().message);
  const Result<> supported = policy ? refuse_unsupported(*policy) : Result<>(Unit{});
  out["unsupported"] = supported ? std::vector<std::string>{} : lines_of(supported.error().message);
  std::printf("%s\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

int check(const std::string& file, bool json) {
  // By itself: what the environment of this shell says is no part of the file.
  const Result<Policy> policy = load_policy(file, nullptr);
  if (json) {
    print_check_json(file, policy);
    return policy ? 0 : exit_code(policy.error());
  }
  if (!policy) return report(policy.error());
  std::printf("%s: ok, %zu segment rule%s\n", file.c_str(), policy->segments.size(),
              policy->segments.size() == 1 ? "" : "s");
  const Result<> supported = refuse_unsupported(*policy);
  if (!supported) std::fprintf(stderr, "shmrec: note: %s\n", supported.error().message.c_str());
  return 0;
}

int show(const std::optional<std::string>& file) {
  const Result<Policy> policy = load_policy(file, environ);
  if (!policy) return report(policy.error());
  std::fputs(to_yaml(*policy).c_str(), stdout);
  return 0;
}

}  // namespace

int cmd_policy(int argc, char** argv) {
  CLI::App app{"Checks and shows what is to be recorded (docs/policy.md).", "shmrec policy"};
  app.require_subcommand(1);

  CLI::App* check_app =
      app.add_subcommand("check", "Check a policy file; exit code 2 if it is wrong");
  std::string checked_file;
  bool json = false;
  check_app->add_option("FILE", checked_file, "Policy file")->required();
  check_app->add_flag("--json", json, "Print a JSON document");

  CLI::App* show_app = app.add_subcommand(
      "show", "Print the policy in force: defaults, file and SHMREC_* variables merged");
  std::optional<std::string> shown_file;
  show_app->add_option("--policy", shown_file,
                       "Policy file, instead of $SHMREC_POLICY or /etc/shmrec/policy.yaml");

  CLI::App* schema_app = app.add_subcommand("schema", "Print the JSON schema of policy files");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (*check_app) return check(checked_file, json);
  if (*schema_app) {
    std::fputs(std::string(policy_schema()).c_str(), stdout);
    return 0;
  }
  return show(shown_file);
}

}  // namespace shmrec::cli
