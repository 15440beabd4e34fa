// shmrec ls: what is in a bundle.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "recording/run/listing.h"
#include "recording/run/run_files.h"

namespace shmrec::cli {

int cmd_ls(int argc, char** argv) {
  CLI::App app{
      "Lists the recordings of a run, the shared-memory segments with who mapped them, where, and "
      "how "
      "often they were read and written, what was lost, and what was not recorded.",
      "shmrec ls"};
  std::string bundle;
  bool json = false;
  app.add_option("BUNDLE", bundle, "Bundle, run directory or .shmlog file")->required();
  app.add_flag("--json", json, "Print a JSON document");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto files = recording::RunFiles::open(bundle);
  if (!files) {
    std::fprintf(stderr, "shmrec: %s\n", files.error().message.c_str());
    return files.error().bad_input ? 2 : 1;
  }
  const recording::Timeline timeline = (*files)->timeline();
  recording::Listing listing = recording::make_listing(timeline);
  listing.launchers = (*files)->launchers();
  using nlohmann::detail::error_handler_t;
  const std::string text =
      json ? recording::listing_json(listing).dump(2, ' ', false, error_handler_t::replace) + "\n"
           : recording::listing_text(listing);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace shmrec::cli
