// shmrec replay: execute recordings again.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "agent/pack/image.h"
#include "base/signal_name.h"
#include "cli/commands.h"
#include "replay/replayer.h"

namespace shmrec::cli {
namespace {

using agent::ReplayEnd;
using agent::ReplayState;

std::string end_text(const replay::ReplayOutcome& outcome) {
  switch (outcome.end) {
    case ReplayEnd::kExit:
      return "exit " + std::to_string(outcome.detail & 0xFF);
    case ReplayEnd::kDeath:
      return signal_with_number(static_cast<int>(outcome.detail));
    case ReplayEnd::kExec:
      return "exec";
    case ReplayEnd::kUnreplayable:
      return "up to what cannot be replayed";
    case ReplayEnd::kAccessesGone:
      return "up to event " + std::to_string(outcome.detail) +
             ", whose accesses the log does not hold any more";
    case ReplayEnd::kAsked:
      return "as asked";
    case ReplayEnd::kLogEnds:
      break;
  }
  return "end of the recording";
}

std::string result_text(const replay::ReplayOutcome& outcome) {
  if (outcome.state == ReplayState::kFinished) return "equal, " + end_text(outcome);
  const char* what = outcome.state == ReplayState::kRefused ? "refused: " : "DIVERGED: ";
  return what + outcome.text;
}

int check(const std::string& run, std::vector<std::string> recordings) {
  if (recordings.empty()) {
    auto all = replay::list_recordings(run);
    if (!all) {
      std::fprintf(stderr, "shmrec: replay: %s\n", all.error().message.c_str());
      return 2;
    }
    recordings = *all;
  }
  int code = 0;
  std::printf("%-14s %10s %8s  %s\n", "Recording", "Events", "Seconds", "Result");
  for (const std::string& id : recordings) {
    replay::ReplayOptions options{run, id, {shmrec_agent_image, shmrec_agent_image_bytes}, {}};
    const auto outcome = replay::replay_recording(options);
    if (!outcome) {
      std::printf("%-14s %10s %8s  %s\n", id.c_str(), "-", "-", outcome.error().message.c_str());
      code = 2;
      continue;
    }
    std::printf("%-14s %10llu %8.3f  %s\n", id.c_str(),
                static_cast<unsigned long long>(outcome->event), outcome->seconds,
                result_text(*outcome).c_str());
    if (outcome->state != ReplayState::kFinished) code = std::max(code, 1);
  }
  return code;
}

}  // namespace

int cmd_replay(int argc, char** argv) {
  CLI::App app{"Executes recordings at level replay again and compares what they do.",
               "shmrec replay"};
  std::string run;
  std::vector<std::string> recordings;
  bool only_check = false;
  app.add_flag("--check", only_check, "Execute, compare, print a table");
  app.add_option("run", run, "A run directory")->required();
  app.add_option("recording", recordings, "IDs (default: all)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return check(run, recordings);
}

}  // namespace shmrec::cli
