// shmrec replay: executes recordings again.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/pack/image.h"
#include "base/printable.h"
#include "base/signal_name.h"
#include "cli/commands.h"
#include "recording/run/listing.h"
#include "recording/run/run_files.h"
#include "replay/replayer.h"

namespace shmrec::cli {
namespace {

using agent::ReplayEnd;
using agent::ReplayState;
using recording::Recording;
using replay::ReplayOutcome;

constexpr const char* kFooter = R"(
A recording has what is needed if it was made at level replay (shmrec run --level replay). It is
executed in a process of its own, which can open no file and reach nothing outside of itself, fed
from the recording, and compared with it at each event. RECORDING is an ID, a pid or a name as
shmrec ls lists them; without one, all that have what is needed are executed.

Exit code: 0 if all did again what they did; 1 if one did not; 2 if one could not be executed, or
for bad usage.

Example:
  shmrec run --level replay -- ./shmem_producer_consumer
  shmrec replay --check shmem_producer_consumer-*.shmrec.tar.zst)";

struct Arguments {
  std::string bundle;
  std::vector<std::string> recordings;
  uint64_t until = 0;
  unsigned patience = 300;
  bool check = false, stats = false, json = false;
};

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: replay: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

// ---- What is executed
// ----------------------------------------------------------------------------

bool is_called(const Recording& one, const std::string& name) {
  return one.id == name || std::to_string(one.pid) == name || one.name == name;
}

Result<std::vector<Recording>> choose(const Arguments& arguments,
                                      const recording::RunFiles& files) {
  const recording::Timeline timeline = files.timeline();
  std::vector<Recording> chosen;
  for (const std::string& name : arguments.recordings) {
    const size_t before = chosen.size();
    for (const Recording& one : timeline.recordings())
      if (is_called(one, name)) chosen.push_back(one);
    if (chosen.size() == before)
      return Error{arguments.bundle + ": no recording is called '" + name +
                   "'; expected an ID, pid or name as shmrec ls lists them"};
  }
  if (!arguments.recordings.empty()) return chosen;
  for (const Recording& one : timeline.recordings())
    if (replay::has_stream(files, one.id)) chosen.push_back(one);
  if (chosen.empty())
    return Error{arguments.bundle +
                 ": nothing in it can be executed again; record with --level replay"};
  return chosen;
}

// ---- What came of it
// -----------------------------------------------------------------------------

std::string end_text(const ReplayOutcome& outcome) {
  switch (outcome.end) {
    case ReplayEnd::kExit:
      return "exit " + std::to_string(outcome.detail & 0xFF);
    case ReplayEnd::kDeath:
      return signal_with_number(static_cast<int>(outcome.detail));
    case ReplayEnd::kExec:
      return "exec";
    case ReplayEnd::kUnreplayable:
      return "up to here: " + outcome.text;
    case ReplayEnd::kAccessesGone:
      return "up to event " + std::to_string(outcome.detail) +
             ", whose accesses the log does not hold any more";
    case ReplayEnd::kAsked:
      return "up to here, as asked";
    case ReplayEnd::kLogEnds:
      break;
  }
  return "up to its last event";
}

const char* state_word(const ReplayOutcome& outcome) {
  switch (outcome.state) {
    case ReplayState::kFinished:
      return "equal";
    case ReplayState::kRefused:
      return "refused";
    default:
      return "diverged";
  }
}

std::string result_text(const ReplayOutcome& outcome) {
  const bool finished = outcome.state == ReplayState::kFinished;
  return std::string(state_word(outcome)) + ", " +
         printable(finished ? end_text(outcome) : outcome.text);
}

int code_of(const ReplayOutcome& outcome) {
  if (outcome.state == ReplayState::kFinished) return 0;
  return outcome.state == ReplayState::kRefused ? 2 : 1;
}

nlohmann::json to_json(const Recording& one, const ReplayOutcome& outcome) {
  return {{"recording", one.id},
          {"pid", one.pid},
          {"name", one.name},
          {"result", state_word(outcome)},
          {"text", result_text(outcome)},
          {"event", outcome.event},
          {"records", outcome.records},
          {"checks", outcome.checks},
          {"memoryPages", outcome.memory_pages},
          {"stops", outcome.stops},
          {"visits", outcome.visits},
          {"seconds", outcome.seconds}};
}

void print_row(const Recording& one, const ReplayOutcome& outcome, bool stats) {
  std::printf("%-13s  %-15.15s  %10llu  %8.3f  %s", one.id.c_str(), printable(one.name).c_str(),
              static_cast<unsigned long long>(outcome.event), outcome.seconds,
              result_text(outcome).c_str());
  if (stats)
    std::printf(
        "  (%llu records, %llu checks, %llu pages, %llu stops at %llu visits, %.0f events/s)",
        static_cast<unsigned long long>(outcome.records),
        static_cast<unsigned long long>(outcome.checks),
        static_cast<unsigned long long>(outcome.memory_pages),
        static_cast<unsigned long long>(outcome.stops),
        static_cast<unsigned long long>(outcome.visits),
        static_cast<double>(outcome.event) / outcome.seconds);
  std::printf("\n");
}

// A line on the terminal while one takes long.
class Progress {
 public:
  explicit Progress(const Recording& one) : name_(one.name), shown_(isatty(STDERR_FILENO) != 0) {}
  ~Progress() {
    if (drawn_) std::fprintf(stderr, "\r\033[K");
  }
  void at(uint64_t event) {
    if (!shown_ || ++calls_ % 32 != 0) return;
    drawn_ = true;
    std::fprintf(stderr, "\r%s: event %llu\033[K", name_.c_str(),
                 static_cast<unsigned long long>(event));
  }

 private:
  std::string name_;
  bool shown_, drawn_ = false;
  unsigned calls_ = 0;
};

ReplayOutcome execute(const Arguments& arguments, const recording::RunFiles& files,
                      replay::AccessFiles& accesses, const Recording& one) {
  Progress progress(one);
  replay::ReplayOptions options;
  options.recording = one.id;
  options.agent_image = {shmrec_agent_image, shmrec_agent_image_bytes};
  options.until_event = arguments.until;
  options.patience = std::chrono::seconds(arguments.patience);
  options.progress = [&](uint64_t event) { progress.at(event); };
  const auto outcome = replay::replay_recording(files, accesses, options);
  if (outcome) return *outcome;
  ReplayOutcome refused;
  refused.state = ReplayState::kRefused;
  refused.text = outcome.error().message;
  return refused;
}

int check(const Arguments& arguments) {
  const auto files = recording::RunFiles::open(arguments.bundle, recording::RunFiles::Read::kWhole);
  if (!files) return fail(files.error());
  const auto chosen = choose(arguments, **files);
  if (!chosen) return fail(chosen.error());
  replay::AccessFiles accesses((*files)->log());
  int code = 0;
  nlohmann::json document = {{"format", "shmrec-replay/1"},
                             {"recordings", nlohmann::json::array()}};
  if (!arguments.json)
    std::printf("%-13s  %-15s  %10s  %8s  %s\n", "Recording", "Name", "Events", "Seconds",
                "Result");
  for (const Recording& one : *chosen) {
    const ReplayOutcome outcome = execute(arguments, **files, accesses, one);
    code = std::max(code, code_of(outcome));
    if (arguments.json)
      document["recordings"].push_back(to_json(one, outcome));
    else
      print_row(one, outcome, arguments.stats);
    std::fflush(stdout);
  }
  if (arguments.json)
    std::printf("%s\n",
                document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return code;
}

}  // namespace

int cmd_replay(int argc, char** argv) {
  CLI::App app{"Executes recordings again and says whether they do what they did.",
               "shmrec replay"};
  Arguments arguments;
  app.footer(kFooter);
  app.add_flag("--check", arguments.check, "Execute, compare, print a table")->required();
  app.add_option("BUNDLE", arguments.bundle, "Bundle or run directory")->required();
  app.add_option("RECORDING", arguments.recordings, "IDs, pids or names; default: all");
  app.add_option("--until", arguments.until, "Stop at this event")->type_name("EVENT");
  app.add_option("--patience", arguments.patience,
                 "Give up a recording that meets no event for so many seconds (default: 300)")
      ->type_name("SECONDS")
      ->check(CLI::PositiveNumber);
  app.add_flag("--stats", arguments.stats, "Say how much was compared");
  app.add_flag("--json", arguments.json, "Print a JSON document");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return check(arguments);
}

}  // namespace shmrec::cli
