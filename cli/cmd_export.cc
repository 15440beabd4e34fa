// shmrec export: a run in the formats of other tools.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <map>

#include "base/text_output.h"
#include "cli/commands.h"
#include "recording/blame/locate.h"
#include "recording/crash/core_backtrace.h"
#include "recording/export/access_csv.h"
#include "recording/export/trace_events.h"
#include "recording/log/names.h"
#include "recording/run/run_files.h"
#include "recording/run/text.h"

namespace shmrec::cli {
namespace {

using recording::Damage;
using recording::RunFiles;
using recording::Timeline;

struct Arguments {
  std::string bundle, format, output, segment, recording;
};

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

// ---- Formats ------------------------------------------------------------------------------------

using Write = std::function<bool(std::string_view)>;
using Export = std::vector<Damage> (*)(const RunFiles&, const Timeline&,
                                       const recording::AccessFilter&, const Write&);

std::vector<Damage> to_perfetto(const RunFiles& files, const Timeline& timeline,
                                const recording::AccessFilter& filter, const Write& write) {
  std::map<std::string, std::string> deaths;
  for (const auto& [id, line] : recording::core_lines(files, timeline))
    if (line.ended) deaths[id] = line.text;
  return recording::write_trace_events(timeline, filter, deaths, write);
}

std::vector<Damage> to_csv(const RunFiles& files, const Timeline& timeline,
                           const recording::AccessFilter& filter, const Write& write) {
  recording::Symbols symbols([&](const std::string& path) { return files.binary(path); });
  return recording::write_access_csv(timeline, symbols, filter, write);
}

const std::map<std::string, Export> kFormats = {{"csv", to_csv}, {"perfetto", to_perfetto}};

// ---- Running ------------------------------------------------------------------------------------

Result<recording::AccessFilter> filter_of(const Arguments& arguments, const Timeline& timeline) {
  recording::AccessFilter filter;
  if (!arguments.segment.empty()) {
    const Result<uint32_t> segment = recording::find_segment(timeline, arguments.segment);
    if (!segment) return Error{"--segment " + arguments.segment + ": " + segment.error().message};
    filter.segment = *segment;
  }
  if (!arguments.recording.empty()) {
    const Result<const recording::Recording*> found = timeline.find(arguments.recording);
    if (!found) return found.error();
    filter.process = (*found)->process;
  }
  return filter;
}

// What is missing in the output.
void print_notes(const RunFiles& files, const std::vector<Damage>& damage) {
  for (const shmlog::Loss loss :
       {shmlog::Loss::kRecordsOverwritten, shmlog::Loss::kRecordsDropped}) {
    if (const uint64_t count = files.log().loss(loss))
      std::fprintf(stderr, "shmrec: note: not in it: %s %s\n",
                   recording::with_separators(count).c_str(), recording::loss_words(loss).what);
  }
  for (const Damage& one : damage)
    std::fprintf(stderr, "shmrec: note: left out: %s: %s\n",
                 recording::with_separators(one.count).c_str(), one.reason.c_str());
}

int export_run(const Arguments& arguments) {
  const auto files = RunFiles::open(arguments.bundle, RunFiles::Read::kWhole);
  if (!files) return fail(files.error());
  const Timeline timeline = (*files)->timeline();
  const Result<recording::AccessFilter> filter = filter_of(arguments, timeline);
  if (!filter) return fail(filter.error());
  Result<TextOutput> output = TextOutput::open(arguments.output);
  if (!output) return fail(output.error());
  const std::vector<Damage> damage = kFormats.at(arguments.format)(
      **files, timeline, *filter, [&](std::string_view text) { return output->write(text); });
  if (const Result<> written = output->finish(); !written) return fail(written.error());
  print_notes(**files, damage);
  return 0;
}

}  // namespace

int cmd_export(int argc, char** argv) {
  CLI::App app{
      "Writes a run for other tools: perfetto, Chrome trace events that Perfetto's UI opens, or "
      "csv, a table of all accesses.",
      "shmrec export"};
  app.footer("Example: shmrec export BUNDLE --format perfetto -o run.json");
  Arguments arguments;
  app.add_option("BUNDLE", arguments.bundle, "Bundle, run directory or .shmlog file")->required();
  app.add_option("--format", arguments.format, "perfetto or csv")
      ->required()
      ->check(CLI::IsMember(kFormats));
  app.add_option("-o,--output", arguments.output, "File; default, and -: standard output");
  app.add_option("--segment", arguments.segment,
                 "Only accesses to this segment: label, name or number");
  app.add_option("--recording", arguments.recording,
                 "Only this recording: ID, a unique pid or name");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return export_run(arguments);
}

}  // namespace shmrec::cli
