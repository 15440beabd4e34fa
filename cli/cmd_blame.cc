// shmrec blame: which accesses led to a value in shared memory.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/index_warning.h"
#include "debugger/frame_place.h"
#include "recording/blame/blame.h"
#include "recording/blame/blame_print.h"
#include "recording/crash/core_backtrace.h"
#include "recording/run/run_files.h"
#include "recording/run/text.h"

namespace shmrec::cli {
namespace {

constexpr uint64_t kRowsShown = 20;
constexpr const char* kEnd = "end";

struct Arguments {
  std::string bundle;
  std::string at = kEnd;
  std::string history;
  bool json = false;
  bool verbose = false;
  bool show_command_line = false;
  std::string type;
  std::optional<uint64_t> limit;
  recording::BlameQuery query;
};

int fail(const Error& error) {
  std::fprintf(stderr, "shmrec: %s\n", error.message.c_str());
  return error.bad_input ? 2 : 1;
}

void add_common_options(CLI::App& app, Arguments& arguments) {
  app.add_option("BUNDLE", arguments.bundle, "Bundle, run directory or .shmlog file")->required();
  app.add_option("WHERE", arguments.query.where,
                 "An address (0x...), SEGMENT+OFFSET (label, name or number, see shmrec ls), an "
                 "expression over global variables such as '&ring[2].value', or, of a process that "
                 "left a core, FUNCTION:EXPR or 'frame N: EXPR' with locals (needs gdb)")
      ->required();
  app.add_option("--recording", arguments.query.recording,
                 arguments.query.all
                     ? "Only accesses by this recording: ID, pid or name"
                     : "Recording by ID, pid or name; default: of those that accessed it, the one "
                       "that failed first, else the last to access it");
  app.add_option("--at", arguments.at, "Time in the recording: EVENT, EVENT:0xPC or end")
      ->capture_default_str();
  app.add_option("--len", arguments.query.length,
                 "Bytes; default: what WHERE or the last access says")
      ->check(CLI::Range(uint64_t{1}, recording::kMaxBlameBytes));
  app.add_option("--type", arguments.type,
                 "Read values as: i8..i64, u8..u64, x8..x64, f32, f64, bool, char[], double...; "
                 "default: the type of WHERE");
  app.add_option("--limit", arguments.limit, "Rows to show, 0: all; default: 20, with --json all")
      ->type_name("N");
  app.add_flag("--json", arguments.json, "Print a JSON document");
  app.add_flag("--verbose", arguments.verbose,
               "Also print for each access the chains of inlined functions and of callers");
  app.add_flag("--show-command-line", arguments.show_command_line,
               "Also print for each access the command that asks from there");
}

void add_blame_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--history", arguments.history, "Also the N earlier writes, or all")
      ->type_name("N|all");
  app.add_flag("--forward", arguments.query.forward,
               "Who read the value, instead of where it came from");
  app.add_flag("--last", arguments.query.last,
               "Who wrote last, of all recordings, whichever is asked about")
      ->excludes("--forward")
      ->excludes("--recording")
      ->excludes("--at");
}

Result<> settle(Arguments& arguments) {
  const Result<recording::TimeInRecording> time = recording::parse_time(arguments.at);
  if (!time) return time.error();
  arguments.query.time = *time;
  const uint64_t rows = arguments.limit.value_or(arguments.json ? 0 : kRowsShown);
  if (rows != 0) arguments.query.limit = rows;
  if (!arguments.type.empty()) {
    const Result<recording::ValueType> type = recording::parse_value_type(arguments.type);
    if (!type) return type.error();
    arguments.query.type = *type;
    if (!arguments.query.length && type->size != 0) arguments.query.length = type->size;
  }
  const std::string& history = arguments.history;
  if (history == "all") {
    arguments.query.history = recording::kWholeHistory;
  } else if (!history.empty()) {
    const char* end = history.data() + history.size();
    const auto [stop, error] = std::from_chars(history.data(), end, arguments.query.history);
    if (error != std::errc() || stop != end)
      return Error{"--history " + history + ": expected a number or all"};
  }
  return Unit{};
}

void print_answer(const Arguments& arguments, const recording::BlameAnswer& answer) {
  if (arguments.json) {
    using nlohmann::detail::error_handler_t;
    std::printf(
        "%s\n",
        recording::blame_json(answer).dump(2, ' ', false, error_handler_t::replace).c_str());
    return;
  }
  std::fputs(recording::blame_table(answer, isatty(STDOUT_FILENO) != 0, arguments.verbose).c_str(),
             stdout);
  if (arguments.show_command_line) {
    std::printf("\n%s", recording::blame_command_lines(answer, arguments.bundle).c_str());
  }
  std::fflush(stdout);
  for (const std::string& note : answer.notes)
    std::fprintf(stderr, "shmrec: note: %s\n", note.c_str());
}

// ---- WHERE in a frame of a core -----------------------------------------------------------------

std::optional<debugger::FrameQuestion> frame_question(const recording::Timeline& timeline,
                                                      const std::string& where) {
  // A segment may have such a name.
  if (recording::names_segment(where) &&
      recording::find_segment(timeline, where.substr(0, where.rfind('+'))))
    return std::nullopt;
  return debugger::frame_question(where);
}

// Makes of the question one about the same bytes of a segment, of the recording that left the core.
// Returns which frame was asked.
Result<std::string> settle_frame(recording::BlameQuery& query, const Arguments& arguments,
                                 const recording::RunFiles& files,
                                 const recording::LocateContext& context,
                                 const debugger::FrameQuestion& question) {
  const auto place =
      debugger::find_in_frame(files, context.timeline, arguments.bundle, query.recording, question);
  if (!place) return place.error();
  // A core of a process that ran on shows an earlier moment.
  const uint64_t event = recording::core_event(files.core(place->recording->id));
  const auto location = recording::locate_in_recording(
      context, recording::hex(place->address), *place->recording, event != 0 ? event : UINT64_MAX);
  const bool is_value = place->length == 0;
  if (!location)
    return Error{query.where + ": " + (is_value ? "its value is taken for an address: " : "") +
                 location.error().message};
  query.where = std::to_string(location->segment) + "+" + recording::hex(location->offset);
  const bool asks_one = !query.last && (!query.all || !query.recording.empty());
  if (asks_one) query.recording = place->recording->id;
  if (asks_one && event != 0 && arguments.at == kEnd)
    if (const auto time = recording::parse_time(std::to_string(event))) query.time = *time;
  if (!query.length && place->length != 0)
    query.length = std::min(place->length, recording::kMaxBlameBytes);
  if (!query.type) query.type = place->type;
  return place->frame + " of " + place->recording->name + " " + place->recording->id;
}

// ---- Asking -------------------------------------------------------------------------------------

// Nothing if the bundle's index turns out to be wrong.
std::optional<int> ask(const Arguments& arguments, recording::RunFiles::Read read) {
  const auto files = recording::RunFiles::open(arguments.bundle, read);
  if (!files) return fail(files.error());
  const auto index = (*files)->access_index();
  const recording::Timeline timeline = (*files)->timeline();
  recording::Symbols symbols([&](const std::string& path) { return (*files)->binary(path); });
  recording::BlameQuery query = arguments.query;
  std::string frame;
  if (const auto question = frame_question(timeline, query.where)) {
    const Result<std::string> settled =
        settle_frame(query, arguments, **files, {*index, timeline, symbols}, *question);
    if (!settled) return fail(settled.error());
    frame = *settled;
  }
  auto answer = recording::Blame(*index, timeline, symbols).ask(query);
  if (warn_of_index(**files)) return std::nullopt;
  if (!answer) return fail(answer.error());
  if (!frame.empty()) answer->notes.insert(answer->notes.begin(), "asked in " + frame);
  print_answer(arguments, *answer);
  return 0;
}

int answer_question(CLI::App& app, Arguments& arguments, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const Result<> settled = settle(arguments); !settled) return fail(settled.error());
  return in_parts_or_whole([&](auto read) { return ask(arguments, read); });
}

}  // namespace

int cmd_blame(int argc, char** argv) {
  CLI::App app{
      "Prints the accesses that led to a value in shared memory, newest last; those of the "
      "recording in question are marked with *, and what others wrote after its last access "
      "with >.",
      "shmrec blame"};
  Arguments arguments;
  add_common_options(app, arguments);
  add_blame_options(app, arguments);
  return answer_question(app, arguments, argc, argv);
}

int cmd_timeline(int argc, char** argv) {
  CLI::App app{
      "Prints all accesses to a place in shared memory, reads too, by all recordings, oldest "
      "first; "
      "those of the recording that failed first are marked with *.",
      "shmrec timeline"};
  Arguments arguments;
  arguments.query.all = true;
  add_common_options(app, arguments);
  return answer_question(app, arguments, argc, argv);
}

}  // namespace shmrec::cli
