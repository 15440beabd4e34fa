// shmrec doctor: try what recording needs of this machine.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "cli/commands.h"
#include "launcher/doctor.h"

namespace shmrec::cli {

int cmd_doctor(int argc, char** argv) {
  CLI::App app{
      "Tries each thing that recording needs of this machine by doing it; says what refuses it "
      "and what to change. Exit code 0: recording works here.",
      "shmrec doctor"};
  bool json = false;
  std::string spool;
  app.add_flag("--json", json, "Print a JSON document instead of a table");
  app.add_option("--spool", spool, "Directory that recordings will be written to")
      ->type_name("DIR");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const launcher::Diagnosis diagnosis = launcher::diagnose(spool);
  const std::string text = json ? launcher::to_json(diagnosis)
                                : launcher::to_table(diagnosis, isatty(STDOUT_FILENO) != 0);
  std::fputs(text.c_str(), stdout);
  return diagnosis.recording_works() ? 0 : 1;
}

}  // namespace shmrec::cli
