// shmrec ls: what is in a bundle.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "cli/index_warning.h"
#include "recording/blame/locate.h"
#include "recording/blame/symbols.h"
#include "recording/blame/touched.h"
#include "recording/crash/core_backtrace.h"
#include "recording/log/brakes.h"
#include "recording/log/names.h"
#include "recording/run/gaps.h"
#include "recording/run/listing.h"
#include "recording/run/run_files.h"
#include "recording/run/text.h"

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

namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

void print(const nlohmann::json& document) {
  using nlohmann::detail::error_handler_t;
  std::printf("%s\n", document.dump(2, ' ', false, error_handler_t::replace).c_str());
}

// The ranges of one segment that were accessed,
// and what of it was not recorded.
std::optional<int> list_segment(const recording::RunFiles& files,
                                const recording::Timeline& timeline, const std::string& name,
                                uint64_t limit, bool json) {
  const auto index = files.access_index();
  recording::Symbols symbols([&](const std::string& path) { return files.binary(path); });
  const auto place = recording::locate_in_segments({*index, timeline, symbols}, name + "+0");
  if (!place) {
    if (warn_of_index(files)) return std::nullopt;
    return fail(place.error());
  }
  const std::vector<recording::TouchedRange> ranges =
      recording::touched_ranges(files.log(), place->segment);
  const shmlog::SegmentEntry* entry = files.log().segment(place->segment);
  const bool writes_only = entry != nullptr && recording::has_writes_only(*entry);
  const std::string label = recording::segment_label(place->segment, entry);
  const std::vector<recording::CoverageItem> gaps =
      recording::gaps_of_segment(timeline, place->segment, files.coverage());
  if (warn_of_index(files)) return std::nullopt;
  if (json) {
    const nlohmann::json coverage = recording::coverage_document(gaps);
    print({{"format", "shmrec-ranges/1"},
           {"segment",
            {{"number", place->segment},
             {"label", label},
             {"accesses", writes_only ? "writes" : "all"}}},
           {"ranges", recording::touched_json(timeline, ranges)},
           {"complete", coverage["complete"]},
           {"coverage", coverage["items"]}});
    return 0;
  }
  std::printf(
      "%s bytes of %u %s\n%s", writes_only ? "Written" : "Accessed", place->segment,
      recording::printable(label).c_str(),
      recording::touched_text(timeline, ranges, limit ? limit : UINT64_MAX, writes_only).c_str());
  if (!gaps.empty()) std::fputs(recording::gaps_text(timeline, gaps).c_str(), stdout);
  return 0;
}

constexpr auto kPatchCounts = static_cast<uint32_t>(shmlog::PatchCount::kCount);

nlohmann::json stats_json(const shmlog::Header& header) {
  nlohmann::json counts;
  for (uint32_t i = 0; i < kPatchCounts; ++i)
    counts[recording::patch_words(static_cast<shmlog::PatchCount>(i)).name] = header.patches[i];
  return {{"patches", counts}};
}

// When less was recorded than the policy says.
nlohmann::json brakes_json(const recording::ShmlogReader& log) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& segment : log.segments())
    for (const recording::BrakePeriod& period : recording::brake_periods(log, segment.index)) {
      rows.push_back({{"segment", segment.index},
                      {"level", recording::brake_name(static_cast<uint32_t>(period.level))},
                      {"slowdown", static_cast<double>(period.slowdown) / 1000}});
      if (period.begin_tsc != 0)
        rows.back()["fromSeconds"] = log.seconds_since_start(period.begin_tsc);
      if (period.end_tsc != 0) rows.back()["toSeconds"] = log.seconds_since_start(period.end_tsc);
    }
  return rows;
}

std::string brakes_text(const recording::ShmlogReader& log) {
  std::string text;
  for (const auto& segment : log.segments())
    for (const recording::BrakePeriod& period : recording::brake_periods(log, segment.index))
      text += "  segment " + std::to_string(segment.index) + ": " +
              recording::brake_words(period.level) + " recorded " +
              recording::brake_time(log, period) + ": " +
              recording::brake_cause(log, period.slowdown) + "\n";
  return text.empty() ? "" : "\nBrake\n" + text;
}

std::string stats_text(const shmlog::Header& header) {
  std::string text = "\nPatches\n";
  for (uint32_t i = 0; i < kPatchCounts; ++i) {
    char line[128];
    std::snprintf(line, sizeof line, "  %10s  %s\n",
                  recording::with_separators(header.patches[i]).c_str(),
                  recording::patch_words(static_cast<shmlog::PatchCount>(i)).what);
    text += line;
  }
  return text;
}

void print_cores(const std::map<std::string, recording::CoreLine>& lines, bool ended,
                 const char* title) {
  bool first = true;
  for (const auto& [id, line] : lines) {
    if (line.ended != ended) continue;
    if (std::exchange(first, false)) std::printf("\n%s\n", title);
    std::printf("  %s, recording %s\n", line.text.c_str(), id.c_str());
  }
}

std::optional<int> list_run(const recording::RunFiles& files, const recording::Timeline& timeline,
                            bool json, bool stats) {
  recording::Symbols symbols([&](const std::string& path) { return files.binary(path); });
  recording::Listing listing =
      recording::make_listing(timeline, [&](const recording::Recording& recording, uint64_t pc) {
        return recording::code_place(timeline, symbols, recording, pc);
      });
  const std::map<std::string, recording::CoreLine> cores = recording::core_lines(files, timeline);
  listing.launchers = files.launchers();
  listing.coverage = files.coverage();
  if (warn_of_index(files)) return std::nullopt;
  const shmlog::Header& header = files.log().header();
  if (json) {
    nlohmann::json document = recording::listing_json(listing);
    for (nlohmann::json& one : document["recordings"])
      if (const auto core = cores.find(one["id"]); core != cores.end())
        one[core->second.ended ? "death" : "core"] = core->second.text;
    if (stats) document["stats"] = stats_json(header);
    if (stats) document["stats"]["brakes"] = brakes_json(files.log());
    print(document);
  } else {
    std::fputs(recording::listing_text(listing).c_str(), stdout);
    print_cores(cores, true, "Died");
    print_cores(cores, false, "Where they were when their cores were taken");
    if (stats) std::fputs((stats_text(header) + brakes_text(files.log())).c_str(), stdout);
  }
  return 0;
}

}  // namespace

int cmd_ls(int argc, char** argv) {
  CLI::App app{
      "Lists the recordings of a run, the shared-memory segments with who mapped them, where, and "
      "how often they were read and written, and what was not recorded and why. With SEGMENT: "
      "which bytes of it were accessed, how often, who wrote them last, and what concerns it of "
      "what was not recorded.",
      "shmrec ls"};
  std::string bundle;
  std::string segment;
  uint64_t limit = 100;
  bool json = false, stats = false;
  app.add_option("BUNDLE", bundle, "Bundle, run directory or .shmlog file")->required();
  app.add_option("SEGMENT", segment, "A segment by label, name or number");
  app.add_option("--limit", limit, "Ranges of SEGMENT to show, 0: all")->capture_default_str();
  app.add_flag("--stats", stats, "How instructions were recorded: as jumps, or by faults");
  app.add_flag("--json", json, "Print a JSON document");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return in_parts_or_whole([&](auto read) -> std::optional<int> {
    const auto files = recording::RunFiles::open(bundle, read);
    if (!files) return fail(files.error());
    const recording::Timeline timeline = (*files)->timeline();
    return segment.empty() ? list_run(**files, timeline, json, stats)
                           : list_segment(**files, timeline, segment, limit, json);
  });
}

}  // namespace shmrec::cli
