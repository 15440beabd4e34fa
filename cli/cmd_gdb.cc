// shmrec gdb: a bundle's core in gdb, with commands that ask the recordings.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/commands.h"
#include "debugger/gdb_session.h"

namespace shmrec::cli {

int cmd_gdb(int argc, char** argv) {
  CLI::App app{
      "Opens the core that a process left in gdb, with its program and libraries from the bundle.\n"
      "In gdb: ublame EXPR, shmprint EXPR, info recordings, info segments, ugo inferior ID; help "
      "shmrec.",
      "shmrec gdb"};
  app.footer(
      "Without a core (SIGKILL) a recording that is named is opened with its program alone.\n"
      "Nothing of the bundle is executed, and nothing is fetched.\n\n"
      "Example: shmrec gdb BUNDLE consumer -- -batch -ex backtrace -ex 'ublame &ring[index]'");
  debugger::GdbOptions options;
  app.add_option("BUNDLE", options.bundle, "Bundle or run directory")->required();
  app.add_option(
      "RECORDING", options.recording,
      "ID, pid or name; default: of those that left a core, the one that died first, or else "
      "the first");
  try {
    // What is behind -- is gdb's.
    int own = 0;
    while (own < argc && std::string_view(argv[own]) != "--") ++own;
    app.parse(own, argv);
    for (int i = own + 1; i < argc; ++i) options.arguments.emplace_back(argv[i]);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Result<int> ended = debugger::run_gdb(options);
  if (ended) return *ended;
  std::fprintf(stderr, "shmrec: %s\n", ended.error().message.c_str());
  return ended.error().bad_input ? 2 : 1;
}

}  // namespace shmrec::cli
