// shmrec core: takes cores of recorded processes, which run on.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "policy/policy.h"
#include "policy/words.h"
#include "recording/run/core_request.h"
#include "recording/run/spool.h"

extern char** environ;

namespace shmrec::cli {
namespace {

constexpr const char* kFooter = R"(
Each process is held for some milliseconds, one after the other, and runs on as if nothing had been.
Its core lies in the run directory, cores/RECORDING.core, in place of an earlier one, and comes into
the bundle. Open the run directory like a bundle: shmrec gdb, shmrec backtrace --all.

Exit code: 0 all were taken; 1 some or all could not be; 2 for a bad option.)";

struct Arguments {
  std::string which, spool, timeout = "1m";
  bool json = false;
};

int fail(const std::string& what, int code = 1) {
  std::fprintf(stderr, "shmrec: %s\n", what.c_str());
  return code;
}

std::optional<pid_t> pid_of(const std::string& text) {
  constexpr size_t kMostDigits = 9;
  const bool digits =
      !text.empty() && text.size() <= kMostDigits &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? std::optional<pid_t>(std::stoi(text)) : std::nullopt;
}

// Runs that go on, the newest first.
Result<std::vector<std::string>> living_runs(const recording::Spool& spool) {
  const Result<recording::SpoolListing> listing = spool.list();
  if (!listing) return listing.error();
  std::vector<std::pair<std::string, std::string>> by_start;
  for (const std::string& name : listing->names) {
    const auto status = spool.status(name, false);
    const auto identity = spool.identify(name);
    if (status && identity && status->state == recording::RunState::kRecording)
      by_start.emplace_back(identity->start_time, name);
  }
  std::sort(by_start.rbegin(), by_start.rend());
  std::vector<std::string> names;
  for (auto& [start, name] : by_start) names.push_back(std::move(name));
  return names;
}

struct Answer {
  std::string directory;  // of the run
  recording::AskedCores asked;
};

std::string file_of(const Answer& answer, const recording::AskedCore& core) {
  return answer.directory + "/cores/" + core.recording + ".core";
}

void print(const Answer& answer) {
  for (const recording::AskedCore& core : answer.asked.cores) {
    std::printf("%s (pid %lld), recording %s: %s%s\n", core.name.c_str(),
                static_cast<long long>(core.pid), core.recording.c_str(),
                core.taken ? "core of " : "no core: ", core.how.c_str());
    if (core.taken) std::printf("  %s\n", file_of(answer, core).c_str());
  }
}

void print_json(const Answer& answer) {
  nlohmann::ordered_json cores = nlohmann::ordered_json::array();
  for (const recording::AskedCore& core : answer.asked.cores)
    cores.push_back({{"pid", core.pid},
                     {"name", core.name},
                     {"recording", core.recording},
                     {"taken", core.taken},
                     {"how", core.how},
                     {"file", core.taken ? file_of(answer, core) : ""}});
  const nlohmann::ordered_json document = {{"format", "shmrec-cores/1"},
                                           {"run", answer.directory},
                                           {"cores", std::move(cores)},
                                           {"problems", answer.asked.problems}};
  std::printf("%s\n",
              document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

int tell(const Answer& answer, const Arguments& arguments) {
  if (answer.asked.launchers == 0)
    return fail(
        answer.directory +
        ": no launcher there takes cores on request; expected one that lives, and 'request' "
        "in its policy's collect.core.on");
  if (arguments.json)
    print_json(answer);
  else
    print(answer);
  for (const std::string& problem : answer.asked.problems)
    std::fprintf(stderr, "shmrec: a launcher: %s\n", problem.c_str());
  if (answer.asked.cores.empty() && answer.asked.problems.empty())
    return fail(answer.directory + ": no recorded process " +
                (pid_of(arguments.which) ? "has pid " + arguments.which : "lives"));
  const bool all = std::all_of(answer.asked.cores.begin(), answer.asked.cores.end(),
                               [](const recording::AskedCore& core) { return core.taken; });
  return all && answer.asked.problems.empty() ? 0 : 1;
}

// The run that has the process, or the newest; the error: there is none.
Result<Answer> ask(const Arguments& arguments, const recording::Spool& spool,
                   std::chrono::milliseconds limit) {
  const std::optional<pid_t> pid = pid_of(arguments.which);
  Result<std::vector<std::string>> runs = living_runs(spool);
  if (!runs) return runs.error();
  const bool named = !arguments.which.empty() && !pid;
  if (named && std::find(runs->begin(), runs->end(), arguments.which) == runs->end())
    return Error{spool.directory() + ": no run '" + arguments.which +
                 "' goes on there; expected the name of a run directory, or a pid"};
  if (named) *runs = {arguments.which};
  if (runs->empty()) return Error{spool.directory() + ": no run goes on there"};
  Answer answer;
  for (const std::string& run : *runs) {
    answer.directory = spool.directory() + "/" + run;
    Result<recording::AskedCores> asked = recording::ask_for_cores(answer.directory, pid, limit);
    if (!asked) return asked.error();
    answer.asked = std::move(*asked);
    if (!pid || !answer.asked.cores.empty()) break;
  }
  return answer;
}

int take(const Arguments& arguments, std::chrono::milliseconds limit) {
  std::string directory = arguments.spool;
  if (directory.empty()) {
    const Result<Policy> policy = load_policy(std::nullopt, environ);
    if (!policy) return fail(policy.error().message, 2);
    directory = policy->spool_directory;
  }
  const Result<recording::Spool> spool = recording::Spool::open(directory);
  if (!spool) return fail(spool.error().message);
  const Result<Answer> answer = ask(arguments, *spool, limit);
  return answer ? tell(*answer, arguments) : fail(answer.error().message);
}

}  // namespace

int cmd_core(int argc, char** argv) {
  CLI::App app{"Takes cores of recorded processes, which run on: of all of the newest run.",
               "shmrec core"};
  Arguments arguments;
  app.footer(kFooter);
  app.add_option("WHICH", arguments.which,
                 "A pid, or the name of a run directory: all its processes");
  app.add_option("--spool", arguments.spool, "The spool (default: that of the policy in force)")
      ->type_name("DIR");
  app.add_option("--timeout", arguments.timeout, "How long to wait at most (default: 1m)")
      ->type_name("DURATION");
  app.add_flag("--json", arguments.json, "Print a JSON document");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const std::optional<uint64_t> wait_ms = parse_duration(arguments.timeout);
  if (!wait_ms) return fail("--timeout " + wait_problem(wait_ms, arguments.timeout), 2);
  return take(arguments, std::chrono::milliseconds(*wait_ms));
}

}  // namespace shmrec::cli
