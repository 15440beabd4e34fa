// shmrec backtrace: where the processes of a bundle died, without a debugger.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "recording/crash/core_backtrace.h"
#include "recording/run/run_files.h"

namespace shmrec::cli {
namespace {

struct Arguments {
  std::string bundle, recording;
  bool all = false, json = false;
};

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

bool is_wanted(const recording::Recording& one, const std::string& wanted) {
  return wanted.empty() || one.id == wanted || std::to_string(one.pid) == wanted ||
         one.name == wanted;
}

void print(const recording::Recording& one, const recording::CoreStacks& stacks, bool all) {
  std::printf("%s, recording %s\n", recording::core_text(one.name, one.pid, stacks).c_str(),
              one.id.c_str());
  for (const recording::ThreadStack& thread : stacks.threads) {
    if (all) std::printf("Thread %d\n", thread.tid);
    std::fputs(recording::stack_text(thread).c_str(), stdout);
    if (!all) break;
  }
}

int print_stacks(const Arguments& arguments, const recording::RunFiles& files) {
  const recording::Timeline timeline = files.timeline();
  nlohmann::json document = {{"format", "shmrec-backtrace/1"},
                             {"processes", nlohmann::json::array()}};
  size_t found = 0, cores = 0;
  for (const recording::Recording& one : timeline.recordings()) {
    if (!is_wanted(one, arguments.recording)) continue;
    ++found;
    const std::string core = files.core(one.id);
    if (core.empty()) continue;
    if (cores++ > 0 && !arguments.json) std::printf("\n");
    const auto stacks = recording::read_core_stacks(core, recording::finder_of(files));
    if (!stacks) return fail(stacks.error());
    if (!arguments.json) print(one, *stacks, arguments.all);
    nlohmann::json process = recording::stacks_json(*stacks);
    process.update({{"recording", one.id}, {"pid", one.pid}, {"name", one.name}});
    document["processes"].push_back(std::move(process));
  }
  if (found == 0)
    return fail(Error{arguments.bundle + ": no recording is called '" + arguments.recording +
                      "'; expected an ID, pid or name as shmrec ls lists them"});
  if (cores == 0)
    return fail(Error{arguments.bundle + ": " +
                      (arguments.recording.empty() ? "no process" : arguments.recording) +
                      " left no core"});
  if (arguments.json)
    std::printf("%s\n",
                document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

int cmd_backtrace(int argc, char** argv) {
  CLI::App app{
      "Prints where the processes of a bundle died, or stood when somebody asked for their cores, "
      "without a debugger.",
      "shmrec backtrace"};
  Arguments arguments;
  app.add_option("BUNDLE", arguments.bundle, "Bundle or run directory")->required();
  app.add_option("RECORDING", arguments.recording,
                 "ID, pid or name; default: all that left a core");
  app.add_flag("--all", arguments.all, "All threads, not the one alone that died");
  app.add_flag("--json", arguments.json, "Print a JSON document, of all threads");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto files = recording::RunFiles::open(arguments.bundle, recording::RunFiles::Read::kParts);
  return files ? print_stacks(arguments, **files) : fail(files.error());
}

}  // namespace shmrec::cli
