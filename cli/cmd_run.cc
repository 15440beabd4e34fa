// shmrec run: record a command.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "agent/pack/image.h"
#include "cli/commands.h"
#include "launcher/run.h"

namespace shmrec::cli {
namespace {

constexpr const char* kFooter = R"(
The command runs as it would alone: same directory, environment, descriptors, limits, terminal and
signals. Signals sent to shmrec go on to the command. At its end shmrec writes one file, the bundle
(NAME-TIME.shmrec.tar.zst), and a short report on stderr.

Exit code: the command's; 128+N if signal N killed it; 127 if it was not found; 126 if it could not
be executed; 2 for a bad option. With --strict or failurePolicy: closed, if the command is not
started: 2 for a mistake in the policy, 125 if shmrec failed. Without, the command runs: a policy
file or variable with a mistake is reported, and the defaults hold in its place.

What cannot be recorded as it is: see Limits in the README. On AMD's processors each access to
shared memory clears the x87 instruction and data pointers, as any interrupt does there.

Environment: SHMREC_POLICY, SHMREC_SPOOL and the other SHMREC_* variables that `shmrec policy show`
lists override the policy file.

Example:
  shmrec run --policy policy.yaml -- ./shmem_producer_consumer
  shmrec ls shmem_producer_consumer-*.shmrec.tar.zst)";

struct Help : CLI::Formatter {
  std::string make_usage(const CLI::App*, std::string) const override {
    return "usage: shmrec run [OPTIONS] [--] COMMAND [ARGUMENTS...]\n";
  }
};

// Everything from the first word that is no option of ours is the command's, its options included.
// A
// "--" in front of it is not part of it. Empty: there is none, which has been said.
std::vector<std::string> command_of(std::vector<std::string> rest) {
  const bool marked = !rest.empty() && rest[0] == "--";
  if (marked) rest.erase(rest.begin());
  const char* trouble = rest.empty()                          ? "no command given"
                        : !marked && rest[0].starts_with("-") ? "no such option"
                                                              : nullptr;
  if (!trouble) return rest;
  std::fprintf(stderr, "shmrec: run: %s%s; see shmrec run --help\n",
               rest.empty() ? "" : (rest[0] + ": ").c_str(), trouble);
  return {};
}

}  // namespace

int cmd_run(int argc, char** argv) {
  CLI::App app{
      "Runs COMMAND, records every access to shared memory by it and its descendants, and "
      "leaves a bundle.",
      "shmrec run"};
  launcher::RunOptions options;
  options.agent_image = {shmrec_agent_image, shmrec_agent_image_bytes};
  std::string policy;
  app.formatter(std::make_shared<Help>());
  app.footer(kFooter);
  app.add_option("-p,--policy", policy,
                 "What to record, how much to keep (default: $SHMREC_POLICY, "
                 "/etc/shmrec/policy.yaml, built-in)")
      ->type_name("FILE");
  app.add_option("-o,--output", options.output,
                 "The bundle, or the directory it goes to (default: the current directory)")
      ->type_name("PATH");
  app.add_option("--spool", options.spool, "Directory for the data of the running command")
      ->type_name("DIR");
  app.add_flag("--keep-spool", options.keep_spool, "Keep the run's directory in the spool too");
  app.add_flag("--on-failure", options.on_failure, "Leave a bundle only if the exit code is not 0");
  app.add_flag("--strict", options.strict,
               "Start nothing that cannot be recorded, or whose policy has mistakes "
               "(failurePolicy: closed)");
  app.add_flag("--wait-all", options.wait_all,
               "Wait for all processes that the command left, not for the command alone");
  std::string level;
  app.add_option("--level", level,
                 "accesses: those to shared memory; replay: all that is needed to execute each "
                 "process again (default: the policy's, else accesses)")
      ->type_name("LEVEL")
      ->check(CLI::IsMember({"accesses", "replay"}));
  app.add_flag("--checksums", options.checksums,
               "At level replay, write down hashes of memory that `replay --check` compares");
  app.add_flag("--slow", options.slow,
               "Change no instruction of the program: each access costs a fault (for comparison)");
  app.add_flag("-q,--quiet", options.quiet, "No report at the end");
  app.prefix_command();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (!level.empty())
    options.level = level == "replay" ? RecordLevel::kReplay : RecordLevel::kAccesses;
  options.command = command_of(app.remaining());
  if (options.command.empty()) return 2;
  if (!policy.empty()) options.policy_file = policy;
  return launcher::run(options);
}

}  // namespace shmrec::cli
