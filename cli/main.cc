// The one program: finds the subcommand and calls it.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "policy/suggest.h"

namespace shmrec::cli {
namespace {

struct Command {
  const char* name;
  int (*function)(int argc, char** argv);
  const char* summary;
};

// In the order of use: record, look, administer.
constexpr Command kCommands[] = {
    {"run", cmd_run, "run a command, record its shared memory, leave a bundle"},
    {"blame", cmd_blame, "say which accesses led to a value in shared memory"},
    {"timeline", cmd_timeline, "list all accesses to a place in shared memory"},
    {"ls", cmd_ls, "list recordings, segments and what was not recorded"},
    {"backtrace", cmd_backtrace, "print where processes died, or stood"},
    {"gdb", cmd_gdb, "open the core of a process, in gdb"},
    {"replay", cmd_replay, "execute a recording again"},
    {"report", cmd_report, "write a page to look at: what happened, who shared what"},
    {"export", cmd_export, "hand all accesses to other tools: Perfetto, tables"},
    {"dump", cmd_dump, "print a log or a bundle's manifest item by item"},
    {"bundle", cmd_bundle, "make, list, show, verify and extract bundles"},
    {"doctor", cmd_doctor, "try what recording needs of this machine, say what to change"},
    {"inject", cmd_inject, "add the sidecar to Kubernetes manifests"},
    {"uninject", cmd_uninject, "take the sidecar out of Kubernetes manifests again"},
    {"policy", cmd_policy, "check a policy file, show the policy in force"},
    {"install", cmd_install, "copy this program to a volume, for containers of other images"},
    {"core", cmd_core, "take cores of recorded processes, which run on"},
    {"trigger", cmd_trigger, "ask the sidecar for a bundle"},
};

void print_usage(FILE* out) {
  std::fprintf(out,
               "shmrec records programs that share memory and says who wrote what\n\n"
               "usage: shmrec COMMAND [ARGUMENTS]\n"
               "       shmrec COMMAND --help\n"
               "       shmrec --version\n\ncommands:\n");
  for (const Command& command : kCommands)
    std::fprintf(out, "  %-10s %s\n", command.name, command.summary);
}

const Command* find_command(const char* name) {
  for (const Command& command : kCommands)
    if (std::strcmp(command.name, name) == 0) return &command;
  return nullptr;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  return names;
}

bool is_one_of(const char* word, const char* a, const char* b, const char* c) {
  return std::strcmp(word, a) == 0 || std::strcmp(word, b) == 0 || std::strcmp(word, c) == 0;
}

int call(int argc, char** argv) {
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  if (is_one_of(argv[1], "--version", "-V", "version")) {
    std::printf("shmrec %s\n", SHMREC_VERSION);
    return 0;
  }
  if (is_one_of(argv[1], "--help", "-h", "help")) {
    print_usage(stdout);
    return 0;
  }
  const Command* command = find_command(argv[1]);
  if (!command) {
    std::fprintf(stderr, "shmrec: %s: no such command%s; see shmrec --help\n", argv[1],
                 did_you_mean(argv[1], command_names()).c_str());
    return 2;
  }
  return command->function(argc - 1, argv + 1);
}

}  // namespace
}  // namespace shmrec::cli

int main(int argc, char** argv) {
  const int code = shmrec::cli::call(argc, argv);
  if (std::fflush(stdout) != 0 && code == 0) return 1;
  return code;
}
