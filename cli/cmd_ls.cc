// shmrec ls: what is in a bundle.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "recording/blame/symbols.h"
#include "recording/run/listing.h"
#include "recording/run/run_files.h"

namespace shmrec::recording {
namespace {

// Of the modules that the recording had at its end; one that is gone by then is not known.
CodePlace code_place(const Timeline& timeline, Symbols& symbols, const Recording& recording,
                     uint64_t pc) {
  const AddressSpace space = timeline.address_space(recording, UINT64_MAX);
  const Mapping* mapping = space.find(pc);
  if (mapping == nullptr || mapping->segment != 0) return {};
  const ModuleFile* file = symbols.module(mapping->path);
  const auto address =
      file ? file->address_of_offset(mapping->offset + (pc - mapping->begin)) : std::nullopt;
  // A return address may be the first of the next function.
  return {address ? file->place(*address - 1).function : "", mapping->path};
}

}  // namespace
}  // namespace shmrec::recording

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
  recording::Symbols symbols([&](const std::string& path) { return (*files)->binary(path); });
  recording::Listing listing =
      recording::make_listing(timeline, [&](const recording::Recording& recording, uint64_t pc) {
        return recording::code_place(timeline, symbols, recording, pc);
      });
  listing.launchers = (*files)->launchers();
  using nlohmann::detail::error_handler_t;
  const std::string text =
      json ? recording::listing_json(listing).dump(2, ' ', false, error_handler_t::replace) + "\n"
           : recording::listing_text(listing);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace shmrec::cli
